# SPDX-License-Identifier: Apache-2.0
"""Reads a .tflite file that is compiled for the Edge TPU: what it sends to the chip, and what it leaves to the CPU."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from edgeferry.exporters.readers.edgetpu_package import EdgeTpuPackage, read_package
from edgeferry.exporters.readers.reader import Reader
from edgeferry.exporters.readers.record import Inspection
from edgeferry.exporters.readers.tflite import is_tflite, names_compiled_operation, read_graph, read_tflite
from edgeferry.exporters.readers.tflite_graph import EDGETPU_OPERATION, FileOperation, Graph
from edgeferry.exporters.readers.tflite_metadata import metadata_of_tflite
from edgeferry.models.artifact import Tensor
from edgeferry.models.system.errors import EdgeError

KIND: Final = "edgetpu"


@dataclass(frozen=True)
class EdgeTpuFacts:
    """Of a compiled file: what the Edge TPU receives, in bytes, and what is left to the CPU.

    ``instruction_bytes`` run for every image, ``caching_instruction_bytes`` once, to load the parameters that stay on the chip.
    Files compiled together have one ``caching_token``.
    """

    cpu_operations: tuple[str, ...]
    min_runtime_version: int
    chips: tuple[str, ...]
    executables: tuple[str, ...]
    on_chip_bytes: int
    off_chip_bytes: int
    instruction_bytes: int
    caching_instruction_bytes: int
    scratch_bytes: int
    caching_token: str | None
    layer_inputs: tuple[Tensor, ...]
    layer_outputs: tuple[Tensor, ...]
    description: str
    metadata: tuple[str, ...]
    labels: int | None


def read_edgetpu(path: Path) -> Inspection:
    """Return what inspect shows of a compiled file.

    Raises:
        EdgeError: the file, or a package compiled into it, is damaged.
    """
    graph = read_graph(path)
    if not graph.is_compiled:
        raise EdgeError(
            "EF-file-damaged", f"{path} names {EDGETPU_OPERATION}, but no operation is one; compile or copy the file again"
        )
    found = read_tflite(path)
    return replace(found, kind=KIND, facts=_facts(graph, found.facts.labels))


def packages_of(graph: Graph) -> tuple[EdgeTpuPackage, ...]:
    """Return the packages compiled into a graph, one per ``edgetpu-custom-op``.

    Raises:
        EdgeError: one is damaged.
    """
    return tuple(read_package(each.options) for each in graph.operations if each.is_compiled)


def left_to_cpu(graph: Graph) -> tuple[FileOperation, ...]:
    """Return the operations of a compiled file that the Edge TPU does not compute."""
    return tuple(each for each in graph.operations if not each.is_compiled)


def _facts(graph: Graph, labels: int | None) -> EdgeTpuFacts:
    packages = packages_of(graph)
    executables = [executable for package in packages for executable in package.executables]
    tokens = sorted({package.token for package in packages if package.token})
    return EdgeTpuFacts(
        cpu_operations=tuple(each.custom or each.name for each in left_to_cpu(graph)),
        min_runtime_version=max(package.min_runtime_version for package in packages),
        chips=_different(each.chip for each in executables),
        executables=tuple(each.type for each in executables),
        on_chip_bytes=sum(package.on_chip_bytes for package in packages),
        off_chip_bytes=sum(package.off_chip_bytes for package in packages),
        instruction_bytes=sum(package.instruction_bytes for package in packages),
        caching_instruction_bytes=sum(package.caching_instruction_bytes for package in packages),
        scratch_bytes=sum(package.scratch_bytes for package in packages),
        caching_token=", ".join(f"{token:#018x}" for token in tokens) or None,
        layer_inputs=tuple(layer for package in packages for layer in package.inputs),
        layer_outputs=tuple(layer for package in packages for layer in package.outputs),
        description=graph.description,
        metadata=graph.metadata,
        labels=labels,
    )


def _different(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for text in texts if text))


def _matches(path: Path) -> bool:
    return is_tflite(path) and names_compiled_operation(path)


READERS = (
    Reader(
        KIND,
        "TF Lite compiled for the Edge TPU",
        _matches,
        read_edgetpu,
        metadata=metadata_of_tflite,
        # The compiler decides what else it keeps.
        named=frozenset({"labels"}),
    ),
)
