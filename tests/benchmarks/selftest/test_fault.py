# SPDX-License-Identifier: Apache-2.0
from itertools import groupby

import pytest

from edgeferry.benchmarks.selftest.fault import HONEST, choose_faults, faults
from edgeferry.models.system.errors import EdgeError

FAMILIES = {fault.family for fault in faults().values()}


def test_every_class_of_fault_is_there() -> None:
    assert {
        *("labels", "channels", "range", "place", "training step", "noise", "channel weights", "channel scales", "zero points"),
        *(
            "bias",
            "batch statistics",
            "softmax",
            "biased class",
            "batch",
            "metadata",
            "manifest",
            "stale",
            "changed file",
            HONEST,
        ),
    } <= FAMILIES


def test_every_family_has_its_turn_before_any_has_a_second() -> None:
    first = [fault.family for fault in list(faults().values())[: len(FAMILIES)]]
    assert set(first) == FAMILIES


def test_the_order_never_plants_one_family_twice_while_another_waits() -> None:
    families = [fault.family for fault in faults().values()]
    assert all(len(list(group)) == 1 for _, group in groupby(families[: 2 * len(FAMILIES) - 4]))


def test_honest_exports_alone_show_nowhere() -> None:
    assert {fault.family for fault in faults().values() if fault.shows == "nowhere"} == {HONEST}


def test_some_families_can_be_chosen() -> None:
    assert {fault.family for fault in choose_faults(("labels", "bias"))} == {"labels", "bias"}


def test_an_unknown_family_is_refused() -> None:
    with pytest.raises(EdgeError) as error:
        choose_faults(("label",))
    assert error.value.code == "EF-name-unknown"
    assert "did you mean 'labels'" in str(error.value)
