# SPDX-License-Identifier: Apache-2.0
"""The commands that check many models in shards: plan, run, merge."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeferry.commands.arguments import BUILD, Build, CustomModule, Formats, Targets, Wait, build_to_read, code_of, note
from edgeferry.commands.help import HelpCommand
from edgeferry.models.system.terminal import progress, report_errors
from edgeferry.models.system.text import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edgeferry.benchmarks.fleet.run import Done
    from edgeferry.benchmarks.fleet.site import Site
    from edgeferry.models.system.terminal import Step

PANEL = "Many models"
PlanFile = Annotated[Path, typer.Argument(metavar="PLAN", help="What `edgeferry plan` wrote.")]
Cache = Annotated[
    str,
    typer.Option(
        metavar="FOLDER", help="Where results are kept and found: a folder, or a URL that fsspec reads, such as s3://..."
    ),
]
PLAN = Path("plan.json")
CACHE = "fleet-cache"


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    commands: dict[str, Callable[..., None]] = {"plan": plan, "run": run, "merge": merge}
    for name, function in commands.items():
        app.command(name, cls=HelpCommand, rich_help_panel=PANEL)(function)


def plan(  # noqa: PLR0913, PLR0917 - an argument per option
    models: Annotated[list[str], typer.Argument(metavar="MODEL", help="Configs, build folders or bundles.", show_default=False)],
    shards: Annotated[int, typer.Option(min=1, max=100_000, help="In how many shards.")] = 1,
    build: Build = BUILD,
    formats: Formats = None,
    targets: Targets = None,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write it.")] = PLAN,
) -> None:
    """Plan the check of many models in shards, for `edgeferry run` and `edgeferry merge`.

    The models have to be exported. Every artifact on every target is a job, and large sets of images are shared out too. A job
    is named by the digest of what its result follows from, so that no result is computed twice. Models that did not change
    since the last plan are not read again.
    """
    from edgeferry.benchmarks.fleet.plan import write_plan
    from edgeferry.benchmarks.fleet.planning import Asked
    from edgeferry.benchmarks.fleet.planning import plan as planned
    from edgeferry.exporters.format import choose as choose_formats

    with report_errors():
        if formats:
            choose_formats(tuple(formats))
        asked = Asked(tuple(formats or ()), tuple(targets or ()), shards)
        found = planned(models, asked, partial(build_to_read, build=build), output.absolute())
        write_plan(found, output)
    count = sum(1 for _ in found.jobs())
    typer.echo(plain(f"{output}: models: {len(found.models)}, jobs: {count}, shards: {shards}"))


def run(  # noqa: PLR0913, PLR0917 - an argument per option
    path: PlanFile = PLAN,
    shard: Annotated[str, typer.Option(metavar="K/N", help="Which shard of how many. Default: all, one after another.")] = "",
    cache: Cache = CACHE,
    build: Build = BUILD,
    targets: Annotated[
        list[str] | None,
        typer.Option("--target", metavar="TARGET", help="Only jobs of this target; repeat for several. Default: all."),
    ] = None,
    custom_module: CustomModule = None,
    *,
    dask: Annotated[
        bool,
        typer.Option(
            "--dask",
            help="On the Dask cluster that DASK_SCHEDULER_ADDRESS names, or on one on this machine; needs the extra 'fleet'.",
        ),
    ] = False,
) -> None:
    """Do one shard of a plan, wherever its builds are.

    What the cache holds already is not run again, so a shard that was killed goes on where it was. Every result is written when
    it is there. Status 1: something could not run, and may another time; 2: this machine has not what was planned.
    """
    from edgeferry.benchmarks.fleet.plan import shard_of
    from edgeferry.models.system.registry import refuse_unknown

    accidents: list[str] = []
    with report_errors(), progress() as step:
        site = replace(_site(path, cache, build, step), reuse=True)
        chosen = tuple(targets or ())
        refuse_unknown(chosen, site.plan.targets, "target of the plan")
        numbers = [shard_of(shard, site.plan)] if shard else list(range(1, site.plan.shards + 1))
        for name, done in _done(site, numbers, chosen, code_of(custom_module), on_dask=dask):
            typer.echo(f"{name}: jobs: {done.jobs}, of these kept already: {done.kept}")
            accidents += done.accidents
    for each in accidents:
        note(f"did not run: {each}")
    raise typer.Exit(1 if accidents else 0)


def _done(
    site: "Site", shards: list[int], targets: tuple[str, ...], code: str | None, *, on_dask: bool
) -> "Iterator[tuple[str, Done]]":
    """Yield what shards came to: one after another here, or all together on a Dask cluster."""
    total = site.plan.shards
    if on_dask:
        from edgeferry.benchmarks.fleet.cluster import run_on_dask

        yield f"shard {shards[0]}/{total}" if len(shards) == 1 else "all shards", run_on_dask(site, shards, targets, code)
        return
    from edgeferry.benchmarks.fleet.run import run_shard

    for number in shards:
        yield f"shard {number}/{total}", run_shard(site, number, targets, code)


def merge(path: PlanFile = PLAN, cache: Cache = CACHE, build: Build = BUILD, *, wait: Wait = False) -> None:
    """Merge the results of all shards into the reports that one machine would have written.

    Judges the scores of all images, in their order, and writes report.html, report.md and report.json to each model's build
    folder. Status 1: a check failed, or what is required did not pass; 2: nothing could be checked, or results are missing: the
    shards to run again are named.
    """
    from edgeferry.benchmarks.fleet.merge import merged, refuse_lacking
    from edgeferry.benchmarks.parity.rows import exit_status
    from edgeferry.commands.export import write_found
    from edgeferry.models.system.process.owner import owned

    statuses = []
    with report_errors(), progress() as step:
        site = _site(path, cache, build, step)
        refuse_lacking(site, path)
        for number, model in enumerate(site.plan.models, 1):
            step(f"merging {model.name}", number, len(site.plan.models))
            place = site.place(model)
            with owned(place, step, wait=wait):
                found = merged(site, model)
                write_found(found, place)
            counts = {word: sum(row.outcome == word for row in found.rows) for word in ("passed", "failed", "inconclusive")}
            typer.echo(plain(f"{model.name}: {', '.join(f'{n} {word}' for word, n in counts.items())}; {place / 'report.html'}"))
            statuses.append(exit_status(found.rows, found.unmet))
    raise typer.Exit(1 if 1 in statuses else max(statuses, default=2))


def _site(path: Path, cache: str, build: Path, step: "Step") -> "Site":
    from edgeferry.benchmarks.fleet.plan import read_plan
    from edgeferry.benchmarks.fleet.site import Site
    from edgeferry.benchmarks.fleet.store import store_of

    return Site(read_plan(path), path.absolute().parent, build, store_of(cache), step)
