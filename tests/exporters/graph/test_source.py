# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from edgeferry.exporters.graph import float_error
from edgeferry.exporters.graph import source as source_module
from edgeferry.exporters.graph.float_error import explained_by_float32
from edgeferry.exporters.graph.source import Source, read_source
from edgeferry.models.config.spec import ExportOptions
from edgeferry.models.preprocessing import normalise
from edgeferry.models.reference import PIXELS
from edgeferry.models.system.errors import EdgeError


def _difference(source: Source) -> float:
    pixels, scores = np.load(source.folder / PIXELS), np.load(source.folder / "scores.npy")
    outputs = source.function(None)(tf.constant(normalise(pixels, source.spec.preprocessing)))[source.output].numpy()
    return float(np.abs(outputs - scores).max())


def test_the_frozen_graph_predicts_like_keras(digits_source: Source, colours_source: Source) -> None:
    assert _difference(digits_source) < 1e-5
    assert _difference(colours_source) < 1e-5


def test_folding_is_noted_with_its_count_and_largest_difference(digits_source: Source) -> None:
    assert digits_source.folding == "folded"
    (note,) = digits_source.notes
    assert note.split()[0] == "9"
    assert float(note.split()[-1]) <= source_module.FOLD_TOLERANCE


def test_folding_can_be_turned_off(digits_source: Source) -> None:
    spec = replace(digits_source.spec, options=ExportOptions(fold_batchnorm=False))
    plain = read_source(spec, digits_source.folder)
    assert (plain.folding, plain.notes) == ("off", ())
    assert sum(node.op == "Mul" for node in plain.graph.node) > sum(node.op == "Mul" for node in digits_source.graph.node)


def test_a_fold_that_changes_the_outputs_is_rejected(digits_source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert source.folding == "rejected"
    (note,) = source.notes
    assert f"{source_module.FOLD_TOLERANCE:.0e}" in note
    assert _difference(source) < 1e-5


def test_a_graph_that_predicts_otherwise_than_keras_is_refused(digits_source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_module, "FOLD_TOLERANCE", -1.0)
    monkeypatch.setattr(float_error, "TIMES", 0.0)
    with pytest.raises(EdgeError, check=lambda error: error.code == "EF-graph-differs"):
        read_source(digits_source.spec, digits_source.folder)


def _of(digits_source: Source, answer: Callable[[Any], Any]) -> Source:
    """Return a classifier that answers with ten numbers made from an image."""
    with tf.Graph().as_default() as graph:
        image = tf.compat.v1.placeholder(tf.float32, (None, 32, 32, 1), name="image")
        tf.nn.softmax(answer(tf.reduce_mean(image, (2, 3))[:, :10]), name="probabilities")
    return replace(digits_source, graph=graph.as_graph_def(), single=None)


def test_what_float32_rounds_is_no_mistake_of_a_sensitive_graph(digits_source: Source) -> None:
    pixels = np.load(digits_source.folder / PIXELS)[:50]

    def far_from_zero(far: float) -> Source:
        return _of(digits_source, lambda rows: tf.sqrt(tf.square(rows + far) + 1) - far)

    steady, sensitive = far_from_zero(0), far_from_zero(3000)
    assert 0 < 5 * explained_by_float32(steady, pixels) < explained_by_float32(sensitive, pixels) < 2e-2


def test_what_is_drawn_is_not_explained_by_float32(digits_source: Source) -> None:
    pixels = np.load(digits_source.folder / PIXELS)[:50]
    drawing = _of(digits_source, lambda rows: rows + tf.random.uniform((10,)))
    assert explained_by_float32(drawing, pixels) == 0


def test_a_batch_of_one_leaves_no_size_unknown(digits_source: Source) -> None:
    (image,) = digits_source.function(1).inputs
    assert tuple(image.shape) == (1, 32, 32, 1)


def test_without_a_reference_nothing_is_frozen(digits_source: Source, tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match=str(tmp_path)) as caught:
        read_source(digits_source.spec, tmp_path)
    assert caught.value.code == "EF-reference-missing"


def test_missing_calibration_images_are_named_with_their_key(digits_source: Source, tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match=r"data\.calibration") as caught:
        _ = replace(digits_source, folder=tmp_path).calibration
    assert caught.value.code == "EF-calibration-missing"
