# SPDX-License-Identifier: Apache-2.0
"""Weights as a format stores them: rounded to float16, to steps of one scale, or to a palette of values; float32 again."""

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Signed 8-bit weights are symmetric, so -128 is not used (TF Lite's quantization specification; Core ML's linear_symmetric).
MOST_STEPS: Final = 127
# How little a palette's values may still move (a fraction of the weights' variance): a palette is a local optimum, and one
# computed more thoroughly would be closer than what formats contain.
PALETTE_TOLERANCE: Final = 1e-2
PALETTE_ITERATIONS: Final = 300


def to_float16(values: "NDArray[np.float32]") -> "NDArray[np.float32]":
    """Return values rounded to float16."""
    import numpy as np

    with np.errstate(over="ignore"):
        return values.astype(np.float16).astype(np.float32)


def scales_of(values: "NDArray[np.float32]", channels: tuple[int, ...], most: int = MOST_STEPS) -> "NDArray[np.float32]":
    """Return the symmetric scale of weights in ``most`` steps, one per index of ``channels`` (axes); 1 for a channel of zeros."""
    import numpy as np

    others = tuple(axis for axis in range(values.ndim) if axis not in channels)
    scales = np.abs(values).max(axis=others, keepdims=True).astype(np.float64) / most
    return np.where(scales > 0, scales, 1).astype(np.float32)


def to_steps(values: "NDArray[np.float32]", scales: "NDArray[np.float32]") -> "NDArray[np.float32]":
    """Return values rounded to whole multiples, -127 to 127, of scales that broadcast; zeros where a scale is zero."""
    import numpy as np

    steps = np.rint(np.divide(values, scales, out=np.zeros_like(values), where=scales > 0))
    rounded: NDArray[np.float32] = np.clip(steps, -MOST_STEPS, MOST_STEPS) * scales
    return rounded


def to_range(values: "NDArray[np.float32]", bits: int, *, with_zero: bool = False) -> "NDArray[np.float32]":
    """Return values rounded to 2 ** bits steps from the least to the greatest, zero being one where it is between them.

    ``with_zero`` widens the range to contain zero. A single value is kept as it is.
    """
    import numpy as np

    low, high = float(values.min()), float(values.max())
    if with_zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if low == high:
        return values
    most = 2**bits - 1
    scale = (high - low) / most
    if low <= 0 <= high:
        low = -round(-low / scale) * scale
    steps = np.clip(np.rint((values.astype(np.float64) - low) / scale), 0, most)
    rounded: NDArray[np.float32] = (steps * scale + low).astype(np.float32)
    return rounded


def to_palette(values: "NDArray[np.float32]", bits: int, seed: int = 0) -> "NDArray[np.float32]":
    """Return values replaced by the closest of 2 ** bits values, found by k-means over all of them, in float16.

    ``seed`` draws the first values, which decide where k-means ends.
    """
    import numpy as np

    distinct, places, counts = np.unique(to_float16(values), return_inverse=True, return_counts=True)
    if len(distinct) <= 2**bits:
        return to_float16(values)
    wide = distinct.astype(np.float64)
    palette = _seeds(wide, counts, 2**bits, seed)
    mean = np.average(wide, weights=counts)
    limit = PALETTE_TOLERANCE * float(np.average((wide - mean) ** 2, weights=counts))
    for _ in range(PALETTE_ITERATIONS):
        moved = _centres(wide, counts, palette)
        shift = float(((moved - palette) ** 2).sum())
        palette = moved
        if shift <= limit:
            break
    rounded: NDArray[np.float32] = palette.astype(np.float16).astype(np.float32)[_closest(wide, palette)]
    return rounded[places].reshape(values.shape)


def _seeds(values: Any, counts: Any, number: int, seed: int) -> Any:
    """Return first values for k-means: each is drawn in proportion to the squared distance from those before (k-means++)."""
    import numpy as np

    rng = np.random.default_rng(seed)
    seeds = [values[rng.choice(len(values), p=counts / counts.sum())]]
    distances = (values - seeds[0]) ** 2
    while len(seeds) < number:
        shares = distances * counts
        seeds.append(values[rng.choice(len(values), p=shares / shares.sum())])
        distances = np.minimum(distances, (values - seeds[-1]) ** 2)
    return np.sort(np.asarray(seeds))


def _closest(values: Any, palette: Any) -> Any:
    import numpy as np

    return np.searchsorted((palette[1:] + palette[:-1]) / 2, values)


def _centres(values: Any, counts: Any, palette: Any) -> Any:
    """Return the mean of the values that are closest to each value of a sorted palette, sorted."""
    import numpy as np

    closest = _closest(values, palette)
    weights = np.bincount(closest, counts, len(palette))
    sums = np.bincount(closest, counts * values, len(palette))
    return np.sort(np.where(weights > 0, sums / np.maximum(weights, 1), palette))
