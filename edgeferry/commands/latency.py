# SPDX-License-Identifier: Apache-2.0
"""Measure artifacts, and compare measurements."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from edgeferry.commands.arguments import BUILD, Build, CustomModule, Formats, Model, Targets, Wait, code_of, config_of
from edgeferry.commands.help import HelpCommand
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.terminal import Exit, model_build, progress, report_errors

if TYPE_CHECKING:
    from edgeferry.benchmarks.latency.records import Latencies

PANEL = "Measure"


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    for function in (bench, compare, sustain):
        app.command(cls=HelpCommand, rich_help_panel=PANEL)(function)


def compare(  # noqa: PLR0913, PLR0917 - an argument per option
    context: typer.Context,
    old: Annotated[Path, typer.Argument(help="The old artifact's folder, build/<model>/<format>, or a run's latency.json.")],
    new: Annotated[Path, typer.Argument(help="The new artifact's folder, or a later run's latency.json.")],
    target: Annotated[str, typer.Option(help="The target that both run on.")] = "litert",
    launches: Annotated[int, typer.Option(help="How many times each artifact is started; at least 2.")] = 10,
    rounds: Annotated[int, typer.Option(help="Interleaved iterations of each artifact per launch; at least 2.")] = 30,
    minimum_effect: Annotated[
        float, typer.Option(help="The smallest slow-down that counts as a regression; 0.05 is 5 %.")
    ] = 0.05,
    as_json: Annotated[Path | None, typer.Option("--json", help="Write everything, raw times included, to this file.")] = None,
) -> None:
    """Time two artifacts interleaved in one run, or compare two runs that were measured before.

    For two runs only --minimum-effect and --json apply. Exit status: 0 no regression, 1 the new one is slower by more than the
    minimum effect, 2 nothing could be compared.
    """
    if old.is_file() or new.is_file():
        with report_errors():
            _refuse_timing_options(context)
        _compare_runs((old, new), minimum_effect, as_json)
    from edgeferry.benchmarks.latency.compare import ComparisonPlan, lines_of
    from edgeferry.benchmarks.latency.compare import compare as compare_artifacts
    from edgeferry.models.system.files import write_json

    with report_errors():
        with progress() as step:
            found = compare_artifacts(old, new, target, ComparisonPlan(launches, rounds, minimum_effect), step)
        if as_json:
            write_json(as_json, found.as_json())
    for line in lines_of(found):
        typer.echo(line)
    raise typer.Exit(Exit.FAILED if found.is_regression else Exit.HELD)


def _refuse_timing_options(context: typer.Context) -> None:
    for name in ("target", "launches", "rounds"):
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise EdgeError(
                "EF-option-without-effect",
                f"--{name} applies when artifacts are timed; these are two runs that are measured already. Leave it out.",
            )


def _compare_runs(runs: tuple[Path, Path], minimum_effect: float, as_json: Path | None) -> NoReturn:
    from edgeferry.benchmarks.latency.compare_runs import compare_runs, lines_of
    from edgeferry.models.system.files import write_json

    with report_errors():
        found = compare_runs(*runs, minimum_effect)
        if as_json:
            write_json(as_json, found.as_json())
    for line in lines_of(found):
        typer.echo(line)
    raise typer.Exit(Exit.FAILED if found.is_regression else Exit.HELD if found.is_compared else Exit.NOTHING)


def sustain(  # noqa: PLR0913, PLR0917 - an argument per option
    model: Model,
    form: Annotated[str, typer.Option("--format", help="The format of the artifact.")],
    target: Annotated[str, typer.Option(help="The target it runs on.")] = "litert",
    build: Build = BUILD,
    minutes: Annotated[int, typer.Option(help="How many minutes to run; at least 2.")] = 10,
    threads: Annotated[int, typer.Option(help="How many threads it may use; at least 1.")] = 1,
    custom_module: CustomModule = None,
    *,
    wait: Wait = False,
) -> None:
    """Run one artifact without a pause and compare the last minute with the first: heat, throttling, leaks.

    Exit status: 0 it was measured, 1 it failed.
    """
    from edgeferry.benchmarks.latency import sustained
    from edgeferry.benchmarks.latency.entries import Selection
    from edgeferry.benchmarks.latency.sustain import sustain as run_sustained
    from edgeferry.models.system.process.owner import owned
    from edgeferry.targets.target import choose

    with report_errors():
        place, code = _place_and_code(model, build, custom_module)
        selection = Selection(place, (form,), choose((target,)), code=code)
        with progress() as step, owned(place, step, wait=wait):
            found = run_sustained(selection, minutes, threads, step)
            written = sustained.write_sustained(found, place) if found.seconds else None
    for line in sustained.lines_of(found):
        typer.echo(line)
    if found.interrupted:
        typer.echo("edgeferry: interrupted; what was measured is kept.", err=True)
    if written:
        typer.echo(f"\n{written}")
    raise typer.Exit(Exit.INTERRUPTED if found.interrupted else Exit.FAILED if found.problem else Exit.HELD)


def bench(  # noqa: PLR0913, PLR0917 - an argument per option
    model: Model,
    build: Build = BUILD,
    formats: Formats = None,
    targets: Targets = None,
    threads: Annotated[
        list[int] | None, typer.Option(help="How many threads an artifact may use; repeat it to measure several. Default: 1.")
    ] = None,
    launches: Annotated[int, typer.Option(help="How many times each artifact is started; at least 2.")] = 5,
    percentile: Annotated[
        float, typer.Option(help="The highest percentile to measure: 90 needs 64 samples of each artifact, 99 needs 662.")
    ] = 90,
    baseline: Annotated[
        str | None, typer.Option(help="What the others are compared with, FORMAT@TARGET. Default: the Keras model.")
    ] = None,
    costs: Annotated[  # noqa: FBT002 - an option
        bool, typer.Option("--costs/--no-costs", help="Measure memory, throughput, energy and operations too.")
    ] = True,
    as_json: Annotated[
        Path | None, typer.Option("--json", help="Write everything, raw times included, to this file too.")
    ] = None,
    as_markdown: Annotated[Path | None, typer.Option("--md", help="Write the tables as Markdown to this file.")] = None,
    custom_module: CustomModule = None,
    *,
    wait: Wait = False,
) -> None:
    """Measure the latency of every artifact on every target in one run.

    Exit status: 0 measured, 1 something failed, 2 nothing was measured.
    """
    from edgeferry.benchmarks.latency.entries import BenchPlan, Selection, parse_baseline
    from edgeferry.benchmarks.latency.measure import keep, measure
    from edgeferry.models.system.process.owner import owned
    from edgeferry.targets.target import choose

    with report_errors():
        place, code = _place_and_code(model, build, custom_module)
        selection = Selection(place, tuple(formats or ()), choose(tuple(targets or ()) or None), parse_baseline(baseline), code)
        with progress() as step, owned(place, step, wait=wait):
            found = measure(selection, BenchPlan(launches, percentile, tuple(threads or (1,)), costs), step)
            kept = keep(found, place)
        _write_elsewhere(found, place, as_json, as_markdown)
    _print_run(found, place, kept=kept)
    raise typer.Exit(_status(found))


def _status(found: "Latencies") -> Exit:
    states = {case.state for case in found.cases}
    finished = Exit.FAILED if "failed" in states else Exit.HELD if "measured" in states else Exit.NOTHING
    return Exit.INTERRUPTED if found.interrupted else finished


def _place_and_code(model: str, build: Path, custom_module: str | None) -> tuple[Path, str | None]:
    """Return a model's build folder, and the custom module that may run."""
    code = code_of(custom_module)
    return model_build(build, config_of(model, build, code=code).name), code


def _print_run(found: "Latencies", place: Path, *, kept: bool) -> None:
    from rich.console import Console

    from edgeferry.benchmarks.latency.records import LATENCY
    from edgeferry.benchmarks.report.latency_text import print_latency

    print_latency(found, Console())
    if found.interrupted:
        typer.echo(f"edgeferry: interrupted; {'what was measured is kept' if kept else 'nothing was measured'}.", err=True)
    if kept:
        typer.echo(f"\n{place / LATENCY}")


def _write_elsewhere(found: "Latencies", place: Path, as_json: Path | None, as_markdown: Path | None) -> None:
    from edgeferry.benchmarks.report.latency_page import latency_fields
    from edgeferry.benchmarks.report.markdown import latency_as_markdown
    from edgeferry.models.system.files import write_json, write_whole

    if as_json:
        write_json(as_json, found.as_json())
    if as_markdown:
        write_whole(as_markdown, latency_as_markdown(latency_fields(found, place, ())))
