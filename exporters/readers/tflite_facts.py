# SPDX-License-Identifier: Apache-2.0
"""What a .tflite file holds, one compiled for the Edge TPU included."""

import io
import zipfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from edgeferry.exporters.inspect.record import EdgetpuFacts, Inspection, TfliteFacts, Weights, counted, weighed
from edgeferry.exporters.readers.edgetpu import OPERATION, Package, read_package
from edgeferry.exporters.readers.tflite import Graph, Operation, Tensor, read_graph
from edgeferry.models.artifact import Tensor as Declared

LABELS_FILE: Final = "labels.txt"
# Far more than any classifier's; an archive may claim a file that is larger than all memory.
LARGEST_LABELS: Final = 2**24


def read_tflite(path: Path) -> Inspection:
    """Return what a .tflite file holds.

    Raises:
        EdgeError: it is damaged, or what is compiled in it is.
    """
    graph = read_graph(path)
    packages = packages_of(graph)
    return Inspection(
        kind="edgetpu" if packages else "tflite",
        bytes=path.stat().st_size,
        operations=counted((each.custom or each.name, each.version) for each in graph.operations),
        inputs=tuple(map(declared, graph.inputs)),
        outputs=tuple(map(declared, graph.outputs)),
        weights=_weights(graph),
        facts=_compiled_facts(graph, packages, path) if packages else _facts(graph, path),
    )


def packages_of(graph: Graph) -> tuple[Package, ...]:
    """Return what is compiled in a graph, an entry an ``edgetpu-custom-op``.

    Raises:
        EdgeError: one is damaged.
    """
    return tuple(read_package(each.options) for each in graph.operations if each.custom == OPERATION)


def left_to_cpu(graph: Graph) -> tuple[Operation, ...]:
    """Return the operations of a compiled file that the Edge TPU does not compute."""
    return tuple(each for each in graph.operations if each.custom != OPERATION)


def declared(tensor: Tensor) -> Declared:
    """Return a graph's tensor as a manifest tells of it, sizes that are left open None."""
    signature = tensor.signature if len(tensor.signature) == len(tensor.shape) else tensor.shape
    shape = tuple(None if size < 0 else size for size in signature)
    return Declared(tensor.name, shape, tensor.dtype, tensor.scale, tensor.zero_point)


def _weights(graph: Graph) -> tuple[Weights, ...]:
    tensors = {
        tensor.buffer: tensor
        for operation in graph.operations
        for tensor in operation.inputs
        if tensor is not None and tensor.constant_bytes
    }
    return weighed((tensor.dtype, _stored(tensor.scales), tensor.constant_bytes) for tensor in tensors.values())


def _stored(scales: int) -> str:
    return ("as they are", "a scale a tensor", "a scale a channel")[min(scales, 2)]


def _facts(graph: Graph, path: Path) -> TfliteFacts:
    return TfliteFacts(
        description=graph.description,
        metadata=graph.metadata,
        labels=_count_of_labels(path),
        tensor_types=dict(Counter(tensor.dtype for each in graph.operations for tensor in each.outputs).most_common()),
    )


def _compiled_facts(graph: Graph, packages: tuple[Package, ...], path: Path) -> EdgetpuFacts:
    executables = [executable for package in packages for executable in package.executables]
    tokens = sorted({package.token for package in packages if package.token})
    return EdgetpuFacts(
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
        labels=_count_of_labels(path),
    )


def _different(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for text in texts if text))


def _count_of_labels(path: Path) -> int | None:
    """Return how many labels the archive behind the model holds; a damaged one is as good as none."""
    try:
        with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
            entry = archive.getinfo(LABELS_FILE)
            if entry.file_size > LARGEST_LABELS:
                return None
            with archive.open(entry) as file:
                return len(file.read(LARGEST_LABELS).splitlines())
    except Exception:  # noqa: BLE001 - zipfile raises a dozen kinds, zlib's and struct's among them
        return None
