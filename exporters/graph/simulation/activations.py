# SPDX-License-Identifier: Apache-2.0
"""Values rounded as a runtime rounds them while it computes, in operations of a TensorFlow graph; float32 comes back."""

from typing import Any, Final

# The steps of asymmetric 8-bit values.
STEPS: Final = 255


def to_float16(values: Any) -> Any:
    """Return values rounded to float16."""
    import tensorflow as tf

    return tf.cast(tf.cast(values, tf.float16), tf.float32)


def to_bits(values: Any, bits: int) -> Any:
    """Return values rounded to so many of float32's 24 significant bits (Veltkamp's splitting)."""
    import tensorflow as tf

    large = values * (2 ** (24 - bits) + 1)
    rounded = large - (large - values)
    return tf.where(tf.math.is_finite(large), rounded, values)


def to_range(values: Any, low: float, high: float) -> Any:
    """Return values rounded to 256 steps from ``low`` to ``high``, of which zero is one, as full-integer formats hold them."""
    import tensorflow as tf

    low, high = min(low, 0.0), max(high, 0.0)
    return tf.quantization.fake_quant_with_min_max_args(values, low, high) if low < high else values


def to_own_range(values: Any) -> Any:
    """Return values rounded to 256 steps between each image's own least and greatest, zero included, as hybrid kernels do."""
    import tensorflow as tf

    axes = list(range(1, values.shape.rank))
    low = tf.minimum(tf.reduce_min(values, axes, keepdims=True), 0)
    high = tf.maximum(tf.reduce_max(values, axes, keepdims=True), 0)
    scale = (high - low) / STEPS
    return to_steps(values, scale, tf.round(tf.math.divide_no_nan(-low, scale)))


def to_steps(values: Any, scale: Any, zero: Any) -> Any:
    """Return values rounded to 256 steps of a scale around a zero point; halves go to the even step, as ONNX specifies."""
    import tensorflow as tf

    steps = tf.clip_by_value(tf.round(tf.math.divide_no_nan(values, scale)) + zero, 0, STEPS)
    return (steps - zero) * scale
