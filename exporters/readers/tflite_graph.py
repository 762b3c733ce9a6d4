# SPDX-License-Identifier: Apache-2.0
"""The operations and tensors of a .tflite file as records."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

# The one operation that the Edge TPU compiler leaves in place of those it compiled.
EDGETPU_OPERATION: Final = "edgetpu-custom-op"
# How the names of Keras' weights end in a converted file, and those of one group in graph/groups.py.
KERAS_WEIGHTS: Final = re.compile(r"/(convolution|depthwise|MatMul|group_\d+)$")
# Scopes that Keras opens within a layer.
INNER_SCOPES: Final = ("batchnorm", "moments", "separable_conv2d")
NOTHING: Final = memoryview(b"")


@dataclass(frozen=True)
class FileTensor:
    """One tensor of a file; ``scales`` is how many scales it has (0: a float), ``constant_bytes`` how many the file holds of it.

    ``scale`` and ``zero_point`` are the first of each; ``all_scales`` (float32) and ``all_zero_points`` (int64) hold all, one per
    index of ``axis``. ``constant`` is those bytes themselves, and tensors of one ``buffer`` share them. A constant behind the
    flatbuffer, as in files above 2 GB, is counted, not read.
    """

    name: str
    shape: tuple[int, ...]
    signature: tuple[int, ...]
    dtype: str
    scales: int
    constant_bytes: int
    scale: float | None = None
    zero_point: int | None = None
    buffer: int = 0
    constant: memoryview = field(default=NOTHING, compare=False, repr=False)
    all_scales: memoryview = field(default=NOTHING, compare=False, repr=False)
    all_zero_points: memoryview = field(default=NOTHING, compare=False, repr=False)
    axis: int = 0

    @property
    def is_float(self) -> bool:
        """Return whether it holds floating-point numbers."""
        return self.dtype in {"float16", "float32", "float64", "bfloat16"}


@dataclass(frozen=True)
class FileOperation:
    """One operation of a file; an optional input that is absent is None.

    ``custom`` is the name of one that is not built into TF Lite, ``options`` the bytes of its options, in its own encoding.
    ``builtin`` are the options of a built-in one, as tflite_options.py reads them.
    """

    name: str
    version: int
    inputs: tuple[FileTensor | None, ...]
    outputs: tuple[FileTensor, ...]
    custom: str | None
    options: memoryview = field(default=NOTHING, compare=False, repr=False)
    builtin: Mapping[str, int] = field(default_factory=dict, compare=False)

    @property
    def layer(self) -> str:
        """Return the Keras layer it comes from where its tensors' names show it, else the name of its output.

        Weights keep their layer's name where the output has taken that of the batch normalisation or activation after it.
        """
        weights = self.inputs[1] if len(self.inputs) > 1 else None
        if weights is not None and weights.constant_bytes and KERAS_WEIGHTS.search(weights.name):
            return layer_of(weights.name)
        return layer_of(self.outputs[0].name) if self.outputs else ""

    @property
    def tensors(self) -> tuple[FileTensor, ...]:
        """Return its inputs and outputs."""
        return (*(each for each in self.inputs if each is not None), *self.outputs)

    @property
    def is_compiled(self) -> bool:
        """Return whether it stands for what the Edge TPU compiler compiled."""
        return self.custom == EDGETPU_OPERATION

    @property
    def is_grouped_convolution(self) -> bool:
        """Return whether it is a CONV_2D whose filter takes fewer channels than its input has."""
        image, weights = (*self.inputs[:2], None, None)[:2]
        if self.name != "CONV_2D" or image is None or weights is None or len(image.shape) != 4 or len(weights.shape) != 4:
            return False
        return image.shape[3] != weights.shape[3]

    @property
    def is_per_channel_dense(self) -> bool:
        """Return whether it is a FULLY_CONNECTED whose weights have more than one scale."""
        weights = self.inputs[1] if self.name == "FULLY_CONNECTED" and len(self.inputs) > 1 else None
        return weights is not None and weights.scales > 1


@dataclass(frozen=True)
class Graph:
    """The operations of a file in the order they run, those of the first graph before those it calls.

    ``first`` is how many belong to the first graph; ``inputs`` and ``outputs`` are its own. ``parameter_bytes`` is what the file
    holds of constants that operations use, each counted once. ``metadata`` are the names of what else it holds.
    """

    operations: tuple[FileOperation, ...]
    first: int
    inputs: tuple[FileTensor, ...]
    parameter_bytes: int
    outputs: tuple[FileTensor, ...] = ()
    description: str = ""
    metadata: tuple[str, ...] = ()

    @property
    def is_compiled(self) -> bool:
        """Return whether parts of it are compiled for the Edge TPU."""
        return any(operation.is_compiled for operation in self.operations)


def layer_of(tensor: str) -> str:
    """Return the layer in a tensor's name: 'conv2d_1' of 'digits_1/conv2d_1/Relu;digits_1/conv2d_1/BiasAdd'."""
    parts = [part for part in tensor.split(";", 1)[0].split("/") if part and not part.startswith("StatefulPartitionedCall")]
    # A TensorFlow function inside a layer begins with a capital ('Gelu'); Keras' own names do not.
    layers = [part for part in parts[1:-1] if part[0].islower() and part not in INNER_SCOPES]
    return layers[-1] if layers else parts[-2] if len(parts) > 1 else tensor
