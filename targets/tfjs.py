# SPDX-License-Identifier: Apache-2.0
"""What the targets that run TensorFlow.js share: its pinned packages, how a job goes to JavaScript and how a run comes back."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from models.files import digest_of_files
from models.images import normalise
from targets.target import Job, Run, Unsupported

WEB: Final = Path(__file__).parent / "web"
BACKEND: Final = "wasm"
IMAGES: Final = "images.bin"
SCORES: Final = "scores.bin"


def packages_missing() -> str | None:
    """Return None where the pinned packages are installed in targets/web, else which is not and how to get it."""
    for name, version in _pinned().items():
        found = _installed_version(name)
        if found != version:
            state = "is not installed" if found is None else f"is {found}"
            return f"the npm package {name} {state}, {version} is needed: `make install` brings it (npm ci in targets/web)"
    return None


def packages() -> Mapping[str, str]:
    """Return the versions of the pinned packages, and a digest of the JavaScript that runs here."""
    scripts = sorted([*WEB.glob("*.js"), *WEB.glob("*.html")])
    return {**_pinned(), "targets/web": digest_of_files(scripts, WEB)}


def hand_over(job: Job) -> dict[str, Any]:
    """Return a job as JavaScript takes it; its images are written to ``job.work`` as raw float32."""
    job.work.mkdir(parents=True, exist_ok=True)
    images = normalise(job.images(), job.artifact.preprocessing)
    (job.work / IMAGES).write_bytes(images.astype("<f4").tobytes())
    return {
        "backend": BACKEND,
        "model": job.artifact.main_file,
        "images": IMAGES,
        "shape": list(images.shape),
        "scores": SCORES,
        "warmup": job.warmup,
        "rounds": job.rounds,
        "threads": job.threads,
    }


def taken_back(job: Job, report: Mapping[str, Any], scores: bytes) -> Run:
    """Return the run that runner.js reports.

    Raises:
        Unsupported: it ran on another number of threads than was asked for.
    """
    import numpy as np

    environment = report["environment"]
    if environment["threads"] != job.threads:
        raise Unsupported(
            f"TensorFlow.js took {environment['threads']} of the {job.threads} threads asked for; "
            "it takes half of the machine's cores at most"
        )
    labels = report["labels"]
    return Run(
        scores=np.frombuffer(scores, "<f4").reshape(len(job.images()), -1),
        labels=None if labels is None else tuple(labels),
        latencies_ms=tuple(report["latencies_ms"]),
        first_ms=report["first_ms"],
        load_ms=report["load_ms"],
        environment=environment,
    )


@cache
def _pinned() -> dict[str, str]:
    pinned: dict[str, str] = json.loads((WEB / "package.json").read_text(encoding="utf-8"))["dependencies"]
    return pinned


def _installed_version(name: str) -> str | None:
    try:
        told = json.loads((WEB / "node_modules" / name / "package.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return str(told.get("version"))
