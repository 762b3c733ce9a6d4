# SPDX-License-Identifier: Apache-2.0
"""Another image than the one that was meant: its channels, its range of values, its place."""

from collections.abc import Callable
from functools import partial
from typing import Any

from edgeferry.benchmarks.selftest.fault import Fault, impossible
from edgeferry.benchmarks.selftest.graph import with_input
from edgeferry.exporters.graph.source import Source


def _with_channels(source: Source, order: tuple[int, int, int]) -> Source:
    import tensorflow as tf

    if source.shape[2] != len(order):
        raise impossible("the images have one channel")
    return with_input(source, lambda image: tf.concat([image[..., at : at + 1] for at in order], axis=-1))


def _gray(source: Source) -> Source:
    import tensorflow as tf

    if source.shape[2] == 1:
        raise impossible("the images are gray already")
    return with_input(source, lambda image: 0.7 * image + 0.3 * tf.reduce_mean(image, axis=-1, keepdims=True))


def _ends(source: Source) -> tuple[Any, Any]:
    """Return the values of a black and of a white pixel, per channel."""
    import numpy as np

    how = source.spec.preprocessing
    mean, std = np.asarray(how.mean, np.float32), np.asarray(how.std, np.float32)
    return (0 - mean) / std, (255 - mean) / std


def _scaled(source: Source, scale: float) -> Source:
    return with_input(source, lambda image: image * scale)


def _brighter(source: Source, share: float) -> Source:
    black, white = _ends(source)
    return with_input(source, lambda image: image + share * (white - black))


def _upper_half(source: Source) -> Source:
    """Return the classifier fed [0, 1] where it was trained on [-1, 1], or the same for any other range."""
    _, white = _ends(source)
    return with_input(source, lambda image: image * 0.5 + 0.5 * white)


def _shifted(source: Source, down: int, right: int) -> Source:
    import tensorflow as tf

    height, width, _ = source.shape

    def move(image: Any) -> Any:
        padded = tf.pad(image, [[0, 0], [down, 0], [right, 0], [0, 0]])
        return padded[:, :height, :width, :]

    return with_input(source, move)


def _flipped(source: Source, axis: int) -> Source:
    import tensorflow as tf

    return with_input(source, lambda image: tf.reverse(image, [axis]))


def _transposed(source: Source) -> Source:
    import tensorflow as tf

    if source.shape[0] != source.shape[1]:
        raise impossible("the images are not square")
    return with_input(source, lambda image: tf.transpose(image, [0, 2, 1, 3]))


def _blurred(source: Source) -> Source:
    import tensorflow as tf

    return with_input(source, lambda image: tf.nn.avg_pool2d(image, 3, 1, "SAME"))


def _fault(name: str, family: str, change: Callable[..., Source], /, **options: Any) -> Fault:
    return Fault(name, family, partial(change, **options))


FAULTS = (
    _fault("red and blue exchanged", "channels", _with_channels, order=(2, 1, 0)),
    _fault("channels shifted by one", "channels", _with_channels, order=(1, 2, 0)),
    _fault("colours faded by 30 %", "channels", _gray),
    _fault("input doubled", "range", _scaled, scale=2.0),
    _fault("upper half of the range only", "range", _upper_half),
    _fault("std doubled", "range", _scaled, scale=0.5),
    _fault("contrast up 10 %", "range", _scaled, scale=1.1),
    _fault("brightness up 10 %", "range", _brighter, share=0.1),
    _fault("contrast down 5 %", "range", _scaled, scale=0.95),
    _fault("brightness up 2 %", "range", _brighter, share=0.02),
    _fault("values divided by 255", "range", _scaled, scale=1 / 255),
    _fault("shifted right by 1 pixel", "place", _shifted, down=0, right=1),
    _fault("mirrored", "place", _flipped, axis=2),
    _fault("shifted right and down by 2 pixels", "place", _shifted, down=2, right=2),
    _fault("shifted down by 1 pixel", "place", _shifted, down=1, right=0),
    _fault("upside down", "place", _flipped, axis=1),
    _fault("rows and columns exchanged", "place", _transposed),
    _fault("blurred", "place", _blurred),
)
