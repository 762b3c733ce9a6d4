# SPDX-License-Identifier: Apache-2.0
"""The command ``compile``: a user's own .tflite files, compiled for the Edge TPU, alone or to share its memory."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeferry.models.system.terminal import Exit, report_errors

if TYPE_CHECKING:
    from edgeferry.exporters.edgetpu.compilation import Compilation, Output
    from edgeferry.exporters.edgetpu.options import EdgeTpuOptions

HELP = """Compile .tflite files for the Edge TPU.

Several models are compiled together: they share the Edge TPU's memory for parameters, so that switching between them costs less.
Their order is their priority: the first one gets memory first. The table shows what each one got.

Exit status: 1 a file cannot run on an Edge TPU, or the compiler rejected it; 2 there is no compiler, or an option is wrong.
"""

Models = Annotated[list[Path], typer.Argument(metavar="MODEL.tflite ...", help="Files to compile, the most important first.")]
Out = Annotated[Path, typer.Option(help="Folder for the compiled files and their logs.")]
MinRuntimeVersion = Annotated[
    int | None, typer.Option("--min-runtime-version", "-m", help="Oldest Edge TPU runtime that must run the files, 10 to 14.")
]
MultipleSubgraphs = Annotated[
    bool, typer.Option("--multiple-subgraphs", "-a", help="Also map operations after one that stays on the CPU.")
]
SearchDelegate = Annotated[
    bool, typer.Option("--search-delegate", "-d", help="If compilation fails, try again with fewer operations.")
]
DelegateSearchStep = Annotated[
    int | None, typer.Option("--delegate-search-step", "-k", help="How many operations fewer on each try.")
]
IntermediateTensors = Annotated[
    list[str] | None,
    typer.Option("--intermediate-tensor", "-i", help="Name of a tensor where the Edge TPU's part ends; repeat it for several."),
]
Segments = Annotated[
    int, typer.Option("--segments", "-n", help="Split the model into this many files, one per Edge TPU, to run in a pipeline.")
]
Timeout = Annotated[
    int | None, typer.Option("--timeout-s", "-t", help="Seconds allowed for each try of the compiler. Default: 180, its own.")
]
MostCpuOperations = Annotated[
    int | None, typer.Option(help="Reject a model that leaves more operations than this to the CPU. Default: no limit.")
]
NoLint = Annotated[bool, typer.Option("--no-lint", help="Skip lint, and let the compiler decide.")]


def compile_(  # noqa: PLR0913 - one argument per option
    models: Models,
    *,
    out: Out = Path(),
    min_runtime_version: MinRuntimeVersion = None,
    multiple_subgraphs: MultipleSubgraphs = False,
    search_delegate: SearchDelegate = False,
    delegate_search_step: DelegateSearchStep = None,
    intermediate_tensor: IntermediateTensors = None,
    segments: Segments = 1,
    timeout_s: Timeout = None,
    most_cpu_operations: MostCpuOperations = None,
    no_lint: NoLint = False,
) -> None:
    """Compile .tflite files for the Edge TPU; HELP is the text for users."""
    # Imported here, because `edgeferry check` runs where the exporters are absent.
    from edgeferry.exporters.edgetpu.options import EdgeTpuOptions

    options = EdgeTpuOptions(
        min_runtime_version=min_runtime_version,
        multiple_subgraphs=multiple_subgraphs,
        search_delegate=search_delegate,
        delegate_search_step=delegate_search_step,
        intermediate_tensors=tuple(intermediate_tensor or ()),
        segments=segments,
        **({} if timeout_s is None else {"timeout_s": timeout_s}),
        most_cpu_operations=most_cpu_operations,
    )
    with report_errors():
        if not no_lint:
            _refuse_what_cannot_run(models)
        done = _compiled(models, out, options)
    for line in lines(done):
        typer.echo(line)


def _compiled(models: list[Path], out: Path, options: "EdgeTpuOptions") -> "Compilation":
    from edgeferry.exporters.edgetpu.compilation import CompilationError, compile_files

    try:
        return compile_files(models, out, options)
    except CompilationError as error:
        typer.echo(f"edgeferry: {error} [{error.code}]", err=True)
        raise typer.Exit(Exit.FAILED) from None


def lines(done: "Compilation") -> Iterator[str]:
    """Yield a compilation as text: one row per file, what is left to the CPU, and the compiler's identity."""
    from edgeferry.exporters.edgetpu.formats import notes_of

    rows = [
        ("model", "Edge TPU", "CPU", "on chip", "off chip", "compiled"),
        *(_row(each) for each in done.outputs),
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    for output in done.outputs:
        yield from (f"{output.path.name}: {note}" for note in notes_of(output.log))
    where = f"image {done.compiler.image}" if done.compiler.image else "program"
    yield f"compiler {done.compiler.version}, {where}, sha256 {done.compiler.sha256}; arguments {' '.join(done.arguments)}"
    yield "not checked: only an Edge TPU can run these files"


def _row(output: "Output") -> tuple[str, ...]:
    log = output.log
    sizes = (log.on_chip_bytes, log.off_chip_bytes)
    return (
        Path(log.input_file or output.parent).name,
        *("?" if count is None else str(count) for count in (log.mapped_operations, log.cpu_operations)),
        *("?" if size is None else f"{size / 2**20:.2f} MiB" for size in sizes),
        str(output.path),
    )


def _refuse_what_cannot_run(models: list[Path]) -> None:
    from edgeferry.exporters.lint.lint import lines as lint_lines
    from edgeferry.exporters.lint.lint import lint
    from edgeferry.exporters.lint.runtimes import EDGETPU

    reports = [(model, lint(model, EDGETPU)) for model in models]
    refused = [(model, report) for model, report in reports if report.errors]
    for model, report in refused:
        for line in lint_lines(model, report):
            typer.echo(line, err=True)
    if refused:
        typer.echo("edgeferry: nothing was compiled; --no-lint lets the compiler decide [EF-edgetpu-lint]", err=True)
        raise typer.Exit(Exit.FAILED)
