# SPDX-License-Identifier: Apache-2.0
"""The Edge TPU format: the full-integer TF Lite file, compiled by Google's closed-source compiler."""

from pathlib import Path
from typing import Any, Final

from edgeferry.exporters.edgetpu.compilation import LOG, Compilation, CompilationError, Output, compile_files
from edgeferry.exporters.edgetpu.compiler import identity, missing
from edgeferry.exporters.edgetpu.log import Compiled
from edgeferry.exporters.edgetpu.options import EdgeTpuOptions
from edgeferry.exporters.format import Format, Written
from edgeferry.exporters.graph.source import Source
from edgeferry.exporters.inspect.parent import PARENT, what_differs
from edgeferry.exporters.lint.lint import lint
from edgeferry.exporters.lint.runtimes import EDGETPU
from edgeferry.exporters.readers.tflite import declared, read_graph
from edgeferry.exporters.tflite.formats import FILE as INT8_FILE
from edgeferry.exporters.tflite.metadata import zip_of_labels
from edgeferry.models.artifact import Tolerance
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import sha256_of, write_whole

FILE: Final = "model_edgetpu.tflite"


def compile_(source: Source, folder: Path, options: EdgeTpuOptions = EdgeTpuOptions()) -> Written:
    """Compile the full-integer artifact next to this one.

    Raises:
        EdgeError: the file cannot run on an Edge TPU; or the compiler fails, takes too long, or maps nothing.
    """
    parent = folder.parent / PARENT / INT8_FILE
    if not parent.is_file():
        raise EdgeError(
            "EF-parent-missing",
            f"edgetpu-int8 is compiled from {PARENT}, which was not exported; add it to export.formats, or to --format",
        )
    _refuse_what_cannot_run(parent)
    try:
        done = compile_files([parent], folder, options)
    finally:
        _print_log(folder / LOG)
    (folder / FILE).with_suffix(".log").unlink(missing_ok=True)
    _refuse_another_model(folder / FILE, parent)
    write_whole(folder / FILE, (folder / FILE).read_bytes() + zip_of_labels(source.spec.labels))
    graph, (output,) = read_graph(folder / FILE), done.outputs
    inputs, outputs = tuple(map(declared, graph.inputs)), tuple(map(declared, graph.outputs))
    return Written(FILE, inputs, outputs, notes=notes_of(output.log), options=_recorded(done, output))


def notes_of(log: Compiled) -> tuple[str, ...]:
    """Return notes on a compiled file: what is left to the CPU, what is sent for every image, what the log does not report."""
    notes = [f"left to the CPU: {row.count} {row.operation} ({row.status})" for row in log.left_to_cpu]
    if log.cpu_operations and not notes:
        notes.append(f"left to the CPU: {log.cpu_operations} operations; the compiler does not report which")
    if log.mapped_operations is None or log.cpu_operations is None:
        notes.append("the compiler does not report how many operations the Edge TPU computes")
    if log.off_chip_bytes:
        size = f"{log.off_chip_bytes / 2**20:.2f} MiB of parameters"
        notes.append(f"{size} do not fit into the Edge TPU's memory and are sent for every image")
    return (*notes, *(f"the compiler's log contradicts itself: {each}" for each in log.contradictions))


def _refuse_what_cannot_run(parent: Path) -> None:
    errors = lint(parent, EDGETPU).errors
    if errors:
        first = errors[0]
        more = f" (and {len(errors) - 1} more: `edgeferry lint {parent} --for edgetpu`)" if len(errors) > 1 else ""
        raise EdgeError(
            "EF-edgetpu-lint",
            f"{PARENT} cannot run on an Edge TPU: {first.operation} {first.layer}: {first.found}; {first.fix}{more}",
        )


def _print_log(log: Path) -> None:
    if log.is_file():
        print(log.read_text(encoding="utf-8", errors="replace"))  # noqa: T201 - into export.log, which is kept where the folder is not


def _refuse_another_model(compiled: Path, parent: Path) -> None:
    """Refuse a file that was not compiled from its parent, by what both declare; the layout of weights is the compiler's own."""
    if check := what_differs(compiled, parent, weights=False):
        raise CompilationError(
            "EF-edgetpu-other-model", f"the compiled file does not come from {PARENT}: {check.name}: {check.reason}"
        )


def _recorded(done: Compilation, output: Output) -> dict[str, Any]:
    log = output.log
    return {
        "compiler_version": done.compiler.version,
        "compiler_sha256": done.compiler.sha256,
        "compiler_image": done.compiler.image,
        "arguments": list(done.arguments),
        "parent_sha256": sha256_of(output.parent),
        "operations": log.operations,
        "mapped_operations": log.mapped_operations,
        "cpu_operations": log.cpu_operations,
        "subgraphs": log.subgraphs,
        "on_chip_bytes": log.on_chip_bytes,
        "off_chip_bytes": log.off_chip_bytes,
    }


FORMATS = (
    Format(
        "edgetpu-int8",
        "edgetpu",
        "Edge TPU, compiled from tflite-int8",
        Tolerance(0.97, 0.40, 0.08, "the integers of tflite-int8; the Edge TPU's differ by at most one step"),
        compile_,
        ("tensorflow-cpu", "tensorflow"),
        calibrated=True,
        after=PARENT,
        missing=missing,
        identity=identity,
        options=EdgeTpuOptions,
        uses=frozenset(),
    ),
)
