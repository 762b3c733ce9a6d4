# SPDX-License-Identifier: Apache-2.0
"""Tensors of files matched with the nodes of a small graph: image, convolution, bias, activation, softmax."""

from typing import Any, Final

import numpy as np
import pytest

from edgeferry.benchmarks.explain.layout import laid_out
from edgeferry.benchmarks.explain.matching import matched, stretches, unmatched

NODES: Final = (
    ("Placeholder", "image", ()),
    ("Const", "net/conv_1/weights", ()),
    ("Conv2D", "net/conv_1/convolution", ("image", "net/conv_1/weights")),
    ("Const", "net/norm/bias", ()),
    ("BiasAdd", "net/norm/add", ("net/conv_1/convolution", "net/norm/bias")),
    ("Relu", "net/act-1/Relu", ("net/norm/add",)),
    ("Softmax", "net/head/Softmax", ("net/act-1/Relu",)),
    ("Identity", "probabilities", ("net/head/Softmax",)),
)
# Keras's conv is the scope conv_1: names alone do not say so.
SCOPES: Final = {"net/conv_1": "conv", "net/norm": "norm", "net/act-1": "act", "net/head": "head"}


@pytest.fixture(scope="module")
def graph() -> Any:
    from tensorflow.core.framework.graph_pb2 import GraphDef

    made = GraphDef()
    for operation, name, inputs in NODES:
        made.node.add(op=operation, name=name, input=inputs)
    return made


@pytest.mark.parametrize(
    "tensor",
    [
        "net/act-1/Relu;net/norm/add;net/conv_1/convolution;net/norm/add/bias1",
        "net/norm/add;net/act-1/Relu",
        "net/act-1/Relu:0",
        "net_act_1_Relu_cast_fp16",
    ],
)
def test_of_several_names_the_node_that_is_computed_last_is_the_tensor(graph: Any, tensor: str) -> None:
    assert matched(["image", tensor, "Conv__72:0", "probabilities"], graph, "probabilities") == {
        "image": "image",
        "net/act-1/Relu": tensor,
        "probabilities": "probabilities",
    }


def test_layers_that_became_one_are_named_together(graph: Any) -> None:
    names = {"image": "image", "net/act-1/Relu": "a", "probabilities": "probabilities"}
    _, fused, last = stretches(graph, names, SCOPES)
    assert (fused.layers, fused.starts, fused.operations) == (("conv", "norm", "act"), ("image",), ("Conv2D", "BiasAdd", "Relu"))
    assert (last.layers, last.starts) == (("head",), ("net/act-1/Relu",))


def test_a_layer_without_a_tensor_of_its_own_is_said(graph: Any) -> None:
    names = {"image": "image", "net/act-1/Relu": "a", "probabilities": "probabilities"}
    assert unmatched(graph, list(stretches(graph, names, SCOPES)), SCOPES) == ("conv", "norm")


def test_channels_are_moved_to_where_keras_has_them() -> None:
    meant = np.random.default_rng(0).normal(size=(2, 4, 4, 4)).astype(np.float32)
    found = laid_out(meant.transpose(0, 3, 1, 2), meant, {}, "same sizes")
    assert found is not None
    assert (found == meant).all()


def test_an_image_that_is_turned_is_not_turned_back() -> None:
    meant = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype(np.float32)
    found = laid_out(meant.swapaxes(1, 2), meant, {}, "turned")
    assert found is not None
    assert (found == meant.swapaxes(1, 2)).all()


def test_values_of_another_size_are_not_compared() -> None:
    assert laid_out(np.zeros((1, 3), np.float32), np.zeros((1, 4), np.float32), {}, "other") is None
