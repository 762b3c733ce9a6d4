# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from edgeferry.exporters.graph.source import Source
from edgeferry.exporters.readers.tflite import read_graph
from edgeferry.exporters.tflite.floats import kept_in_float
from edgeferry.exporters.tflite.formats import FILE, Int8Options, int8
from edgeferry.models.system.errors import EdgeError


def test_a_layer_stays_in_float_between_two_conversions(digits_source: Source, tmp_path: Path) -> None:
    int8(digits_source, tmp_path, Int8Options(keep_float=("depthwise_conv2d_1",)))
    operations = read_graph(tmp_path / FILE).operations
    (at,) = (at for at, each in enumerate(operations) if each.name == "DEPTHWISE_CONV_2D" and each.outputs[0].is_float)
    assert [each.name for each in operations[at - 1 : at + 2]] == ["DEQUANTIZE", "DEPTHWISE_CONV_2D", "QUANTIZE"]


def test_a_layer_that_the_model_does_not_have_is_refused(digits_source: Source) -> None:
    with pytest.raises(EdgeError, match="the closest are .*conv2d", check=lambda error: error.code == "EF-keep-float-unknown"):
        kept_in_float(digits_source, ["conv2d_9"], ["digits_1/conv2d_1/convolution"])


def test_a_layer_of_which_nothing_is_left_is_refused(digits_source: Source) -> None:
    with pytest.raises(EdgeError, check=lambda error: error.code == "EF-keep-float-absent"):
        kept_in_float(digits_source, ["re_lu"], ["digits_1/conv2d_1/convolution"])
