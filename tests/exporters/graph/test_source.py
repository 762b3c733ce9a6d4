# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from edgeferry.exporters.graph import source as source_module
from edgeferry.exporters.graph.source import Source, read_source
from edgeferry.models.config.spec import ExportOptions
from edgeferry.models.preprocessing import normalise
from edgeferry.models.system.errors import EdgeError


def _difference(source: Source) -> float:
    pixels, scores = np.load(source.folder / "pixels.npy"), np.load(source.folder / "scores.npy")
    answered = source.function(None)(tf.constant(normalise(pixels, source.spec.preprocessing)))[source.output].numpy()
    return float(np.abs(answered - scores).max())


def test_the_frozen_graph_answers_like_keras(digits_source: Source, colours_source: Source) -> None:
    assert _difference(digits_source) < 1e-5
    assert _difference(colours_source) < 1e-5


def test_folding_is_told_with_what_it_moved(digits_source: Source) -> None:
    assert digits_source.notes[0].startswith("9 batch normalisations folded into weights; answers moved by at most")


def test_folding_can_be_turned_off(digits_source: Source) -> None:
    spec = replace(digits_source.spec, options=ExportOptions(fold_batchnorm=False))
    plain = read_source(spec, digits_source.folder)
    assert plain.notes == ()
    assert sum(node.op == "Mul" for node in plain.graph.node) > sum(node.op == "Mul" for node in digits_source.graph.node)


def test_a_fold_that_changes_the_answers_is_not_taken(digits_source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgeferry.exporters.graph import fold

    right = fold.fold_batchnorm

    def wrong(graph: Any, output: str) -> tuple[Any, int]:
        folded, count = right(graph, output)
        bias = next(node for node in folded.node if node.name.endswith("/bias"))
        values = tf.make_ndarray(bias.attr["value"].tensor) + 1
        bias.CopyFrom(fold.constant_node(bias.name, values))
        return folded, count

    monkeypatch.setattr(fold, "fold_batchnorm", wrong)
    source = read_source(digits_source.spec, digits_source.folder)
    assert source.notes[0].startswith("batch normalisation not folded: answers would move by")
    assert _difference(source) < 1e-5


def test_a_graph_that_answers_otherwise_than_keras_is_refused(digits_source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_module, "FOLD_TOLERANCE", -1.0)
    with pytest.raises(EdgeError, match="its frozen graph answers differently from Keras"):
        read_source(digits_source.spec, digits_source.folder)


def test_one_image_at_a_time_leaves_no_size_open(digits_source: Source) -> None:
    (image,) = digits_source.function(1).inputs
    assert tuple(image.shape) == (1, 32, 32, 1)


def test_without_a_reference_nothing_is_frozen(digits_source: Source, tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match="holds no reference; make it with"):
        read_source(digits_source.spec, tmp_path)
