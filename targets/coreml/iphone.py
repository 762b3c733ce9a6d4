# SPDX-License-Identifier: Apache-2.0
"""Core ML on an iPhone or iPad that is connected to a Mac, by coremltools' own app for devices (iOS 17 or newer).

The app takes and returns only arrays (coremltools 9.0, ModelService.swift), and times its predictions itself: latencies do not
include the cable. coremltools does not report a device's chip: the report names the device.
"""

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from edgeferry.models.system.packages import versions_of
from edgeferry.targets.coreml.interface import feeds, interface_of
from edgeferry.targets.coreml.mac import missing as mac_missing
from edgeferry.targets.coreml.plan import summary
from edgeferry.targets.coreml.ssh import MAC, run_on_mac, settings
from edgeferry.targets.host.installed import runtime
from edgeferry.targets.target import Absent, Job, Run, Target, Unsupported

NAME: Final = "coreml-iphone"
# Apple's identifier of the team that signs the app; Xcode lists it under its accounts.
TEAM: Final = "EDGEFERRY_IOS_TEAM"
UNITS: Final = "ALL"


@dataclass(frozen=True)
class _DeviceRun:
    """What the device reported: predictions and its own times, and its compute plan."""

    predictions: list[Mapping[str, Any]]
    predictions_ms: tuple[float, ...]
    load_ms: float
    plan: dict[str, Any] | str


def missing() -> str | None:
    """Return why no connected device is used, or None."""
    if why := mac_missing():
        return why
    if not os.environ.get(TEAM):
        return f"{TEAM} is not set: set it to the identifier of the Apple development team that signs the app, and install Xcode"
    if not os.environ.get(MAC) and sys.platform == "darwin" and shutil.which("xcodebuild") is None:
        return "xcodebuild is not on PATH: install Xcode, and open it once"
    return None


def _run(job: Job) -> Run:
    if os.environ.get(MAC):
        return run_on_mac(job, NAME)
    from edgeferry.targets.mil.package import open_package

    interface = interface_of(open_package(job.main_file).specification)
    if interface.takes_image or interface.labels is not None:
        raise Unsupported(
            "EF-coreml-arrays-only",
            "coremltools' app for devices takes and returns only arrays; this package has an image or labels: use coreml-arrays",
        )
    device = connected()
    import asyncio

    run = asyncio.run(_predicted(job, feeds(job, interface), device))
    at = len(run.predictions) - job.rounds
    return Run(
        scores=interface.scores(run.predictions[1 : 1 + len(job.images())]),
        labels=None,
        latencies_ms=run.predictions_ms[at:],
        first_ms=run.predictions_ms[0],
        load_ms=run.load_ms,
        environment={
            **runtime("coremltools"),
            "compute_units": UNITS,
            "device": device.name,
            "system": f"{device.type.value} {device.os_version} {device.os_build_number}",
            "timed_by": "the device",
            "compute_plan": run.plan,
        },
    )


def connected() -> Any:
    """Return the iPhone, or otherwise the iPad, that is connected.

    Raises:
        Absent: none is connected.
    """
    from coremltools.models.ml_program.experimental.remote_device import Device, DeviceType

    found = [each for kind in (DeviceType.IPHONE, DeviceType.IPAD) for each in Device.get_connected_devices(kind)]
    if not found:
        raise Absent(
            "EF-ios-device-absent",
            "no iPhone or iPad is connected: plug one in, unlock it, trust this Mac, and turn on its developer mode",
        )
    return found[0]


async def _predicted(job: Job, pictures: list[dict[str, Any]], device: Any) -> _DeviceRun:
    """Return the first prediction, those of all images, then warm-up and rounds on the first image, as the device timed them."""
    import coremltools
    from coremltools.models.ml_program.experimental.async_wrapper import MLModelAsyncWrapper
    from coremltools.models.ml_program.experimental.remote_device import AppSigningCredentials

    job.work.mkdir(parents=True, exist_ok=True)
    credentials = AppSigningCredentials(development_team=os.environ[TEAM])
    prepared = await device.prepare_for_model_debugging(credentials=credentials, working_directory=job.work)
    model = MLModelAsyncWrapper.from_spec_or_path(
        spec_or_path=str(job.main_file), weights_dir="", compute_units=coremltools.ComputeUnit[UNITS], device=prepared
    )
    await model.load()
    predictions, times = [], []
    for each in [pictures[0], *pictures, *[pictures[0]] * (job.warmup + job.rounds)]:
        predictions.append(await model.predict(each))
        times.append(_milliseconds(model.last_predict_duration_in_nano_seconds))
    load_ms, plan = _milliseconds(model.load_duration_in_nano_seconds), await _plan(model)
    await model.unload()
    return _DeviceRun(predictions, tuple(times), load_ms, plan)


async def _plan(model: Any) -> dict[str, Any] | str:
    try:
        return summary(await model.retrieve_compute_plan())
    except (RuntimeError, ValueError) as error:
        return f"unknown: {error}"


def _milliseconds(nanoseconds: int | None) -> float:
    if nanoseconds is None:
        raise RuntimeError("the device did not report a duration")
    return nanoseconds / 1e6


TARGETS = (
    Target(
        name=NAME,
        summary="an iPhone or iPad connected to a Mac with Xcode, by Core ML",
        reads=frozenset({"coreml"}),
        missing=missing,
        run=_run,
        versions=lambda: versions_of("coremltools", "numpy") | settings(),
        by_default=False,
    ),
)
