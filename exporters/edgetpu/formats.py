# SPDX-License-Identifier: Apache-2.0
"""Edge TPU: what Google's closed compiler makes of the full-integer TF Lite file."""

from pathlib import Path
from typing import Any, Final

from edgeferry.exporters.edgetpu.compilation import LOG, Compilation, CompilationError, Output, compile_files
from edgeferry.exporters.edgetpu.compiler import identity, missing
from edgeferry.exporters.edgetpu.log import Compiled
from edgeferry.exporters.edgetpu.options import EdgeTpuOptions
from edgeferry.exporters.format import Format, Written
from edgeferry.exporters.graph.source import Source
from edgeferry.exporters.inspect.parent import what_differs
from edgeferry.exporters.lint.lint import lint
from edgeferry.exporters.lint.runtimes import EDGETPU
from edgeferry.exporters.tflite.formats import FILE as INT8_FILE
from edgeferry.exporters.tflite.formats import read_tensors
from edgeferry.exporters.tflite.metadata import zip_of_labels
from edgeferry.models.artifact import Tolerance
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import sha256_of, write_whole

PARENT: Final = "tflite-int8"
FILE: Final = "model_edgetpu.tflite"


def compile_(source: Source, folder: Path, options: EdgeTpuOptions = EdgeTpuOptions()) -> Written:
    """Compile the full-integer artifact beside this one.

    Raises:
        EdgeError: the file cannot run on an Edge TPU; or the compiler fails, takes too long, or maps nothing: in its own words.
    """
    parent = folder.parent / PARENT / INT8_FILE
    if not parent.is_file():
        raise EdgeError(f"{PARENT} is what it is compiled from, and it was not exported")
    _refuse_what_cannot_run(parent)
    try:
        done = compile_files([parent], folder, options)
    finally:
        _print_log(folder / LOG)
    (folder / FILE).with_suffix(".log").unlink(missing_ok=True)
    compiled = (folder / FILE).read_bytes()
    _refuse_another_model(folder / FILE, parent)
    write_whole(folder / FILE, compiled + zip_of_labels(source.spec.labels))
    inputs, outputs = read_tensors(compiled)
    return Written(FILE, inputs, outputs, notes=notes_of(done.outputs[0].told), options=_recorded(done, done.outputs[0]))


def notes_of(told: Compiled) -> tuple[str, ...]:
    """Return what whoever runs a compiled file must know: what is left to the CPU, what is streamed, what the log leaves open."""
    notes = [f"left to the CPU: {row.count} {row.operation} ({row.status})" for row in told.left_to_cpu]
    if told.cpu_operations and not notes:
        notes.append(f"left to the CPU: {told.cpu_operations} operations; the compiler does not say which")
    if told.mapped_operations is None or told.cpu_operations is None:
        notes.append("the compiler does not say how many operations the Edge TPU computes")
    if told.off_chip_bytes:
        size = f"{told.off_chip_bytes / 2**20:.2f} MiB of parameters"
        notes.append(f"{size} do not fit into the Edge TPU's memory and are sent for every image")
    return (*notes, *(f"the compiler contradicts itself: {each}" for each in told.contradictions))


def _refuse_what_cannot_run(parent: Path) -> None:
    errors = lint(parent, EDGETPU).errors
    if errors:
        first = errors[0]
        more = f" (and {len(errors) - 1} more: `python -m exporters lint {parent} --for edgetpu`)" if len(errors) > 1 else ""
        raise EdgeError(f"{PARENT} cannot run on an Edge TPU: {first.operation} {first.layer}, {first.found}; {first.fix}{more}")


def _print_log(log: Path) -> None:
    if log.is_file():
        print(log.read_text(encoding="utf-8", errors="replace"))  # noqa: T201 - into export.log, which stays where the folder does not


def _refuse_another_model(compiled: Path, parent: Path) -> None:
    """Refuse a file that is not its parent compiled, by all that it declares; how weights are laid out is the compiler's own."""
    if why := what_differs(compiled, parent, weights=False):
        raise CompilationError(f"what was compiled is not {PARENT}: {why}")


def _recorded(done: Compilation, output: Output) -> dict[str, Any]:
    told = output.told
    return {
        "compiler_version": done.compiler.version,
        "compiler_sha256": done.compiler.sha256,
        "compiler_image": done.compiler.image,
        "arguments": list(done.arguments),
        "parent_sha256": sha256_of(output.parent),
        "operations": told.operations,
        "mapped_operations": told.mapped_operations,
        "cpu_operations": told.cpu_operations,
        "subgraphs": told.subgraphs,
        "on_chip_bytes": told.on_chip_bytes,
        "off_chip_bytes": told.off_chip_bytes,
    }


FORMATS = (
    Format(
        "edgetpu-int8",
        "edgetpu",
        "Edge TPU, compiled from tflite-int8",
        Tolerance(0.97, 0.40, 0.08, "the integers of tflite-int8; the Edge TPU differs from them by at most one step"),
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
