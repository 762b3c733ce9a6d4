# SPDX-License-Identifier: Apache-2.0
"""The table of layers is whole, and a cell of it never gets worse unseen.

EDGEFERRY_COVERAGE=all runs every network again, as `make coverage` does; otherwise those in which a rewrite does its work.
"""

import os
from typing import Final

import keras
import pytest
from corpus import activations, left_out
from corpus.cell import FORMATS, cells_of
from corpus.network import networks
from corpus.table import STATES, read_table

from edgeferry.models.system.places import ROOT

TABLE: Final = read_table()
KNOWN: Final = networks()
WATCHED: Final = (
    "MultiHeadAttention (block)",
    "MultiHeadAttention (causal)",
    "Conv2D (groups dilated)",
    "Resizing (antialias)",
    "Resizing (nearest)",
    "GroupNormalization",
    "celu",
    "soft_shrink",
    "SimpleRNN",
    "Maximum",
    "ops.roll",
    "RandomHue",
)
RUN: Final = tuple(KNOWN) if os.environ.get("EDGEFERRY_COVERAGE") == "all" else WATCHED


def _covered(kind: str) -> set[str]:
    return {name.removeprefix(f"{kind}.") for each in KNOWN.values() for name in each.covers if name.startswith(f"{kind}.")}


def test_every_layer_of_keras_has_a_network_or_a_reason() -> None:
    public = {name for name in dir(keras.layers) if isinstance(getattr(keras.layers, name), type)}
    assert public - _covered("layers") - set(left_out.LAYERS) == set()
    assert set(left_out.LAYERS) & _covered("layers") == set()


def test_every_activation_of_keras_has_a_network_or_a_reason() -> None:
    public = {name for name in dir(keras.activations) if not name.startswith("_")}
    assert public - _covered("activations") - set(left_out.ACTIVATIONS) == set()
    assert set(activations.NAMES) <= public


def test_functions_are_keras_s_own() -> None:
    for name in _covered("ops"):
        place = keras.ops
        for part in name.split("."):
            place = getattr(place, part)


def test_the_table_has_a_cell_for_every_network_and_format() -> None:
    assert list(TABLE) == list(KNOWN)
    assert all(tuple(cells) == tuple(FORMATS) for cells in TABLE.values())


def test_every_refusal_has_a_code_and_nothing_ends_in_an_error() -> None:
    cells = [cell for row in TABLE.values() for cell in row.values()]
    assert {state for state, _ in cells} <= set(STATES) - {"error"}
    assert all(why.startswith("EF-") for state, why in cells if state == "refused")


def test_the_page_is_in_the_documentation() -> None:
    assert "coverage.md" in (ROOT / "mkdocs.yml").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("name", RUN)
def test_no_cell_gets_worse(name: str) -> None:
    found = cells_of(name)
    worse = {
        form: f"{TABLE[name][form]} -> {cell}"
        for form, cell in found.items()
        if STATES.index(cell[0]) > STATES.index(TABLE[name][form][0])
    }
    assert worse == {}
