# SPDX-License-Identifier: Apache-2.0
"""``python -m exporters compile``: .tflite files of the user's own, compiled for the Edge TPU, alone or to share it."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeferry.exporters.edgetpu.options import EdgeTpuOptions
from edgeferry.models.system.terminal import report_errors

if TYPE_CHECKING:
    from edgeferry.exporters.edgetpu.compilation import Compilation, Output

HELP = """Compile .tflite files for the Edge TPU.

Several models are compiled together: they share the Edge TPU's memory for parameters, so that changing between them costs less.
Their order is their priority: the first named is given memory first. The table says what each got.

Status 1: a file cannot run on an Edge TPU, or the compiler would not have it; 2: there is no compiler, or an option is wrong.
"""


def compile_(  # noqa: PLR0913 - an argument an option
    models: Annotated[list[Path], typer.Argument(metavar="MODEL.tflite ...", help="The most important first.")],
    *,
    out: Annotated[Path, typer.Option(help="Where the compiled files and their logs are written.")] = Path(),
    min_runtime_version: Annotated[
        int | None, typer.Option("--min-runtime-version", "-m", help="10 to 14: the oldest runtime that is to run them.")
    ] = None,
    multiple_subgraphs: Annotated[
        bool, typer.Option("--multiple-subgraphs", "-a", help="Map operations after one that stays on the CPU, too.")
    ] = False,
    search_delegate: Annotated[
        bool, typer.Option("--search-delegate", "-d", help="Where it fails, try with fewer operations.")
    ] = False,
    delegate_search_step: Annotated[
        int | None, typer.Option("--delegate-search-step", "-k", help="How many operations fewer each time.")
    ] = None,
    intermediate_tensor: Annotated[
        list[str] | None, typer.Option("--intermediate-tensor", "-i", help="A tensor where the Edge TPU ends; may be repeated.")
    ] = None,
    segments: Annotated[
        int, typer.Option("--segments", "-n", help="Cut a model into so many files, each for an Edge TPU of its own.")
    ] = 1,
    timeout_s: Annotated[int, typer.Option("--timeout-s", "-t", help="For each time the compiler tries.")] = 180,
    most_cpu_operations: Annotated[
        int | None, typer.Option(help="Refuse a model of which more operations are left to the CPU. Default: any number.")
    ] = None,
    no_lint: Annotated[bool, typer.Option("--no-lint", help="Leave to the compiler what lint would refuse.")] = False,
) -> None:
    """Compile .tflite files for the Edge TPU; the help above says it to the user."""
    from edgeferry.exporters.edgetpu.compilation import CompilationError, compile_files

    options = EdgeTpuOptions(
        min_runtime_version=min_runtime_version,
        multiple_subgraphs=multiple_subgraphs,
        search_delegate=search_delegate,
        delegate_search_step=delegate_search_step,
        intermediate_tensors=tuple(intermediate_tensor or ()),
        segments=segments,
        timeout_s=timeout_s,
        most_cpu_operations=most_cpu_operations,
    )
    with report_errors():
        if not no_lint:
            _refuse_what_cannot_run(models)
        try:
            done = compile_files(models, out, options)
        except CompilationError as error:
            typer.echo(f"edgeferry: {error}", err=True)
            raise typer.Exit(1) from None
    for line in lines(done):
        typer.echo(line)


def lines(done: "Compilation") -> Iterator[str]:
    """Yield what was compiled as text: a row a file, what is left to the CPU, and by which compiler."""
    from edgeferry.exporters.edgetpu.formats import notes_of

    rows = [
        ("model", "Edge TPU", "CPU", "on chip", "off chip", "compiled"),
        *(_row(each) for each in done.outputs),
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    for output in done.outputs:
        yield from (f"{output.path.name}: {note}" for note in notes_of(output.told))
    where = f"image {done.compiler.image}" if done.compiler.image else "program"
    yield f"compiler {done.compiler.version}, {where}, sha256 {done.compiler.sha256}; arguments {' '.join(done.arguments)}"
    yield "not checked: only an Edge TPU can tell whether they answer rightly"


def _row(output: "Output") -> tuple[str, ...]:
    told = output.told
    sizes = (told.on_chip_bytes, told.off_chip_bytes)
    return (
        Path(told.input_file or output.parent).name,
        *("?" if count is None else str(count) for count in (told.mapped_operations, told.cpu_operations)),
        *("?" if size is None else f"{size / 2**20:.2f} MiB" for size in sizes),
        str(output.path),
    )


def _refuse_what_cannot_run(models: list[Path]) -> None:
    from edgeferry.exporters.lint.lint import lines as lines_of
    from edgeferry.exporters.lint.lint import lint
    from edgeferry.exporters.lint.runtimes import EDGETPU

    reports = [(model, lint(model, EDGETPU)) for model in models]
    refused = [(model, report) for model, report in reports if report.errors]
    for model, report in refused:
        for line in lines_of(model, report):
            typer.echo(line, err=True)
    if refused:
        typer.echo("edgeferry: nothing was compiled; --no-lint leaves the decision to the compiler", err=True)
        raise typer.Exit(1)
