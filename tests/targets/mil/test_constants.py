# SPDX-License-Identifier: Apache-2.0
"""Decompressed weights equal those of coremltools, bit for bit."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from edgeferry.models.system.errors import EdgeError
from edgeferry.targets.mil.arrays import unpacked
from edgeferry.targets.mil.constants import constexpr_blockwise_shift_scale, constexpr_lut_to_dense, constexpr_sparse_to_dense
from edgeferry.targets.mil.package import open_package
from edgeferry.targets.mil.program import read_program

pytestmark = pytest.mark.slow

ct = pytest.importorskip("coremltools", reason="coremltools is not installed")

WAYS: Final = {
    "int8 symmetric": ("iOS16", "linear_quantize_weights", {"mode": "linear_symmetric"}),
    "int8 asymmetric": ("iOS16", "linear_quantize_weights", {"mode": "linear"}),
    "uint8 asymmetric": ("iOS16", "linear_quantize_weights", {"mode": "linear", "dtype": np.uint8}),
    "8 bit table": ("iOS16", "palettize_weights", {"mode": "uniform", "nbits": 8}),
    "6 bit table": ("iOS16", "palettize_weights", {"mode": "uniform", "nbits": 6}),
    "4 bit table": ("iOS16", "palettize_weights", {"mode": "uniform", "nbits": 4}),
    "sparse": ("iOS16", "prune_weights", {"magnitude": 0.6}),
    "int8, iOS 18": ("iOS18", "linear_quantize_weights", {"mode": "linear"}),
    "int4 in blocks": (
        "iOS18", "linear_quantize_weights",
        {"mode": "linear_symmetric", "dtype": "int4", "granularity": "per_block", "block_size": 8},
    ),
    "4 bit tables for groups": (
        "iOS18", "palettize_weights", {"mode": "uniform", "nbits": 4, "granularity": "per_grouped_channel", "group_size": 8},
    ),
    "3 bit table": ("iOS18", "palettize_weights", {"mode": "uniform", "nbits": 3}),
    "sparse, iOS 18": ("iOS18", "prune_weights", {"magnitude": 0.6}),
}  # fmt: skip


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    """Return a small program with a convolution and a matrix product, for each operation set."""
    return {target: _model(target) for target in ("iOS16", "iOS18")}


def _model(target: str) -> Any:
    from coremltools.converters.mil import Builder as mb  # noqa: N813 - its usual name

    rng = np.random.default_rng(3)
    kernel, weight = (rng.normal(size=size).astype(np.float32) for size in ((16, 8, 3, 3), (24, 16)))

    @mb.program(input_specs=[mb.TensorSpec((1, 8, 6, 6))], opset_version=getattr(ct.target, target))
    def program(x: Any) -> Any:
        x = mb.conv(x=x, weight=kernel, pad_type="same")
        return mb.linear(x=mb.reduce_mean(x=x, axes=(2, 3)), weight=weight)

    return ct.convert(program, convert_to="mlprogram", minimum_deployment_target=getattr(ct.target, target), skip_model_load=True)


def _compressed(model: Any, way: str, how: dict[str, Any]) -> Any:
    import coremltools.optimize as cto

    kinds = {"linear_quantize_weights": "OpLinearQuantizerConfig", "palettize_weights": "OpPalettizerConfig"}
    kind = getattr(cto.coreml, kinds.get(way, "OpMagnitudePrunerConfig"))
    options = {"target_sparsity": how["magnitude"]} if "magnitude" in how else dict(how)
    config = cto.coreml.OptimizationConfig(global_config=kind(weight_threshold=0, **options))
    return getattr(cto.coreml, way)(model, config)


def _weights(model: Any, path: Path) -> list[Any]:
    model.save(str(path))
    program = read_program(open_package(path), rounds_to_float16=False)
    return [step.constants["weight"] for step in program.steps if "weight" in step.constants]


@pytest.mark.parametrize("way", WAYS)
def test_decompressed_weights_are_those_of_coremltools(models: dict[str, Any], way: str, tmp_path: Path) -> None:
    import coremltools.optimize as cto

    target, how, options = WAYS[way]
    model = _compressed(models[target], how, options)
    ours = _weights(model, tmp_path / "compressed.mlpackage")
    theirs = _weights(cto.coreml.decompress_weights(model), tmp_path / "plain.mlpackage")
    plain = _weights(models[target], tmp_path / "original.mlpackage")
    assert len(ours) == len(theirs) == 2
    assert all(np.array_equal(left, right) for left, right in zip(ours, theirs, strict=True))
    assert not all(np.array_equal(left, right) for left, right in zip(ours, plain, strict=True))


def test_bits_are_packed_from_the_lowest() -> None:
    # The documentation's own example: 2 bits each, five of them.
    assert unpacked(bytes([0b01101100, 0b11]), 2, 5).tolist() == [0, 3, 2, 1, 3]
    assert unpacked(bytes([0x8F]), 4, 2, signed=True).tolist() == [-1, -8]


def test_vectors_are_laid_along_their_axis() -> None:
    # The documentation's own example, iOS 18's constexpr_lut_to_dense, cases 1, 2.1 and 2.2.
    indices = np.array([2, 3, 3, 0, 1, 0, 3, 0, 2, 1, 0, 3], np.uint8).reshape(6, 2)
    table = np.array([1, 5, 9, 13, 2, 10, 18, 26], np.float16).reshape(2, 1, 4, 1)
    assert constexpr_lut_to_dense(indices, table).ravel().tolist() == [9, 13, 13, 1, 5, 1, 26, 2, 18, 10, 2, 26]
    indices, table = (
        np.array([0, 0, 1, 0, 1, 1, 0, 0], np.uint8).reshape(2, 2, 2),
        np.arange(6, dtype=np.int8).reshape(1, 1, 1, 2, 3),
    )
    along_1 = constexpr_lut_to_dense(indices, table, vector_axis=np.int32(1))
    assert along_1[0].tolist() == [[0, 0], [1, 1], [2, 2], [3, 0], [4, 1], [5, 2]]
    along_2 = constexpr_lut_to_dense(indices, table, vector_axis=np.int32(2))
    assert along_2[0].tolist() == [[0, 1, 2, 0, 1, 2], [3, 4, 5, 0, 1, 2]]


def test_inconsistent_weights_are_refused() -> None:
    with pytest.raises(EdgeError, match="values and set bits", check=lambda error: error.code == "EF-mil-weights"):
        constexpr_sparse_to_dense(np.ones(3, np.float16), np.array([1, 0, 1, 0], np.uint8))
    with pytest.raises(EdgeError, match="does not divide", check=lambda error: error.code == "EF-mil-weights"):
        constexpr_blockwise_shift_scale(np.ones((4, 4), np.int8), np.ones((3, 1), np.float16))
    with pytest.raises(EdgeError, match="indices and weights", check=lambda error: error.code == "EF-mil-weights"):
        constexpr_lut_to_dense(np.ones(3, np.uint8), np.ones(4, np.float16), np.array([5, 5], np.uint32))
