# SPDX-License-Identifier: Apache-2.0
"""Choices between values of different shapes: TensorFlow.js's wasm reads beyond the end of the smaller one."""

from typing import Any, Final

from edgeferry.exporters.graph.rewrites.rewrite import Operation, Rewrites


def choice(operation: Operation) -> Any:
    """Write a choice so that the condition and both values have one shape.

    y = SelectV2(condition, x, -1e9)    becomes    y = SelectV2(condition, x, ZerosLike(x) + -1e9)
    """
    import tensorflow as tf

    condition, *values = operation.inputs
    shapes = [each.shape for each in operation.inputs]
    ranks = [shape.rank for shape in shapes]
    if None in ranks or all(shape.as_list() == shapes[0].as_list() for shape in shapes):
        return None
    whole = tf.broadcast_static_shape(tf.broadcast_static_shape(shapes[0], shapes[1]), shapes[2]).as_list()
    full = next((each for each in values if each.shape.as_list() == whole), None)
    if full is None:
        return None
    zeros = tf.zeros_like(full)
    stretched = [each if each is full else zeros + each for each in values]
    if condition.shape.as_list() != whole:
        condition = (tf.cast(zeros, tf.float32) + tf.cast(condition, tf.float32)) > 0.5
    return tf.raw_ops.SelectV2(condition=condition, t=stretched[0], e=stretched[1])


CHOICES: Final = Rewrites("choices between values of one shape", {"SelectV2": choice})
