# SPDX-License-Identifier: Apache-2.0
"""The jobs of a plan as futures on a Dask cluster: Dask shares them out, runs those of lost workers again, and shows a dashboard.

A model travels as its bundle, named by its digest; results come back as they are kept, and are kept here.
"""

import hashlib
import os
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from edgeferry.benchmarks.fleet.kept import Kept, as_bytes
from edgeferry.benchmarks.fleet.plan import FleetJob, Plan, PlannedModel
from edgeferry.benchmarks.fleet.run import Done, Todo, Worker, is_kept, todo_of, versions_here
from edgeferry.benchmarks.fleet.site import Site
from edgeferry.benchmarks.fleet.store import FolderStore
from edgeferry.benchmarks.parity.check import this_machine
from edgeferry.benchmarks.parity.gpus import is_full_precision
from edgeferry.benchmarks.parity.lanes import LANE_BYTES, Floor, Lane, lane_count
from edgeferry.benchmarks.parity.one_run import Attempt, accident
from edgeferry.models.bundle.archive import is_archive
from edgeferry.models.bundle.content import write_bundle
from edgeferry.models.system.child import Child, ChildError
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import write_whole
from edgeferry.models.system.process.owner import owned
from edgeferry.targets.target import choose

ADDRESS: Final = "DASK_SCHEDULER_ADDRESS"
# What a worker declares of its memory, in bytes, where jobs should respect it.
MEMORY: Final = "memory"
# Targets of one GPU, by how their names end.
GPU: Final = ("-gpu", "-cuda", "-tensorrt", "-webgpu", "-webgl")
# How long to wait for a worker where there is none, in seconds; how often to look for one, and for results.
PATIENCE_S: Final = 300
LOOK_S: Final = 10
POLL_S: Final = 0.05
# An address that a user names, or '' for a cluster on this machine.
LOCAL: Final = ""


def resource_of(target: str) -> str:
    """Return what a job leases while it runs: 'coral' for coral-edgetpu, 'gpu' for litert-gpu, '' where it needs only cores."""
    (found,) = choose((target,))
    if found.side_by_side:
        return ""
    return "gpu" if target.endswith(GPU) else target.partition("-")[0]


def run_on_dask(site: Site, shards: Collection[int], targets: Collection[str], code: str | None = None) -> Done:
    """Do the jobs of some shards on the cluster that DASK_SCHEDULER_ADDRESS names, or on one on this machine.

    Raises:
        EdgeError: no worker has a target in the version that was planned, or the cluster cannot be reached.
    """
    own = todo_of(site.plan, shards, targets)
    follows_from = {name: target.follows_from for name, target in site.plan.targets.items()}
    lacks = {_group((model, job)) for model, job in own if not is_kept(site, job, follows_from[job.target])}
    todo = [each for each in own if _group(each) in lacks]
    if not todo:
        return Done(len(own), len(own), ())
    with _client(sorted({resource_of(job.target) for _, job in todo} - {""})) as client:
        site.step(f"on {client.scheduler.address}; its dashboard: {client.dashboard_link}")
        return Done(len(own), len(own) - len(todo), tuple(_carried_out(site, client, todo, code)))


@contextmanager
def _client(resources: Sequence[str]) -> Iterator[Any]:
    """Yield a client of a cluster; of one on this machine the first worker has all resources."""
    import dask
    from distributed import Client, SpecCluster
    from distributed.nanny import Nanny
    from distributed.scheduler import Scheduler

    address = os.environ.get(ADDRESS, LOCAL)
    with ExitStack() as stack:
        # Bundles are large on purpose.
        stack.enter_context(dask.config.set({"distributed.admin.large-graph-warning-threshold": "1TB"}))
        if address == LOCAL:
            # A worker starts processes of its own, which processes that are daemons may not.
            # One that is slow to start again is not given up.
            local = {"distributed.worker.daemon": False, "distributed.deploy.lost-worker-timeout": f"{PATIENCE_S}s"}
            stack.enter_context(dask.config.set(local))
            options = {"nthreads": 1, "memory_limit": 0, "silence_logs": "ERROR"}
            leased = dict.fromkeys(resources, 1)
            workers = {
                at: {"cls": Nanny, "options": {**options, "resources": {} if at else leased}} for at in range(lane_count())
            }
            scheduler = {"cls": Scheduler, "options": {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}}
            cluster = stack.enter_context(SpecCluster(workers=workers, scheduler=scheduler, silence_logs="ERROR"))
            yield stack.enter_context(Client(cluster))
            return
        try:
            client = stack.enter_context(Client(address))
        except (OSError, ValueError) as error:
            why = f"{ADDRESS} is {address!r}: {error}; expected the address of a Dask scheduler, such as tcp://host:8786."
            raise EdgeError("EF-fleet-scheduler", why) from error
        yield client


def _carried_out(site: Site, client: Any, todo: Sequence[Todo], code: str | None) -> Iterator[str]:
    """Keep the result of every job as soon as it is there; yield why some did not run."""
    from distributed import as_completed

    allowed = _able_workers(client, site.plan, dict.fromkeys(job.target for _, job in todo))
    workers = client.scheduler_info(n_workers=-1)["workers"]
    memory = all(MEMORY in each["resources"] for each in workers.values())
    tasks, bundles = {}, dict[str, Any]()
    for model, jobs in _grouped(todo):
        target = jobs[0].target
        resource = resource_of(target)
        needs = ({resource: 1.0} if resource else {}) | ({MEMORY: float(LANE_BYTES)} if memory else {})
        refuse_undeclared(workers, resource)
        if model.path not in bundles:
            data = _bundle(site, model)
            # The scheduler keeps what a task is called with, so that it outlives any worker, which scattered data does not.
            bundles[model.path] = client.submit(bytes, data, key=f"bundle-{hashlib.sha256(data).hexdigest()}", pure=False)
        given = (replace(site.plan, models=(replace(model, jobs=tuple(jobs)),)), bundles[model.path], code)
        name = f"{model.name}-{jobs[0].format}-{target}-{jobs[0].id[:12]}"
        future = client.submit(results, *given, key=name, resources=needs, workers=allowed[target], retries=1, pure=False)
        tasks[future] = jobs
    for number, future in enumerate(completed(client, as_completed(tasks)), 1):
        jobs = tasks[future]
        site.step(f"ran {jobs[0].format} on {jobs[0].target}", number, len(tasks))
        try:
            found = future.result()
        except EdgeError:
            raise
        except Exception as error:  # noqa: BLE001 - a worker that was lost too often, or anything that broke on one
            verdict = accident(ChildError(f"{type(error).__name__}: {error}"))
            lost = Kept(Attempt(None, verdict, is_lasting=False), this_machine(), site.plan.targets[jobs[0].target].follows_from)
            found = [(job.id, as_bytes(lost), verdict.reason) for job in jobs]
        for name, data, problem in found:
            site.store.write(name, data)
            if problem:
                yield f"{jobs[0].format} on {jobs[0].target}: {problem}"


def completed(client: Any, waiting: Any) -> Iterator[Any]:
    """Yield futures as they are done; ``waiting`` is Dask's ``as_completed`` of them.

    Raises:
        EdgeError: for some minutes there was no worker to do the others.
    """
    seen = time.monotonic()
    while not waiting.is_empty():
        if waiting.has_ready():
            yield next(waiting)
            continue
        time.sleep(POLL_S)
        unseen_s = time.monotonic() - seen
        if unseen_s > LOOK_S and client.scheduler_info(n_workers=-1)["workers"]:
            seen = time.monotonic()
        elif unseen_s > PATIENCE_S:
            raise EdgeError(
                "EF-fleet-workers-lost",
                f"{client.scheduler.address} has had no workers for {PATIENCE_S // 60} minutes. What is done is kept: start "
                "some, and run again.",
            )


def _group(todo: Todo) -> tuple[str, str]:
    """Return the name of what a worker does at a time: one job, or all that a GPU or board does of a model."""
    model, job = todo
    return model.path, job.target if resource_of(job.target) else job.id


def _grouped(todo: Sequence[Todo]) -> Iterator[tuple[PlannedModel, list[FleetJob]]]:
    for _, several in groupby(sorted(todo, key=_group), key=_group):
        found = list(several)
        yield found[0][0], [job for _, job in found]


def _bundle(site: Site, model: PlannedModel) -> bytes:
    """Return a model as the bytes of its bundle: the same build gives the same bytes, so that Dask knows it by its digest."""
    named = (site.folder / model.path).resolve()
    if is_archive(named):
        return named.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.bundle"
        write_bundle(site.place(model), dict.fromkeys(job.format for job in model.jobs), path)
        return path.read_bytes()


def _able_workers(client: Any, plan: Plan, names: Collection[str]) -> dict[str, list[str] | None]:
    """Return the workers that have a target as it was planned, None where all have it.

    Raises:
        EdgeError: none has it; says what a worker has instead.
    """
    found: dict[str, dict[str, EdgeError | None]] = client.run(problems_here, plan, tuple(names))
    if not found:
        raise EdgeError(
            "EF-fleet-workers",
            f"{client.scheduler.address} has no workers; start some: `dask worker {client.scheduler.address}`.",
        )
    able = {name: [worker for worker, problems in found.items() if problems[name] is None] for name in names}
    for name, workers in able.items():
        if not workers:
            worker, problem = next((worker, each[name]) for worker, each in found.items())
            raise EdgeError(problem.code if problem else "EF-fleet-target", f"{worker}: {problem}")
    return {name: None if len(workers) == len(found) else workers for name, workers in able.items()}


def problems_here(plan: Plan, names: Sequence[str]) -> dict[str, EdgeError | None]:
    """Return why targets do not run here as they were planned, None where they do; called on each worker."""
    return {name: _problem(plan, name) for name in names}


def _problem(plan: Plan, name: str) -> EdgeError | None:
    import multiprocessing

    if multiprocessing.current_process().daemon:
        return EdgeError(
            "EF-fleet-daemon",
            "the worker may not start processes; start it with DASK_DISTRIBUTED__WORKER__DAEMON=False in its environment.",
        )
    try:
        versions_here(plan, (name,))
    except EdgeError as error:
        return error
    return None


def refuse_undeclared(workers: Mapping[str, Any], resource: str) -> None:
    """Refuse jobs that would wait for ever for a resource; ``workers`` is what the scheduler says of each.

    Raises:
        EdgeError: no worker declares it.
    """
    if resource and not any(resource in each["resources"] for each in workers.values()):
        raise EdgeError(
            "EF-fleet-resource",
            f"no worker has the resource {resource!r}, which one job at a time leases; start the worker that has it with "
            f'`dask worker ADDRESS --resources "{resource}=1"`.',
        )


def results(plan: Plan, bundle: bytes, code: str | None) -> list[tuple[str, bytes, str]]:
    """Return the results of a plan of one model, by name, and why one did not run; called on a worker."""
    from distributed import get_worker

    (model,) = plan.models
    # Dask removes it when the worker ends; the next job of the model finds it unpacked.
    place = Path(get_worker().local_directory) / "edgeferry"
    here = replace(model, path=f"{hashlib.sha256(bundle).hexdigest()}.bundle")
    site = Site(replace(plan, models=(here,)), place, place / "build", FolderStore(place / "none"), _silent)
    with owned(place, _silent, wait=True):
        if not (place / here.path).is_file():
            write_whole(place / here.path, bundle)
        site.bench(here)
    jobs = sorted(model.jobs, key=lambda job: not is_full_precision(site.artifact(here, job)))
    with tempfile.TemporaryDirectory(prefix="edgeferry-dask-", ignore_cleanup_errors=True) as work, Child() as child:
        worker = Worker(site, Path(work), versions_here(plan, dict.fromkeys(job.target for job in jobs)), code)
        found = [(job, worker.result(here, job, Lane(child, Floor()))) for job in jobs]
    return [(job.id, worker.packed(job, each), _why(each)) for job, each in found]


def _why(found: Attempt) -> str:
    return found.verdict.reason if found.verdict is not None and not found.is_lasting else ""


def _silent(_text: str, _number: int = 0, _total: int = 0) -> None:
    """Show nothing: the client shows what is done."""
