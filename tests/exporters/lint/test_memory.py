# SPDX-License-Identifier: Apache-2.0
"""The forecast of on-chip and off-chip bytes, compared with compiled files."""

from dataclasses import replace
from math import prod
from typing import Final

import pytest

from edgeferry.exporters.lint.memory import CHIP_BYTES, EXECUTABLE_BYTES, Memory, laid_out_bytes, memory
from edgeferry.exporters.readers.tflite import read_graph
from edgeferry.exporters.readers.tflite_graph import FileOperation, FileTensor
from edgeferry.models.system.places import ROOT

DATA: Final = ROOT.parent / "shared" / "data" / "edgetpu"
# The spread of the five networks that the rule was fitted to.
TOLERANCE: Final = 0.02
# The channels of MobileNet V1 (Howard et al. 2017, table 1); a depthwise layer precedes each.
MOBILENET_CHANNELS: Final = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)


def _layer(name: str, shape: tuple[int, ...], side: int = 1) -> FileOperation:
    weights = FileTensor("weights", shape, shape, "int8", 1, prod(shape))
    image = FileTensor("image", (1, side, side, shape[-1]), (), "int8", 1, 0)
    return FileOperation(name, 1, (image, weights), (), None)


def _mobilenet(width: float, classes: int) -> list[FileOperation]:
    channels = int(32 * width)
    layers = [_layer("CONV_2D", (channels, 3, 3, 3))]
    for wide in MOBILENET_CHANNELS:
        outputs = int(wide * width)
        layers += [_layer("DEPTHWISE_CONV_2D", (1, 3, 3, channels)), _layer("CONV_2D", (outputs, 1, 1, channels))]
        channels = outputs
    return [*layers, *([_layer("CONV_2D", (classes, 1, 1, channels))] if classes else [])]


# Bytes on the chip, from the executables in files of google-coral/test_data.
@pytest.mark.parametrize(
    ("width", "classes", "compiled"), [(0.25, 1001, 566912), (0.5, 1001, 1473280), (0.75, 1001, 2777600), (1.0, 0, 3363072)]
)
def test_mobilenets_are_forecast_within_two_percent(width: float, classes: int, compiled: int) -> None:
    found = memory(_mobilenet(width, classes))
    assert found.on_chip == pytest.approx(compiled, rel=TOLERANCE)
    assert found.off_chip == 0


# As compiler 16.0 wrote them.
@pytest.mark.parametrize(("size", "compiled"), [(256, 67584), (1024, 1056768)])
def test_a_square_dense_layer_is_forecast_to_the_byte(size: int, compiled: int) -> None:
    assert laid_out_bytes(_layer("FULLY_CONNECTED", (size, size))) == compiled


@pytest.mark.parametrize(
    ("name", "until", "compiled"),
    [
        ("mobilenet_v1_0.25_128_quant", None, 566912),
        # The compiler cut it at the first RESIZE_BILINEAR.
        ("deeplabv3_mnv2_dm05_pascal_quant", "RESIZE_BILINEAR", 766720),
    ],
)
def test_real_files_are_forecast_within_two_percent(name: str, until: str | None, compiled: int) -> None:
    path = DATA / f"{name}.tflite"
    if not path.is_file():
        pytest.skip(f"{path} is not available")
    operations = read_graph(path).operations
    cut = next((at for at, each in enumerate(operations) if each.name == until), len(operations))
    found = memory(operations[:cut])
    assert found.on_chip + found.off_chip == pytest.approx(compiled, rel=TOLERANCE)
    assert found.on_chip + found.off_chip != pytest.approx(read_graph(path).parameter_bytes, rel=TOLERANCE)


def test_the_memory_of_recurrent_layers_is_not_forecast() -> None:
    path = DATA / "keras_lstm_mnist_ptq.tflite"
    if not path.is_file():
        pytest.skip(f"{path} is not available")
    operations = read_graph(path).operations
    # The compiled file has 44544 bytes of parameters: by the rule for layers it would be a third of that.
    assert sum(map(laid_out_bytes, operations)) < 44544 / 2
    assert memory(operations) is None


def test_a_layer_larger_than_the_chip_is_sent_whole() -> None:
    # Compiler 16.0 keeps no byte of a Dense layer of 8192 x 8192, by a public log.
    assert memory([_layer("FULLY_CONNECTED", (8192, 8192))]) == Memory(0, 8192 * (8192 + 8), 8192 * (8192 + 8))


def test_what_does_not_fit_is_sent_and_what_is_small_enough_is_still_kept() -> None:
    large, small = _layer("FULLY_CONNECTED", (2048, 2048)), _layer("FULLY_CONNECTED", (256, 256))
    found = memory([large, large, small])
    assert found == Memory(laid_out_bytes(large) + laid_out_bytes(small), laid_out_bytes(large), laid_out_bytes(large))


def test_activations_between_layers_take_memory() -> None:
    room = CHIP_BYTES - EXECUTABLE_BYTES
    layer = _layer("CONV_2D", (64, 1, 1, 64))
    fits = memory([layer])
    wide = replace(layer, inputs=(FileTensor("image", (1, 1, room), (), "int8", 1, 0), layer.inputs[1]))
    assert (fits.off_chip, memory([wide])) == (0, Memory(0, fits.on_chip))


def test_weights_that_are_computed_take_no_memory() -> None:
    layer = _layer("FULLY_CONNECTED", (64, 64))
    assert layer.inputs[1] is not None
    assert laid_out_bytes(replace(layer, inputs=(layer.inputs[0], replace(layer.inputs[1], constant_bytes=0)))) == 0
