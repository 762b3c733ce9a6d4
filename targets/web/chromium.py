# SPDX-License-Identifier: Apache-2.0
"""Headless Chromium: TensorFlow.js, ONNX Runtime Web and LiteRT.js, on the processor and on WebGL and WebGPU."""

from collections.abc import Mapping
from functools import partial
from typing import Final

from edgeferry.targets.target import Job, Run, Target
from edgeferry.targets.web.browser import Browser, run_in
from edgeferry.targets.web.javascript import LITERT, ORT, TFJS, Engine

CHROMIUM: Final = Browser(
    title="Chromium or Chrome",
    variable="EDGEFERRY_CHROMIUM",
    programs=("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"),
    channels=("chrome", "chrome-beta", "chrome-dev", "msedge", "msedge-beta", "msedge-dev"),
    # Nothing that looks for a network.
    flags=("--disable-quic", "--disable-sync", "--no-proxy-server"),
)
FLAGS: Final = {
    "wasm": ("--disable-gpu",),
    "cpu": ("--disable-gpu",),
    "webgl": (),
    # A WebGPU adapter on Linux, and one made of software anywhere.
    "webgpu": ("--enable-unsafe-webgpu",),
}


def _run(job: Job, engine: Engine, backend: str) -> Run:
    return run_in(CHROMIUM, FLAGS[backend], engine, backend, job)


def _missing(engine: Engine) -> str | None:
    return CHROMIUM.missing() or engine.missing()


def _versions(engine: Engine) -> Mapping[str, str]:
    return {**engine.versions(), **CHROMIUM.versions()}


def _target(name: str, engine: Engine, backend: str, reads: str) -> Target:
    return Target(
        name=f"chromium-{name}",
        summary=f"headless Chromium, by {engine.title} on {backend}",
        reads=frozenset({reads}),
        missing=partial(_missing, engine),
        run=partial(_run, engine=engine, backend=backend),
        versions=partial(_versions, engine),
        # Up to a second an image: what TensorFlow.js falls back to, not what anybody ships.
        by_default=backend != "cpu",
    )


TARGETS = (
    _target("wasm", TFJS, "wasm", "tfjs"),
    _target("webgl", TFJS, "webgl", "tfjs"),
    _target("webgpu", TFJS, "webgpu", "tfjs"),
    _target("cpu", TFJS, "cpu", "tfjs"),
    _target("ort-wasm", ORT, "wasm", "onnx"),
    _target("ort-webgpu", ORT, "webgpu", "onnx"),
    _target("litert-wasm", LITERT, "wasm", "tflite"),
    _target("litert-webgpu", LITERT, "webgpu", "tflite"),
)
