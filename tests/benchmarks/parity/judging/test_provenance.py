# SPDX-License-Identifier: Apache-2.0
"""Weights compared with the model's constants, on arrays alone: what is the model's, what is altered, what cannot be said."""

from typing import Any, Final

import numpy as np
import pytest

from edgeferry.benchmarks.parity.judging.provenance.candidates import Candidate, candidate
from edgeferry.benchmarks.parity.judging.provenance.matching import Matching, matched, settle
from edgeferry.exporters.weights.constants import Fold, ModelConstant
from edgeferry.exporters.weights.stored import StoredWeight, as_float32

RNG: Final = np.random.default_rng(7)
CONVOLUTION: Final = RNG.normal(0, 0.1, (3, 3, 8, 16)).astype(np.float32)
BIAS: Final = RNG.normal(0, 0.1, 16).astype(np.float32)
DENSE: Final = RNG.normal(0, 0.1, (64, 10)).astype(np.float32)


def constant(name: str, values: Any, axes: str = "", biases: tuple[str, ...] = (), fold: Fold = "none") -> Candidate:
    role: Any = "weight" if axes else "bias"
    return candidate(ModelConstant(name, name, role, axes, biases, fold, required=fold == "none"), lambda: values, axes)


def model() -> list[Candidate]:
    return [
        constant("conv", CONVOLUTION, "HWIO", ("conv/bias",)),
        constant("conv/bias", BIAS),
        constant("dense", DENSE, "IO"),
    ]


def int8(name: str, values: Any, axes: str, channel: int) -> StoredWeight:
    others = tuple(at for at in range(values.ndim) if at != channel)
    scale = (np.abs(values).max(axis=others, keepdims=True) / 127).astype(np.float32)
    limits = (-128 * scale, 127 * scale)
    return StoredWeight(name, np.round(values / scale).astype(np.float32) * scale, scale, "weight", axes, limits=limits)


def convolution(values: Any = CONVOLUTION) -> StoredWeight:
    return int8("conv", values.transpose(3, 0, 1, 2), "OHWI", 0)


def bias(values: Any = BIAS) -> StoredWeight:
    return as_float32("conv/bias", values, "bias", of="conv")


def dense(values: Any = DENSE) -> StoredWeight:
    return int8("dense", values.T, "OI", 0)


def found(*stored: StoredWeight, candidates: list[Candidate] | None = None) -> Matching:
    known = candidates or model()
    matching = matched(stored, known)
    settle(matching, known, frozenset())
    return matching


def test_weights_rounded_to_steps_are_the_model_s() -> None:
    matching = found(convolution(), bias(), dense())
    assert (len(matching.origins), matching.altered, matching.left) == (3, [], [])


def test_float16_weights_are_the_model_s() -> None:
    matching = found(as_float32("conv", CONVOLUTION.astype(np.float16), "weight", "HWIO"))
    assert (len(matching.origins), matching.altered, matching.left) == (1, [], [])


def test_a_palette_holds_the_model_s_weights_where_each_is_the_nearest_entry() -> None:
    palette = np.quantile(CONVOLUTION, np.linspace(0.01, 0.99, 64)).astype(np.float32)
    nearest = palette[np.abs(CONVOLUTION[..., None] - palette).argmin(axis=-1)]
    whole = StoredWeight("conv", nearest, np.zeros((), np.float32), "weight", "HWIO", palette=palette)
    assert not found(whole).altered
    nearest[0, 0, 0, 0] = palette[0] if nearest[0, 0, 0, 0] != palette[0] else palette[1]
    assert found(whole).altered[0].difference.outside == 1  # type: ignore[union-attr]


def test_depthwise_weights_are_found_in_every_layout() -> None:
    values = RNG.normal(size=(3, 3, 8, 2)).astype(np.float32)
    known = [constant("depthwise", values, "HWCM")]
    merged = values.reshape(3, 3, 16)
    assert len(found(as_float32("tflite", merged[None], "weight", "1HWO"), candidates=known).origins) == 1
    assert len(found(as_float32("onnx", merged.transpose(2, 0, 1)[:, None], "weight", "OIHW"), candidates=known).origins) == 1
    assert len(found(as_float32("tfjs", values, "weight", "HWCM"), candidates=known).origins) == 1


def test_the_parts_of_a_grouped_convolution_are_the_whole() -> None:
    parts = [
        as_float32(f"group {at}", part.transpose(3, 0, 1, 2), "weight", "OHWI")
        for at, part in enumerate(np.split(CONVOLUTION, 4, 3))
    ]
    matching = found(*parts)
    assert matching.is_found(model()[0])
    assert not found(*parts[:3]).is_found(model()[0])


def _scale_doubled(values: Any) -> Any:
    changed = values.copy()
    changed[..., 3] *= 2
    return changed


def _scales_shifted(values: Any) -> Any:
    scales = np.abs(values).max(axis=(0, 1, 2))
    return values / scales * np.roll(scales, 1)


def _zero_points_moved(values: Any) -> Any:
    return values + np.abs(values).max(axis=(0, 1, 2)) / 127


def _noise(values: Any) -> Any:
    return values + np.random.default_rng(1).normal(0, 0.03 * values.std(), values.shape).astype(np.float32)


def _another_training_step(values: Any) -> Any:
    return values + np.random.default_rng(2).normal(0, 0.5 * values.std(), values.shape).astype(np.float32)


def _one_element(values: Any) -> Any:
    changed = values.copy()
    at = np.unravel_index(np.abs(changed[..., 0]).argmin(), changed.shape[:3])
    changed[(*at, 0)] += 2 * np.abs(values[..., 0]).max() / 127
    return changed


def _channels_exchanged(values: Any) -> Any:
    return values[..., [1, 0, *range(2, values.shape[-1])]]


def _kernel_transposed(values: Any) -> Any:
    return values.transpose(1, 0, 2, 3)


def _unrelated(values: Any) -> Any:
    return np.random.default_rng(3).normal(0, values.std(), values.shape).astype(np.float32)


@pytest.mark.parametrize(
    "spoil",
    [
        _scale_doubled,
        _scales_shifted,
        _zero_points_moved,
        _noise,
        _another_training_step,
        _one_element,
        _channels_exchanged,
        _kernel_transposed,
        _unrelated,
    ],
    ids=lambda spoil: spoil.__name__[1:],
)
def test_spoiled_weights_are_altered(spoil: Any) -> None:
    matching = found(convolution(spoil(CONVOLUTION)), bias(), dense())
    assert [each.candidate.constant.name for each in matching.altered] == ["conv"]


def test_a_bias_of_another_layer_is_altered() -> None:
    matching = found(convolution(), bias(BIAS[::-1].copy()), dense())
    assert [each.candidate.constant.name for each in matching.altered] == ["conv/bias"]


def test_a_bias_of_zeros_is_reported_as_missing() -> None:
    altered = found(convolution(), bias(np.zeros_like(BIAS)), dense()).altered
    assert [(each.candidate.constant.name, each.difference) for each in altered] == [("conv/bias", None)]


def test_factors_that_a_converter_may_have_merged_are_no_alteration() -> None:
    known = [constant("conv", CONVOLUTION, "HWIO", fold="per-channel")]
    factors = RNG.uniform(0.5, 2, 16).astype(np.float32)
    matching = found(convolution(CONVOLUTION * factors), candidates=known)
    assert (matching.altered, [each.name for each in matching.left]) == ([], ["conv"])


def test_noise_is_an_alteration_even_where_factors_may_be_merged() -> None:
    known = [constant("conv", CONVOLUTION, "HWIO", fold="per-channel")]
    assert found(convolution(_noise(CONVOLUTION * 1.5)), candidates=known).altered


def test_weights_that_resemble_no_constant_are_left() -> None:
    matching = found(as_float32("table", RNG.normal(size=(5, 7)).astype(np.float32), "other"), convolution(), bias(), dense())
    assert [each.name for each in matching.left] == ["table"]
    assert not matching.altered


def test_what_lies_beyond_a_range_is_rounded_to_its_end() -> None:
    values = np.linspace(-1, 1.05, 200).astype(np.float32)
    scale = np.float32(2.05 / 255)
    # The range is moved by half a step so that zero is one of its values.
    codes = np.clip(np.round(values / scale) + 124, 0, 255)
    limits = (np.float32(-124) * scale, np.float32(131) * scale)
    stored = StoredWeight("range", ((codes - 124) * scale).astype(np.float32), np.asarray(scale), "other", limits=limits)
    assert not found(stored, candidates=[constant("range", values)]).altered
