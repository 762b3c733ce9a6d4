# SPDX-License-Identifier: Apache-2.0
"""Core ML packages on a Mac, by Core ML itself, one target for each choice of compute units; here, or on a Mac over ssh."""

import os
import platform
import sys
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeferry.models.system.errors import EdgeError
from edgeferry.targets.coreml.interface import feeds, interface_of, labels_in
from edgeferry.targets.coreml.ssh import MAC, run_on_mac, settings
from edgeferry.targets.host.installed import needs, runtime, versions_of
from edgeferry.targets.target import Job, Run, Target, Unsupported
from edgeferry.targets.timing import answer_and_time, timed

if TYPE_CHECKING:
    from edgeferry.targets.coreml.interface import Interface

__all__ = ["TARGETS", "labels_in", "missing"]

# By the target's name, coremltools' ComputeUnit; which of them run what, Core ML decides.
UNITS: Final = {
    "coreml-all": ("ALL", "CPU, GPU and Neural Engine"),
    "coreml-cpu": ("CPU_ONLY", "CPU alone"),
    "coreml-gpu": ("CPU_AND_GPU", "CPU and GPU"),
    "coreml-ane": ("CPU_AND_NE", "CPU and Neural Engine"),
}
# coremltools refuses older ones: models/model.py of 9.0.
MACOS: Final = {"ALL": 12, "CPU_ONLY": 12, "CPU_AND_GPU": 12, "CPU_AND_NE": 13}
# The first macOS that reads a specification version; source: coremltools 9.0, mlmodel/format/Model.proto.
MACOS_OF_SPECIFICATION: Final = {6: 12, 7: 13, 8: 14, 9: 15, 10: 26}
NEEDS_MACOS: Final = (
    "needs macOS, Core ML is nowhere else: `make install` and the same command on a Mac, or `make bench-mac HOST=me@mac` here"
)


def missing() -> str | None:
    """Return why Core ML is not asked, or None; whether a Mac over ssh answers is found out by the run."""
    if os.environ.get(MAC):
        return None
    return needs("coremltools")() if sys.platform == "darwin" else NEEDS_MACOS


def macos() -> tuple[int, ...]:
    """Return this Mac's version, as (14, 4, 1)."""
    return tuple(int(part) for part in platform.mac_ver()[0].split(".") if part.isdigit())


def check_macos(found: tuple[int, ...], units: str, specification: int) -> None:
    """Refuse a macOS that is older than compute units or a package need.

    Raises:
        Unsupported: it is.
    """
    needed = max(MACOS[units], MACOS_OF_SPECIFICATION.get(specification, 0))
    if found < (needed,):
        told = ".".join(map(str, found)) or "unknown"
        raise Unsupported(f"needs macOS {needed} for {units} and specification {specification}; this Mac has {told}")


def run_here(job: Job, units: str) -> Run:
    """Return a run whose times include handing the picture over, as they do in an app.

    ``load_ms`` is Core ML's own, without the compilation that goes before it; the first prediction stands apart from both.

    Raises:
        Unsupported: this macOS is too old.
        EdgeError: Core ML does not load the package.
    """
    from edgeferry.targets.mil.package import open_package

    specification = open_package(job.main_file).specification
    check_macos(macos(), units, specification.specificationVersion)
    interface = interface_of(specification)
    opened_ms, model = timed(lambda: opened(job.main_file, units))
    measured = answer_and_time(_ready(model, interface), feeds(job, interface), job)
    own_ns, loaded_ns = model.last_predict_duration_in_nano_seconds, model.load_duration_in_nano_seconds
    return Run(
        scores=interface.scores(measured.answers),
        labels=interface.labels,
        latencies_ms=measured.latencies_ms,
        first_ms=measured.first_ms,
        load_ms=opened_ms if loaded_ns is None else loaded_ns / 1e6,
        environment={
            **runtime("coremltools"),
            "compute_units": units,
            "system": f"macOS {platform.mac_ver()[0]} {platform.machine()}",
            "compile_and_load_ms": opened_ms,
            # The framework's call alone, of the last round, without what Python does around it.
            "framework_ms": None if own_ns is None else own_ns / 1e6,
            **about_devices(Path(model.get_compiled_model_path()), units),
        },
    )


def opened(package: Path, units: str) -> Any:
    """Return a package that Core ML compiled and loaded.

    Raises:
        EdgeError: it did not; coremltools itself only warns, and would fail at the first prediction.
    """
    import coremltools

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        model = coremltools.models.MLModel(str(package), compute_units=coremltools.ComputeUnit[units])
    try:
        model.get_compiled_model_path()
    except Exception as error:
        # coremltools raises nothing more particular here.
        why = "; ".join(str(each.message) for each in told if issubclass(each.category, RuntimeWarning))
        raise EdgeError(f"Core ML does not load the package: {why or error}") from error
    return model


def about_devices(compiled: Path, units: str) -> dict[str, Any]:
    """Return this Mac's compute devices and the compute plan, for a run's environment."""
    import coremltools

    from edgeferry.targets.coreml.plan import MACOS as PLAN_SINCE
    from edgeferry.targets.coreml.plan import name_of, plan_told

    told: dict[str, Any] = {"compute_plan": plan_told(compiled, units, macos())}
    if macos() >= PLAN_SINCE:
        told["compute_devices"] = sorted(name_of(each) for each in coremltools.models.MLModel.get_available_compute_devices())
    return told


def _ready(model: Any, interface: "Interface") -> Callable[[dict[str, Any]], Callable[[], Mapping[str, Any]]]:
    def ready(feed: dict[str, Any]) -> Callable[[], Mapping[str, Any]]:
        def predict() -> Mapping[str, Any]:
            # A copy, for coremltools puts its own conversion of an array into the dictionary.
            answer: Mapping[str, Any] = model.predict(dict(feed))
            # What is asked for is in host memory: a dictionary of numbers, or a numpy array.
            return {interface.output: answer[interface.output]}

        return predict

    return ready


def _run(job: Job, name: str) -> Run:
    if job.accelerator is not None:
        raise ValueError(f"Core ML has no accelerator {job.accelerator!r}; its targets are {', '.join(UNITS)}")
    return run_on_mac(job, name) if os.environ.get(MAC) else run_here(job, UNITS[name][0])


def _versions() -> Mapping[str, str]:
    return versions_of("coremltools", "numpy", "pillow") | settings() | {"macos": platform.mac_ver()[0]}


TARGETS = tuple(
    Target(
        name=name,
        summary=f"a Mac, by Core ML: {told}",
        reads=frozenset({"coreml"}),
        missing=missing,
        run=partial(_run, name=name),
        versions=_versions,
        # Where there is no Mac, one row says so.
        by_default=name == "coreml-all" or sys.platform == "darwin",
    )
    for name, (_, told) in UNITS.items()
)
