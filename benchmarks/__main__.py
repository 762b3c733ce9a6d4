# SPDX-License-Identifier: Apache-2.0
"""``python -m benchmarks``: export, check, report."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from benchmarks.results import Report, exit_status
from models.errors import EdgeError
from models.spec import ModelSpec, read_spec
from models.terminal import INTERRUPTED, NOTHING_CHECKED, model_build, progress, told

if TYPE_CHECKING:
    from benchmarks.latencies import Latencies

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Export, check and report.")
Model = Annotated[Path, typer.Argument(help="A model's TOML file, or a .keras file.")]
Build = Annotated[Path, typer.Option(help="Where everything is written.")]
Formats = Annotated[
    list[str] | None, typer.Option("--format", help="A format; may be given more than once. Default: the contract's.")
]
Targets = Annotated[list[str] | None, typer.Option("--target", help="A target; may be given more than once. Default: all.")]


@app.command(name="all")
def all_(model: Model, build: Build = Path("build"), formats: Formats = None, targets: Targets = None) -> None:
    """Export to every format, check every artifact on every target here, print one table.

    What did not change is neither exported nor run again. Exit status: 0 parity held, 1 it did not, 2 nothing was checked.
    """
    from benchmarks.checked import checked
    from exporters.export import export_all

    with told():
        spec = _spec(model)
        place = model_build(build, spec.name)
        with progress() as step:
            for each in export_all(spec, place, tuple(formats or ()) or None, step):
                if each.reason.startswith("rebuilt"):
                    typer.echo(f"edgeferry: {each.format} {each.reason}", err=True)
            report = checked(spec, place, tuple(targets or ()), step, reuse=True)
    _finish(report, place)


@app.command()
def parity(model: Model, build: Build = Path("build"), targets: Targets = None) -> None:
    """Check the artifacts that are there, each anew; needs neither the exporters nor TensorFlow."""
    from benchmarks.checked import checked

    with told():
        spec = _spec(model)
        place = model_build(build, spec.name)
        with progress() as step:
            report = checked(spec, place, tuple(targets or ()), step, reuse=False)
    _finish(report, place)


@app.command()
def report(model: Model, build: Build = Path("build")) -> None:
    """Print the last table again and write the report's pages anew."""
    from benchmarks.report import read_report

    with told():
        spec = _spec(model)
        place = model_build(build, spec.name)
        last = read_report(place / "report.json")
    _finish(last, place, anew=True)


@app.command()
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
        with told():
            _refuse_how_to_time(context)
        _compare_runs((old, new), minimum_effect, write)
    from benchmarks.compare import Effort, told_in_lines
    from benchmarks.compare import compare as compared
    from models.files import write_json

    with told():
        with progress() as step:
            found = compared(old, new, target, Effort(launches, rounds, minimum_effect), step)
        if write:
            write_json(write, found.as_json())
    for line in told_in_lines(found):
        typer.echo(line)
    raise typer.Exit(1 if found.is_regression else 0)


def _refuse_how_to_time(context: typer.Context) -> None:
    for name in ("target", "launches", "rounds"):
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise EdgeError(f"--{name} says how artifacts are timed, and two runs have been timed already: leave it out.")


def _compare_runs(runs: tuple[Path, Path], minimum_effect: float, write: Path | None) -> NoReturn:
    from benchmarks.compare_runs import compare_runs, told_in_lines
    from models.files import write_json

    with told():
        found = compare_runs(*runs, minimum_effect)
        if write:
            write_json(write, found.as_json())
    for line in told_in_lines(found):
        typer.echo(line)
    raise typer.Exit(1 if found.is_regression else 0 if found.is_compared else NOTHING_CHECKED)


@app.command()
def sustain(  # noqa: PLR0913, PLR0917 - an argument an option
    model: Model,
    form: Annotated[str, typer.Option("--format", help="The format.")],
    target: Annotated[str, typer.Option(help="Where it runs.")] = "litert",
    build: Build = Path("build"),
    minutes: Annotated[int, typer.Option(help="How long.")] = 10,
    threads: Annotated[int, typer.Option(help="Threads.")] = 1,
) -> None:
    """Ask one artifact without a pause and hold the last minute against the first; status 1 where it failed."""
    from benchmarks import sustained
    from benchmarks.entries import Asked
    from benchmarks.sustain import sustain as asked_for
    from targets.target import choose

    with told():
        place = model_build(build, _spec(model).name)
        with progress() as step:
            found = asked_for(Asked(place, (form,), choose((target,))), minutes, threads, step)
        written = sustained.write_sustained(found, place) if found.seconds else None
    for line in sustained.told_in_lines(found):
        typer.echo(line)
    if found.interrupted:
        typer.echo("edgeferry: interrupted; what was measured is kept.", err=True)
    if written:
        typer.echo(f"\n{written}")
    raise typer.Exit(INTERRUPTED if found.interrupted else 1 if found.problem else 0)


@app.command()
def latency(  # noqa: PLR0913, PLR0917 - an argument an option
    model: Model,
    build: Build = Path("build"),
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

    from benchmarks.entries import Asked, baseline_named
    from benchmarks.latencies import LATENCY
    from benchmarks.latency import Effort, keep, measure
    from benchmarks.latency_text import print_latency
    from targets.target import choose

    with told():
        spec = _spec(model)
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
        raise typer.Exit(INTERRUPTED)
    raise typer.Exit(1 if "failed" in states else 0 if "measured" in states else NOTHING_CHECKED)


def _write_elsewhere(found: "Latencies", place: Path, as_json: Path | None, as_markdown: Path | None) -> None:
    from benchmarks.latency_page import told_section
    from benchmarks.report import latency_as_markdown
    from models.files import write_json, write_whole

    if as_json:
        write_json(as_json, found.as_json())
    if as_markdown:
        write_whole(as_markdown, latency_as_markdown(told_section(found, place, ())))


def _spec(model: Path) -> ModelSpec:
    if model.suffix == ".toml" or not model.suffix:
        return read_spec(model)
    path = model.with_suffix(".toml")
    if path.is_file():
        return read_spec(path)
    from models.child import call_quietly
    from models.starter import write_starter

    path, assumed = call_quietly(write_starter, model)
    for note in (f"wrote {path}, a starter contract", *(f"assumed: {each}" for each in assumed)):
        typer.echo(f"edgeferry: {note}", err=True)
    spec = read_spec(path)
    if not spec.golden.exists():
        raise EdgeError(
            f"{path} names golden images at {spec.golden}, which are not there. Put some there, read the contract, run again."
        )
    return spec


def _is_written(found: Report, place: Path) -> bool:
    """Say whether the report's files hold these very rows already."""
    from benchmarks.report import read_report

    try:
        last = read_report(place / "report.json")
    except EdgeError:
        return False
    return replace(last, created=found.created) == found and all((place / f"report.{form}").is_file() for form in ("html", "md"))


def _finish(found: Report, place: Path, *, anew: bool = False) -> None:
    from rich.console import Console

    from benchmarks.report import print_table, write_report

    with told():
        if anew or not _is_written(found, place):
            write_report(found, place)
        print_table(found, Console())
        typer.echo(f"\n{place / 'report.html'}")
    raise typer.Exit(exit_status(found.rows))


if __name__ == "__main__":
    app()
