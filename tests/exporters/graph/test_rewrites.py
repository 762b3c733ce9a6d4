# SPDX-License-Identifier: Apache-2.0
"""Every rewrite: the operation is gone, and the result is what TensorFlow computes with it."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final

import numpy as np
import pytest
import tensorflow as tf

from edgeferry.benchmarks.selftest.graph import with_output
from edgeferry.exporters.graph import rewritten as rewriting
from edgeferry.exporters.graph.fold import fold_constants, reachable
from edgeferry.exporters.graph.rewrites.choices import CHOICES
from edgeferry.exporters.graph.rewrites.exponentials import BOUNDED, SPELLED
from edgeferry.exporters.graph.rewrites.integers import COMPARISONS, INTEGERS
from edgeferry.exporters.graph.rewrites.moving import MIRRORED, MOVING
from edgeferry.exporters.graph.rewrites.products import PRODUCTS
from edgeferry.exporters.graph.rewrites.resizing import NEAREST, RESIZING
from edgeferry.exporters.graph.rewrites.rewrite import Rewrites, rewrite
from edgeferry.exporters.graph.rewrites.trigonometry import ARC, HYPERBOLIC
from edgeferry.exporters.graph.rewritten import rewritten
from edgeferry.exporters.graph.run import session_of
from edgeferry.exporters.graph.source import Source
from edgeferry.models.system.errors import EdgeError

# Each is float32 in another order; a wrong coefficient is off by 1e-3 and more.
LARGEST_DIFFERENCE: Final = 5e-6
SHAPE: Final = (None, 6, 8, 4)


def _resized(method: str, **more: Any) -> Callable[[Any], Any]:
    return lambda x: tf.image.resize(x, (9, 5), method=method, **more)


# By the operation that is rewritten: its family, and what it is computed of.
CASES: Final[dict[str, tuple[Rewrites, str, Callable[[Any], Any]]]] = {
    "attention scores": (PRODUCTS, "Einsum", lambda x: tf.einsum("bqhd,bkhd->bhqk", x, 0.5 * x)),
    "attention values": (
        PRODUCTS,
        "Einsum",
        lambda x: tf.einsum("bhqk,bkhd->bqhd", tf.transpose(x, [0, 2, 3, 1]), x),
    ),
    "heads": (PRODUCTS, "Einsum", lambda x: tf.einsum("abcd,def->abcef", x, _constant(4, 3, 5))),
    "heads joined": (PRODUCTS, "Einsum", lambda x: tf.einsum("abcd,cde->abe", x, _constant(8, 4, 5))),
    "weights first": (PRODUCTS, "Einsum", lambda x: tf.einsum("de,abce->abcd", _constant(3, 4), x)),
    "an outer product": (PRODUCTS, "Einsum", lambda x: tf.einsum("bi,bj->bij", x[:, 0, 0], x[:, 1, 1])),
    "bicubic": (RESIZING, "ResizeBicubic", _resized("bicubic")),
    "area": (RESIZING, "ResizeArea", _resized("area")),
    "antialiased": (RESIZING, "ScaleAndTranslate", _resized("bilinear", antialias=True)),
    "lanczos": (RESIZING, "ScaleAndTranslate", _resized("lanczos3", antialias=True)),
    "nearest": (NEAREST, "ResizeNearestNeighbor", _resized("nearest")),
    "a roll": (MOVING, "Roll", lambda x: tf.roll(x, [2, -11], [1, 2])),
    "zeros in a choice": (MOVING, "ZerosLike", lambda x: tf.where(x > 0, x, tf.zeros_like(x))),
    "ones in a choice": (MOVING, "OnesLike", lambda x: tf.where(x > 0, x, tf.ones_like(x))),
    "whole pixels": (MOVING, "Cast", lambda x: tf.cast(tf.cast(x, tf.uint8), tf.float32) / 255),
    "an assertion": (MOVING, "EnsureShape", lambda x: tf.ensure_shape(2.0 * x, SHAPE)),
    "a computed shape": (MOVING, "Pack", lambda x: tf.reshape(x, [tf.shape(x)[0], 48, 4])),
    "a joined shape": (
        MOVING,
        "GatherV2",
        lambda x: tf.reshape(x, tf.concat([tf.gather(tf.shape(x), [0, 1]), [32]], 0)),
    ),
    "a product of sizes": (
        MOVING,
        "Pack",
        lambda x: tf.reshape(x, tf.stack([tf.shape(x)[0], tf.reduce_prod(tf.gather(tf.shape(x), [1, 2, 3]))])),
    ),
    "an idle transposition": (MOVING, "Transpose", lambda x: tf.transpose(2.0 * x, [0, 1, 2, 3])),
    "repeated borders": (MIRRORED, "MirrorPad", lambda x: tf.pad(x, [[0, 0], [1, 2], [0, 3], [0, 0]], mode="SYMMETRIC")),
    "a reciprocal": (SPELLED, "Reciprocal", lambda x: tf.math.reciprocal(1.0 + tf.abs(x))),
    "a split": (INTEGERS, "Split", lambda x: tf.concat(tf.split(x[:, 0, :, 0], 4, axis=-1)[::-1], 1)),
    "erfc": (SPELLED, "Erfc", tf.math.erfc),
    "expm1": (SPELLED, "Expm1", tf.math.expm1),
    "log1p": (SPELLED, "Log1p", lambda x: tf.math.log1p(tf.abs(x))),
    "softsign": (SPELLED, "Softsign", tf.nn.softsign),
    "softplus": (BOUNDED, "Softplus", lambda x: tf.nn.softplus(20.0 * x) / 20.0),
    "elu": (BOUNDED, "Elu", tf.nn.elu),
    "selu": (BOUNDED, "Selu", tf.nn.selu),
    "a negation": (INTEGERS, "Neg", lambda x: -x),
    "a square": (INTEGERS, "Square", tf.square),
    "a squared difference": (INTEGERS, "SquaredDifference", lambda x: tf.math.squared_difference(x, x[:, :1])),
    "a truth as a number": (INTEGERS, "Cast", lambda x: tf.cast(x > 0.3, tf.float32)),
    "the lesser, of a value read twice": (INTEGERS, "Minimum", lambda x: tf.minimum(x, 0.5) + x),
    "the greater, of a value read twice": (INTEGERS, "Maximum", lambda x: tf.maximum(-0.25, x) + x),
    "tan": (ARC, "Tan", lambda x: tf.tan(0.3 * x)),
    "atan": (ARC, "Atan", lambda x: tf.atan(5.0 * x)),
    "asin": (ARC, "Asin", lambda x: tf.asin(tf.clip_by_value(x, -0.99, 0.99))),
    "acos": (ARC, "Acos", lambda x: tf.acos(tf.clip_by_value(x, -0.99, 0.99))),
    "sinh": (HYPERBOLIC, "Sinh", tf.sinh),
    "cosh": (HYPERBOLIC, "Cosh", tf.cosh),
    "asinh": (HYPERBOLIC, "Asinh", lambda x: tf.asinh(9.0 * x) / 9.0),
    "acosh": (HYPERBOLIC, "Acosh", lambda x: tf.acosh(1.5 + tf.abs(x))),
    "atanh": (HYPERBOLIC, "Atanh", lambda x: tf.atanh(tf.clip_by_value(x, -0.9, 0.9))),
}


def _constant(*shape: int) -> Any:
    return tf.constant(np.random.default_rng(1).normal(0, 0.4, shape), tf.float32)


def _graph(make: Callable[[Any], Any]) -> Any:
    with tf.Graph().as_default() as graph:
        image = tf.compat.v1.placeholder(tf.float32, SHAPE, name="image")
        tf.identity(make(image), name="scores")
    return fold_constants(graph.as_graph_def(), "scores")


def _outputs(graph: Any, images: np.ndarray) -> np.ndarray:
    with tf.Graph().as_default() as whole:
        tf.graph_util.import_graph_def(graph, name="")
    with session_of(whole) as session:
        return np.asarray(session.run("scores:0", {"image:0": images}))


@pytest.mark.parametrize("name", CASES)
def test_a_rewrite_computes_the_same_without_the_operation(name: str) -> None:
    family, operation, make = CASES[name]
    graph = _graph(make)
    assert operation in {node.op for node in graph.node}
    changed, count = rewrite(graph, "scores", (family,))
    assert count == 1
    assert operation not in {node.op for node in changed.node}
    images = np.random.default_rng(2).normal(0, 1.2, (3, *SHAPE[1:])).astype(np.float32)
    images = np.abs(images * 40).round() if name == "whole pixels" else images
    expected = _outputs(graph, images)
    found = _outputs(changed, images)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= LARGEST_DIFFERENCE * max(1.0, np.abs(expected).max())


@pytest.mark.parametrize(
    "make",
    [
        lambda x: tf.where(x > 0.5, tf.sin(x), 1.0) + tf.sin(x),
        lambda x: tf.maximum(tf.sin(x), tf.cos(x)) * tf.sin(x),
        lambda x: tf.minimum(tf.sin(x), tf.cos(x)) * tf.sin(x),
    ],
    ids=["a choice", "the greater", "the lesser"],
)
def test_a_value_that_others_read_keeps_its_range_beside_a_choice(make: Callable[[Any], Any]) -> None:
    graph = fold_shared(_graph(make))
    changed, count = rewrite(graph, "scores", (INTEGERS,))
    assert count == 1
    (chosen,) = (node for node in changed.node if node.op in {"SelectV2", "Maximum", "Minimum"})
    makers = {node.name: node.op for node in changed.node}
    assert [makers[name] for name in chosen.input].count("Sin") == 0
    images = np.random.default_rng(2).normal(0, 1.2, (3, *SHAPE[1:])).astype(np.float32)
    assert np.abs(_outputs(changed, images) - _outputs(graph, images)).max() <= LARGEST_DIFFERENCE


def fold_shared(graph: Any) -> Any:
    """Return a graph in which the two sines of one value are one."""
    one, *others = [node.name for node in graph.node if node.op == "Sin"]
    for node in graph.node:
        node.input[:] = [one if name in others else name for name in node.input]
    return reachable(graph, "scores")


@pytest.mark.parametrize("name", COMPARISONS)
def test_a_comparison_with_zero_says_the_same_of_numbers_next_to_it(name: str) -> None:
    graph = _graph(lambda x: tf.cast(getattr(tf, COMPARISONS[name][0])(x, 0.0), tf.float32))
    changed, _ = rewrite(graph, "scores", (Rewrites("comparisons", {name: INTEGERS.of[name]}),))
    images = np.resize(np.float32([0.0, -0.0, 1e-3, -1e-3, 2.0, -2.0]), (2, *SHAPE[1:]))
    assert np.array_equal(_outputs(changed, images), _outputs(graph, images))
    (compared,) = (node for node in changed.node if node.op == name)
    assert any(node.name == compared.input[1] and tf.make_ndarray(node.attr["value"].tensor) != 0 for node in changed.node)


@pytest.mark.parametrize("smaller", ["a value", "the condition"])
def test_all_that_a_choice_reads_has_one_shape(smaller: str) -> None:
    graph = _graph(lambda x: tf.where(x > 0, x, 0.25) if smaller == "a value" else tf.where(x[:, :1, :1] > 0, x, -x))
    changed, count = rewrite(graph, "scores", (CHOICES,))
    assert count == 1
    with tf.Graph().as_default() as whole:
        tf.graph_util.import_graph_def(changed, name="")
    (found,) = (each for each in whole.get_operations() if each.type == "SelectV2" and each.inputs[1].shape.rank == 4)
    assert {tuple(each.shape.as_list()) for each in found.inputs} == {SHAPE}
    images = np.random.default_rng(2).normal(0, 1.2, (3, *SHAPE[1:])).astype(np.float32)
    assert np.array_equal(_outputs(changed, images), _outputs(graph, images))


@pytest.mark.parametrize(
    ("family", "make"),
    [
        (NEAREST, lambda x: tf.image.resize(x, (12, 16), method="nearest")),
        (INTEGERS, lambda x: tf.minimum(x, 0.5)),
        (INTEGERS, lambda x: 0.5 * x * tf.math.erfc(-x * 0.7071)),
        (INTEGERS, lambda x: tf.cast(tf.cast(x, tf.int32) * 2, tf.float32)),
        (INTEGERS, lambda x: tf.concat(tf.split(x, 2, axis=3)[::-1], 3)),
        (MOVING, lambda x: x + tf.zeros_like(x)),
        (MOVING, lambda x: tf.roll(x, 1, 0)),
        (RESIZING, lambda x: tf.image.resize(x, (9, 5))),
        (PRODUCTS, lambda x: tf.einsum("bijk->bkij", x)),
    ],
    ids=[
        "whole factor",
        "a limit",
        "exact GELU",
        "numbers",
        "a split image",
        "zeros added",
        "along the batch",
        "bilinear",
        "one operand",
    ],
)
def test_what_needs_no_rewrite_stays(family: Rewrites, make: Callable[[Any], Any]) -> None:
    graph = _graph(make)
    assert rewrite(graph, "scores", (family,)) == (graph, 0)


def test_one_divided_by_a_value_is_no_inverse_of_core_ml() -> None:
    graph = _graph(lambda x: 1.0 / (1.0 + tf.abs(x)))
    changed, count = rewrite(graph, "scores", (SPELLED,))
    assert count == 1
    images = np.random.default_rng(2).normal(0, 1.2, (3, *SHAPE[1:])).astype(np.float32)
    # A power of two changes no digit.
    assert np.array_equal(_outputs(changed, images), _outputs(graph, images))
    assert rewrite(_graph(lambda x: 3.0 / (1.0 + tf.abs(x))), "scores", (SPELLED,))[1] == 0


def test_a_rewrite_that_changes_predictions_is_refused(digits_source: Source) -> None:
    wrong = Rewrites("spoiled", {"Relu6": lambda operation: tf.nn.relu(operation.inputs[0]) * 1.01})
    with pytest.raises(EdgeError, match="spoiled", check=lambda error: error.code == "EF-rewrite-differs"):
        rewritten(digits_source, wrong)


def test_a_classifier_with_a_planted_fault_is_held_against_itself(digits_source: Source) -> None:
    planted = with_output(digits_source, lambda scores: tf.reverse(scores, [1]))
    same = Rewrites("the same", {"Relu6": lambda operation: tf.nn.relu6(operation.inputs[0])})
    assert rewritten(planted, same) is not planted
    wrong = Rewrites("spoiled", {"Relu6": lambda operation: tf.nn.relu(operation.inputs[0]) * 1.01})
    with pytest.raises(EdgeError, check=lambda error: error.code == "EF-rewrite-differs"):
        rewritten(planted, wrong)


def test_a_model_without_such_operations_is_the_same(digits_source: Source) -> None:
    assert rewritten(digits_source, PRODUCTS, RESIZING) is digits_source


def test_a_model_is_held_against_keras_once_for_all_formats(digits_source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    family = Rewrites("the same", {"Relu6": lambda operation: tf.nn.relu6(operation.inputs[0])})
    calls = SimpleNamespace(count=0)

    def counted(_source: Source) -> float:
        calls.count += 1
        return 0.0

    monkeypatch.setattr(rewriting, "difference_from_keras", counted)
    assert rewritten(digits_source, family) is rewritten(digits_source, family)
    assert calls.count == 1
