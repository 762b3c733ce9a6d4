# SPDX-License-Identifier: Apache-2.0
"""Resizing that few formats have, as products with two constant matrices: one for rows and one for columns.

The matrices are what the operation itself makes of the unit images, so that every kernel, antialiasing and alignment is covered.
"""

from typing import TYPE_CHECKING, Any, Final

from edgeferry.exporters.graph.rewrites.rewrite import Operation, Rewrites

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def resize(operation: Operation) -> Any:
    """Write the resizing of images of known size to a known size as matrix products.

    y = ResizeBicubic(x, [h, w])    becomes    y = columns . (rows . x), each a MatMul with x transposed in front of it
    """
    import tensorflow as tf

    image, *arguments = operation.inputs
    _, height, width, channels = image.shape
    constants = [operation.constant(number) for number in range(1, len(arguments) + 1)]
    if None in {height, width, channels} or any(value is None for value in constants):
        return None
    rows, columns = (_matrix(operation, axis, size, constants) for axis, size in ((0, height), (1, width)))
    # [batch, columns, channels, rows], so that every product is over the last axis.
    turned = _product(tf.transpose(tf.cast(image, tf.float32), [0, 2, 3, 1]), rows, [width, channels])
    # [batch, rows, channels, columns]
    resized = _product(tf.transpose(turned, [0, 3, 2, 1]), columns, [rows.shape[0], channels])
    return tf.transpose(resized, [0, 1, 3, 2])


def resize_nearest(operation: Operation) -> Any:
    """Write nearest-neighbour resizing as a matrix product, but by a whole factor, where every rule takes the same pixels.

    y = ResizeNearestNeighbor(x, [h, w])    becomes    y = columns . (rows . x), of zeros and ones
    """
    sizes, wanted = operation.inputs[0].shape[1:3], operation.constant(1)
    if wanted is not None and all(size and after % size == 0 for size, after in zip(sizes, wanted, strict=True)):
        return None
    return resize(operation)


def _matrix(operation: Operation, axis: int, size: int, constants: "list[Any]") -> "NDArray[np.float32]":
    """Return what the operation makes of each unit vector along an axis, [size after, size before]."""
    import numpy as np
    import tensorflow as tf

    node = operation.node
    # One image of one column (or row), with a channel for each unit vector.
    units = np.expand_dims(np.eye(size, dtype=np.float32), (0, 2 - axis))
    wanted, *placed = [np.array(value) for value in constants]
    other = 1 - axis
    wanted[other] = 1
    if placed:
        placed[0][other], placed[1][other] = 1, 0
    attributes = {name: node.attr[name] for name in node.attr if not name.startswith("_")}
    with tf.Graph().as_default() as alone, tf.compat.v1.Session(graph=alone) as session:
        arguments = [tf.constant(value) for value in (units, wanted, *placed)]
        made = alone.create_op(node.op, arguments, attrs=attributes)
        matrix: NDArray[np.float32] = np.squeeze(session.run(made.outputs[0]), (0, 2 - axis))
    return matrix


def _product(image: Any, matrix: "NDArray[np.float32]", inner: list[int]) -> Any:
    """Return images [batch, *inner, size before] as [batch, *inner, size after]."""
    import tensorflow as tf

    after, before = matrix.shape
    return tf.reshape(tf.matmul(tf.reshape(image, [-1, before]), matrix.T), [-1, *inner, after])


RESIZING: Final = Rewrites(
    "resizing as matrix products", dict.fromkeys(("ScaleAndTranslate", "ResizeBicubic", "ResizeArea"), resize)
)
NEAREST: Final = Rewrites("nearest-neighbour resizing as matrix products", {"ResizeNearestNeighbor": resize_nearest})
