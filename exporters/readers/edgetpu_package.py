# SPDX-License-Identifier: Apache-2.0
"""Parses the package that the Edge TPU compiler puts into the one operation that it leaves.

The operation's options are a FlexBuffer map; its entry "4" is a FlatBuffer ``DWN1``, a package of executables. Field numbers:
libedgetpu, ``executable/executable.fbs``. Strings there may be any bytes: an executable is declared as a string.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from edgeferry.exporters.readers.flatbuffer import FlatbufferTable, flexbuffer_entry
from edgeferry.exporters.readers.tflite_graph import EDGETPU_OPERATION
from edgeferry.models.artifact import Tensor
from edgeferry.models.system.errors import EdgeError

IDENTIFIER: Final = b"DWN1"
PACKAGE_KEY: Final = b"4"
# The enumeration ExecutableType. A PARAMETER_CACHING executable comes with an EXECUTION_ONLY one.
TYPES: Final = ("STAND_ALONE", "PARAMETER_CACHING", "EXECUTION_ONLY")
CACHING: Final = "PARAMETER_CACHING"
# The enumeration DataType: a number is "fixed point" where it has a zero point, "signed" where it has none.
DTYPES: Final = {0: "uint8", 1: "uint16", 2: "int32", 3: "bfloat16", 4: "float16", 5: "float32", 8: "int8", 9: "int16"}
LONGEST_TEXT: Final = 1024


@dataclass(frozen=True)
class Executable:
    """One program for the Edge TPU with its parameters; ``token`` is 0 where none is cached."""

    type: str
    chip: str
    batch: int
    parameters: memoryview
    instruction_bytes: int
    instruction_chunks: int
    scratch_bytes: int
    token: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


@dataclass(frozen=True)
class EdgeTpuPackage:
    """All that one operation runs; on-chip parameters stay between images, off-chip ones are sent for each."""

    min_runtime_version: int
    executables: tuple[Executable, ...]

    @property
    def on_chip_bytes(self) -> int:
        """Return the bytes of parameters that stay on the chip."""
        return sum(each.parameters.nbytes for each in self.executables if each.type == CACHING)

    @property
    def off_chip_bytes(self) -> int:
        """Return the bytes of parameters that are sent for every image."""
        return sum(each.parameters.nbytes for each in self.executables if each.type != CACHING)

    @property
    def instruction_bytes(self) -> int:
        """Return the bytes of instructions that run for every image."""
        return sum(each.instruction_bytes for each in self.executables if each.type != CACHING)

    @property
    def caching_instruction_bytes(self) -> int:
        """Return the bytes of instructions that run once, to load the parameters that stay on the chip."""
        return sum(each.instruction_bytes for each in self.executables if each.type == CACHING)

    @property
    def scratch_bytes(self) -> int:
        """Return the memory of the host that it needs while it runs."""
        return sum(each.scratch_bytes for each in self.executables)

    @property
    def token(self) -> int:
        """Return the token that models compiled together share; 0 where there is none."""
        return next((each.token for each in self.executables if each.token), 0)

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """Return the input layers, as the runtime sees them."""
        return next((each.inputs for each in self.executables if each.inputs), ())

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """Return the output layers."""
        return next((each.outputs for each in self.executables if each.outputs), ())


def read_package(options: bytes | memoryview) -> EdgeTpuPackage:
    """Return the package in the options of an ``edgetpu-custom-op``.

    Raises:
        EdgeError: there is none, or it is damaged.
    """
    try:
        return _package(memoryview(options))
    except ValueError as error:
        raise EdgeError(
            "EF-file-damaged", f"the package in {EDGETPU_OPERATION} is damaged: {error}; compile or copy the file again"
        ) from None


def _package(options: memoryview) -> EdgeTpuPackage:
    held = flexbuffer_entry(options, PACKAGE_KEY)
    if held is None:
        raise ValueError(f"the map has no entry {PACKAGE_KEY.decode()!r}")
    package = FlatbufferTable.root(held, IDENTIFIER)
    executables = tuple(_executable(FlatbufferTable.root(part)) for part in FlatbufferTable.root(package.bytes(1)).parts(0))
    if not executables:
        raise ValueError("no executables")
    return EdgeTpuPackage(package.number(0), executables)


def _executable(table: FlatbufferTable) -> Executable:
    chunks = [len(chunk.bytes(0)) for chunk in table.tables(5)]
    kind = table.number(13, "<h")
    return Executable(
        type=TYPES[kind] if 0 <= kind < len(TYPES) else f"type number {kind}",
        chip=_text(table.bytes(10)),
        batch=table.number(3),
        parameters=table.bytes(6),
        instruction_bytes=sum(chunks),
        instruction_chunks=len(chunks),
        scratch_bytes=table.number(4),
        token=table.number(14, "<Q"),
        inputs=tuple(_layers(table, 8)),
        outputs=tuple(_layers(table, 9)),
    )


def _layers(table: FlatbufferTable, field: int) -> Iterator[Tensor]:
    for layer in table.tables(field):
        numerics = layer.table(5)
        kind = layer.number(6, "<h")
        scale = None if numerics is None else numerics.real(1)
        yield Tensor(
            name=_text(layer.bytes(0)),
            shape=(layer.number(2), layer.number(3), layer.number(4)),
            dtype=DTYPES.get(kind, f"type number {kind}"),
            scale=scale if scale is not None and math.isfinite(scale) else None,
            zero_point=None if numerics is None else numerics.number(0),
        )


def _text(text: memoryview) -> str:
    return bytes(text[:LONGEST_TEXT]).decode("utf-8", "replace")
