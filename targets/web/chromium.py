# SPDX-License-Identifier: Apache-2.0
"""Headless Chromium: TensorFlow.js, ONNX Runtime Web and LiteRT.js, on the CPU, WebGL and WebGPU."""

from typing import Final

from edgeferry.targets.target import Job, Run
from edgeferry.targets.web.browser import Browser, page_target, run_in
from edgeferry.targets.web.javascript import LITERT, ORT, TFJS, Engine

CHROMIUM: Final = Browser(
    name="chromium",
    title="Chromium or Chrome",
    variable="EDGEFERRY_CHROMIUM",
    programs=("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"),
    channels=("chrome", "chrome-beta", "chrome-dev", "msedge", "msedge-beta", "msedge-dev"),
    # Nothing that uses a network.
    flags=("--disable-quic", "--disable-sync", "--no-proxy-server"),
)
FLAGS: Final = {
    "wasm": ("--disable-gpu",),
    "cpu": ("--disable-gpu",),
    "webgl": (),
    # A WebGPU adapter on Linux, and a software renderer anywhere.
    "webgpu": ("--enable-unsafe-webgpu",),
}


def _run(job: Job, engine: Engine, backend: str) -> Run:
    return run_in(CHROMIUM, FLAGS[backend], engine, backend, job)


BACKENDS: Final = {TFJS: ("wasm", "webgl", "webgpu", "cpu"), ORT: ("wasm", "webgpu"), LITERT: ("wasm", "webgpu")}
TARGETS = tuple(
    # "cpu" takes up to a second per image: TensorFlow.js's fallback, which nobody ships.
    page_target(CHROMIUM, _run, (engine, backend), by_default=backend != "cpu", side_by_side=backend in {"wasm", "cpu"})
    for engine, backends in BACKENDS.items()
    for backend in backends
)
