# SPDX-License-Identifier: Apache-2.0
"""Measure artifacts, and compare measurements."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from edgeferry.commands.arguments import BUILD, Build, Formats, Model, Targets, config_of
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


def compare(  # noqa: PLR0913, PLR0917 - an argument an option
    context: typer.Context,
    old: Annotated[Path, typer.Argument(help="The folder of an artifact, build/<model>/<format>, or the latency.json of a run.")],
    new: Annotated[Path, typer.Argument(help="Another's, or that of another run.")],
    target: Annotated[str, typer.Option(help="Where both run.")] = "litert",
    launches: Annotated[int, typer.Option(help="How often each is started.")] = 10,
    rounds: Annotated[int, typer.Option(help="Turns of each in every launch.")] = 30,
    minimum_effect: Annotated[float, typer.Option(help="What counts as a regression: 0.05 is 5 %.")] = 0.05,
    write: Annotated[Path | None, typer.Option("--json", help="Write everything, raw times included, to this file.")] = None,
) -> None:
    """Time two artifacts in turns in one run, or hold two runs against each other.

    Of two runs only --minimum-effect and --json may be said. Status 1 where the new one is slower by more than the minimum
    effect, 2 where nothing could be compared.
    """
    if old.is_file() or new.is_file():
        with report_errors():
            _refuse_how_to_time(context)
        _compare_runs((old, new), minimum_effect, write)
    from edgeferry.benchmarks.latency.compare import Effort, lines_of
    from edgeferry.benchmarks.latency.compare import compare as compared
    from edgeferry.models.system.files import write_json

    with report_errors():
        with progress() as step:
            found = compared(old, new, target, Effort(launches, rounds, minimum_effect), step)
        if write:
            write_json(write, found.as_json())
    for line in lines_of(found):
        typer.echo(line)
    raise typer.Exit(1 if found.is_regression else 0)


def _refuse_how_to_time(context: typer.Context) -> None:
    for name in ("target", "launches", "rounds"):
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise EdgeError(f"--{name} says how artifacts are timed, and two runs have been timed already: leave it out.")


def _compare_runs(runs: tuple[Path, Path], minimum_effect: float, write: Path | None) -> NoReturn:
    from edgeferry.benchmarks.latency.compare_runs import compare_runs, lines_of
    from edgeferry.models.system.files import write_json

    with report_errors():
        found = compare_runs(*runs, minimum_effect)
        if write:
            write_json(write, found.as_json())
    for line in lines_of(found):
        typer.echo(line)
    raise typer.Exit(1 if found.is_regression else 0 if found.is_compared else Exit.NOTHING)


def sustain(  # noqa: PLR0913, PLR0917 - an argument an option
    model: Model,
    form: Annotated[str, typer.Option("--format", help="The format.")],
    target: Annotated[str, typer.Option(help="Where it runs.")] = "litert",
    build: Build = BUILD,
    minutes: Annotated[int, typer.Option(help="How long.")] = 10,
    threads: Annotated[int, typer.Option(help="Threads.")] = 1,
) -> None:
    """Ask one artifact without a pause and hold the last minute against the first; status 1 where it failed."""
    from edgeferry.benchmarks.latency import sustained
    from edgeferry.benchmarks.latency.entries import Asked
    from edgeferry.benchmarks.latency.sustain import sustain as asked_for
    from edgeferry.targets.target import choose

    with report_errors():
        place = model_build(build, config_of(model).name)
        with progress() as step:
            found = asked_for(Asked(place, (form,), choose((target,))), minutes, threads, step)
        written = sustained.write_sustained(found, place) if found.seconds else None
    for line in sustained.lines_of(found):
        typer.echo(line)
    if found.interrupted:
        typer.echo("edgeferry: interrupted; what was measured is kept.", err=True)
    if written:
        typer.echo(f"\n{written}")
    raise typer.Exit(Exit.INTERRUPTED if found.interrupted else 1 if found.problem else 0)


def bench(  # noqa: PLR0913, PLR0917 - an argument an option
    model: Model,
    build: Build = BUILD,
    formats: Formats = None,
    targets: Targets = None,
    threads: Annotated[list[int] | None, typer.Option(help="Threads; may be given more than once.")] = None,
    launches: Annotated[int, typer.Option(help="How often each is started.")] = 5,
    percentile: Annotated[float, typer.Option(help="The highest percentile wanted: 90 needs 64 samples, 99 needs 662.")] = 90,
    baseline: Annotated[str | None, typer.Option(help="What the others are compared with: FORMAT@TARGET.")] = None,
    costs: Annotated[bool, typer.Option(help="Measure memory, throughput, energy and operations too.")] = True,  # noqa: FBT002
    as_json: Annotated[
        Path | None, typer.Option("--json", help="Write everything, raw times included, to this file too.")
    ] = None,
    as_markdown: Annotated[Path | None, typer.Option("--md", help="Write the tables as Markdown to this file.")] = None,
) -> None:
    """Measure every artifact on every target in one run; status 0 measured, 1 something failed, 2 nothing was measured."""
    from rich.console import Console

    from edgeferry.benchmarks.latency.entries import Asked, baseline_named
    from edgeferry.benchmarks.latency.measure import Effort, keep, measure
    from edgeferry.benchmarks.latency.records import LATENCY
    from edgeferry.benchmarks.report.latency_text import print_latency
    from edgeferry.targets.target import choose

    with report_errors():
        spec = config_of(model)
        place = model_build(build, spec.name)
        with progress() as step:
            asked = Asked(place, tuple(formats or ()), choose(tuple(targets or ()) or None), baseline_named(baseline))
            found = measure(asked, Effort(launches, percentile, tuple(threads or (1,)), costs), step)
        kept = keep(found, place)
        _write_elsewhere(found, place, as_json, as_markdown)
    print_latency(found, Console())
    if found.interrupted:
        typer.echo(f"edgeferry: interrupted; {'what was measured is kept' if kept else 'nothing was measured'}.", err=True)
    if kept:
        typer.echo(f"\n{place / LATENCY}")
    states = {case.state for case in found.cases}
    if found.interrupted:
        raise typer.Exit(Exit.INTERRUPTED)
    raise typer.Exit(1 if "failed" in states else 0 if "measured" in states else Exit.NOTHING)


def _write_elsewhere(found: "Latencies", place: Path, as_json: Path | None, as_markdown: Path | None) -> None:
    from edgeferry.benchmarks.report.latency_page import latency_fields
    from edgeferry.benchmarks.report.markdown import latency_as_markdown
    from edgeferry.models.system.files import write_json, write_whole

    if as_json:
        write_json(as_json, found.as_json())
    if as_markdown:
        write_whole(as_markdown, latency_as_markdown(latency_fields(found, place, ())))
