# SPDX-License-Identifier: Apache-2.0
"""Which layers are tried in float, of a network conv, pool, conv, dense."""

from dataclasses import replace
from typing import Final

import pytest

from edgeferry.benchmarks.explain.result import LayerCost
from edgeferry.benchmarks.fix.candidates import in_order, island, kept_sets, ranked
from edgeferry.benchmarks.fix.result import Candidate, Half, Trial, frontier
from edgeferry.benchmarks.fix.search import Budget, budget_of
from edgeferry.models.system.errors import EdgeError

BLANK: Final = LayerCost((), (), "", "", (), 0.0, 0.0, 0.0, None, 0.0, 0.0, 0.0, None, (), None, (0.0, 1.0), None, 0.0)
COSTS: Final = (
    replace(BLANK, layers=("conv_1", "norm", "act"), operations=("Conv2D", "Relu"), node="a", starts=("image",), effect=0.5),
    replace(BLANK, layers=("pool",), operations=("MaxPool",), node="b", starts=("a",)),
    replace(BLANK, layers=("conv_2",), operations=("Conv2D",), node="c", starts=("b",), effect=0.1),
    replace(BLANK, layers=("dense",), operations=("MatMul",), node="d", starts=("c",), effect=0.2),
)


def trial(size: int, difference: float, latency: float = 1.0) -> Trial:
    return Trial(Candidate("per-tensor"), str(size), size, latency, Half("passed", "", 90, 1.0, 0.9, difference))


def test_the_layers_that_cost_most_come_first() -> None:
    assert ranked(COSTS) == [0, 3, 2]


def test_a_range_is_gained_only_up_to_the_next_layer_with_weights() -> None:
    assert island(COSTS, 0) == {"conv_1", "norm", "act", "pool", "conv_2"}


def test_sets_grow_and_none_is_tried_twice() -> None:
    sets = list(kept_sets(COSTS))
    assert sets[0] == {"conv_1", "norm", "act"}
    assert len(sets) == len(set(sets))
    assert sets[-1] >= sets[0]


def test_of_layers_that_became_one_the_last_is_written() -> None:
    assert in_order(island(COSTS, 0), COSTS) == ("act", "pool", "conv_2")


def test_what_another_beats_in_size_and_difference_is_not_on_the_frontier() -> None:
    assert frontier([trial(10, 0.5), trial(20, 0.6), trial(30, 0.1), trial(30, 0.2)]) == [0, 2]


def test_a_budget_is_a_factor_of_the_format_as_it_is() -> None:
    budget = budget_of(["size=+10%", "latency=50%"])
    assert budget == Budget(1.1, 1.5)
    assert budget.allows(trial(109, 0, 1.4), trial(100, 0))
    assert not budget.allows(trial(120, 0), trial(100, 0))
    assert not budget.allows(trial(100, 0, 1.6), trial(100, 0))


def test_another_budget_is_refused() -> None:
    with pytest.raises(EdgeError) as error:
        budget_of(["weight=1kg"])
    assert error.value.code == "EF-fix-budget"
