# SPDX-License-Identifier: Apache-2.0
"""Core ML packages on a Mac, by Core ML itself, one target per choice of compute units; on this Mac, or on one over ssh."""

import os
import platform
import sys
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.packages import versions_of
from edgeferry.targets.coreml.interface import feeds, interface_of, labels_in
from edgeferry.targets.coreml.ssh import MAC, run_on_mac, settings
from edgeferry.targets.host.installed import installs, is_checkout, needs, runtime
from edgeferry.targets.target import Job, Run, Target, Unsupported
from edgeferry.targets.timing import predict_and_time, timed

if TYPE_CHECKING:
    from edgeferry.targets.coreml.interface import Interface

__all__ = ["TARGETS", "labels_in", "missing"]

# coremltools' ComputeUnit by the target's name; Core ML decides which of the units run what.
UNITS: Final = {
    "coreml-all": ("ALL", "CPU, GPU and Neural Engine"),
    "coreml-cpu": ("CPU_ONLY", "CPU only"),
    "coreml-gpu": ("CPU_AND_GPU", "CPU and GPU"),
    "coreml-ane": ("CPU_AND_NE", "CPU and Neural Engine"),
}
# coremltools refuses older ones: models/model.py of 9.0.
MACOS: Final = {"ALL": 12, "CPU_ONLY": 12, "CPU_AND_GPU": 12, "CPU_AND_NE": 13}
# The first macOS that reads a specification version; source: coremltools 9.0, mlmodel/format/Model.proto.
MACOS_OF_SPECIFICATION: Final = {6: 12, 7: 13, 8: 14, 9: 15, 10: 26}


def missing() -> str | None:
    """Return why Core ML is not used, or None; whether a Mac over ssh can be reached shows in the run."""
    if os.environ.get(MAC):
        return None
    if sys.platform == "darwin":
        return needs("coremltools")()
    remote = "`make bench-mac HOST=me@mac` here" if is_checkout() else f"set {MAC}=me@mac here"
    return f"needs macOS, the only system with Core ML: {installs('coremltools')} and the same command on a Mac, or {remote}"


def macos() -> tuple[int, ...]:
    """Return this Mac's version, as (14, 4, 1)."""
    return tuple(int(part) for part in platform.mac_ver()[0].split(".") if part.isdigit())


def check_macos(found: tuple[int, ...], units: str, specification: int) -> None:
    """Refuse a macOS that is too old for compute units or a package.

    Raises:
        Unsupported: it is too old.
    """
    needed = max(MACOS[units], MACOS_OF_SPECIFICATION.get(specification, 0))
    if found < (needed,):
        version = ".".join(map(str, found)) or "unknown"
        raise Unsupported(
            "EF-macos-too-old", f"needs macOS {needed} for {units} and specification {specification}; this Mac has {version}"
        )


def run_here(job: Job, units: str) -> Run:
    """Return a run whose times include passing the picture to Core ML, as they do in an app.

    ``load_ms`` is Core ML's own, without the compilation before it; the first prediction is timed separately from both.

    Raises:
        Unsupported: this macOS is too old.
        EdgeError: Core ML does not load the package.
    """
    from edgeferry.targets.mil.package import open_package

    specification = open_package(job.main_file).specification
    check_macos(macos(), units, specification.specificationVersion)
    interface = interface_of(specification)
    opened_ms, model = timed(lambda: opened(job.main_file, units))
    measured = predict_and_time(_ready(model, interface), feeds(job, interface), job)
    own_ns, loaded_ns = model.last_predict_duration_in_nano_seconds, model.load_duration_in_nano_seconds
    return Run(
        scores=interface.scores(measured.outputs),
        labels=interface.labels,
        latencies_ms=measured.latencies_ms,
        first_ms=measured.first_ms,
        load_ms=opened_ms if loaded_ns is None else loaded_ns / 1e6,
        environment={
            **runtime("coremltools"),
            "compute_units": units,
            "system": f"macOS {platform.mac_ver()[0]} {platform.machine()}",
            "compile_and_load_ms": opened_ms,
            # The framework's call alone, in the last round, without Python's overhead.
            "framework_ms": None if own_ns is None else own_ns / 1e6,
            **about_devices(Path(model.get_compiled_model_path()), units),
        },
    )


def opened(package: Path, units: str) -> Any:
    """Return a package that Core ML compiled and loaded.

    Raises:
        EdgeError: Core ML does not load it; coremltools itself only warns, and would fail at the first prediction.
    """
    import coremltools

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = coremltools.models.MLModel(str(package), compute_units=coremltools.ComputeUnit[units])
    try:
        model.get_compiled_model_path()
    except Exception as error:
        # coremltools raises nothing more specific here.
        why = "; ".join(str(each.message) for each in caught if issubclass(each.category, RuntimeWarning))
        raise EdgeError("EF-coreml-load", f"Core ML does not load the package: {why or error}") from error
    return model


def about_devices(compiled: Path, units: str) -> dict[str, Any]:
    """Return this Mac's compute devices and the compute plan, for a run's environment."""
    import coremltools

    from edgeferry.targets.coreml.plan import MACOS as PLAN_SINCE
    from edgeferry.targets.coreml.plan import compute_plan, name_of

    facts: dict[str, Any] = {"compute_plan": compute_plan(compiled, units, macos())}
    if macos() >= PLAN_SINCE:
        facts["compute_devices"] = sorted(name_of(each) for each in coremltools.models.MLModel.get_available_compute_devices())
    return facts


def _ready(model: Any, interface: "Interface") -> Callable[[dict[str, Any]], Callable[[], Mapping[str, Any]]]:
    def ready(feed: dict[str, Any]) -> Callable[[], Mapping[str, Any]]:
        def predict() -> Mapping[str, Any]:
            # A copy, because coremltools puts its own conversion of an array into the dictionary.
            prediction: Mapping[str, Any] = model.predict(dict(feed))
            # The output is in host memory: a dictionary of numbers, or a numpy array.
            return {interface.output: prediction[interface.output]}

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
        summary=f"a Mac, by Core ML: {words}",
        reads=frozenset({"coreml"}),
        missing=missing,
        run=partial(_run, name=name),
        versions=_versions,
        # Where there is no Mac, one row is enough to report it.
        by_default=name == "coreml-all" or sys.platform == "darwin",
    )
    for name, (_, words) in UNITS.items()
)
