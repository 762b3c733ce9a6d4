# SPDX-License-Identifier: Apache-2.0
"""The reader of compiled packages: on files of Google's compiler where they are available, and on a stand-in everywhere."""

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from edgeferry.exporters.readers.edgetpu import packages_of
from edgeferry.exporters.readers.edgetpu_package import EdgeTpuPackage, read_package
from edgeferry.exporters.readers.flatbuffer import FlatbufferTable, flexbuffer_entry
from edgeferry.exporters.readers.tflite import read_graph
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.places import ROOT

REAL: Final = ROOT.parent / "shared" / "data" / "edgetpu"
STAND_IN: Final = Path(__file__).parents[1] / "edgetpu" / "package_stand_in.py"
SMALL: Final = "mobilenet_v1_0.25_128_quant"
LARGE: Final = "mobilenet_v1_0.5_160_quant"
TOGETHER: Final = 0xE2C366FD5D62FA6B
# Minimum runtime; bytes on chip, off chip, of instructions, of scratch; token. Read with flatc's own classes, but for the last.
EXPECTED: Final = {
    f"{SMALL}_edgetpu": (12, 566912, 0, 170032, 0, 0x6D146C3F97D6648C),
    f"{SMALL}_cocompiled_with_{LARGE}_edgetpu": (12, 566912, 0, 170032, 0, TOGETHER),
    f"{LARGE}_cocompiled_with_{SMALL}_edgetpu": (12, 1473280, 0, 205936, 0, TOGETHER),
    "deeplabv3_mnv2_dm05_pascal_quant_edgetpu": (12, 766720, 0, 160672, 0, 0x36959A24102F7ACD),
    "keras_lstm_mnist_ptq_edgetpu": (12, 43968, 576, 60864, 672, 0x6CAD28922F0B3DB3),
    "split_concat_edgetpu": (13, 192, 0, 23648, 0, 0x0F5DAF073FCC3811),
}


def package_in(path: Path) -> EdgeTpuPackage:
    (package,) = packages_of(read_graph(path))
    return package


@pytest.fixture
def stand_in(tmp_path: Path) -> Callable[..., EdgeTpuPackage]:
    """Return a function that gives the package in a stand-in."""
    made = runpy.run_path(str(STAND_IN))["compiled"]

    def package(**how: Any) -> EdgeTpuPackage:
        (tmp_path / "compiled.tflite").write_bytes(made(**how))
        return package_in(tmp_path / "compiled.tflite")

    return package


@pytest.mark.parametrize("name", EXPECTED)
def test_a_real_compiled_file_is_read_as_the_compilers_schema_reads_it(name: str) -> None:
    if not (path := REAL / f"{name}.tflite").is_file():
        pytest.skip(f"{path.name} is not available: ../shared/data has files of Google's compiler")
    package = package_in(path)
    sizes = (package.on_chip_bytes, package.off_chip_bytes, package.instruction_bytes, package.scratch_bytes)
    assert (package.min_runtime_version, *sizes, package.token) == EXPECTED[name]
    assert [each.chip for each in package.executables] == ["beagle", "beagle"]


def test_parameters_that_are_cached_are_on_the_chip(stand_in: Callable[..., EdgeTpuPackage]) -> None:
    package = stand_in()
    assert [each.type for each in package.executables] == ["EXECUTION_ONLY", "PARAMETER_CACHING"]
    assert (package.on_chip_bytes, package.off_chip_bytes) == (128, 0)
    assert (package.instruction_bytes, package.caching_instruction_bytes) == (128, 32)
    assert package.token == 0x6D146C3F97D6648C


def test_parameters_that_are_not_cached_are_sent_for_every_image(stand_in: Callable[..., EdgeTpuPackage]) -> None:
    package = stand_in(caching=False)
    assert [each.type for each in package.executables] == ["STAND_ALONE"]
    assert (package.on_chip_bytes, package.off_chip_bytes, package.token) == (0, 128, 0)


def test_layers_have_their_names_scales_and_zero_points(stand_in: Callable[..., EdgeTpuPackage]) -> None:
    (layer,), (output,) = stand_in().inputs, stand_in().outputs
    assert (layer.name, layer.shape, layer.dtype, layer.scale, layer.zero_point) == ("image", (1, 1, 16), "uint8", 0.5, 125)
    assert (output.name, output.zero_point) == ("scores", 0)


@pytest.mark.parametrize("options", [b"", b"\0", b"\4\1\1", b"1\0\0\0\5\x28\1", bytes(64), b"\xff" * 64])
def test_options_that_are_not_a_package_are_refused(options: bytes) -> None:
    with pytest.raises(EdgeError, check=lambda e: e.code == "EF-file-damaged"):
        read_package(options)


def test_every_cut_of_the_options_is_refused(stand_in: Callable[..., EdgeTpuPackage], tmp_path: Path) -> None:
    stand_in()
    (operation,) = read_graph(tmp_path / "compiled.tflite").operations
    whole = bytes(operation.options)
    assert read_package(whole).min_runtime_version == 14
    for length in range(len(whole)):
        with pytest.raises(EdgeError, check=lambda e: e.code == "EF-file-damaged"):
            read_package(whole[:length])


def test_an_offset_that_leaves_the_bytes_is_refused() -> None:
    for at in (2**31, 2**32 - 1, 12):
        with pytest.raises(ValueError, match="outside of"):
            FlatbufferTable.root(memoryview(at.to_bytes(4, "little") + bytes(8))).number(0)


def test_a_map_without_the_entry_has_none() -> None:
    from flatbuffers import flexbuffers

    builder = flexbuffers.Builder()
    with builder.Map():
        builder.Blob("4", b"here")
        builder.Int("5", 1)
    written = memoryview(bytes(builder.Finish()))
    assert flexbuffer_entry(written, b"7") is None
    assert bytes(flexbuffer_entry(written, b"4") or b"") == b"here"
    with pytest.raises(ValueError, match="expected bytes"):
        flexbuffer_entry(written, b"5")
