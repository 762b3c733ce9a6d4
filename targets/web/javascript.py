# SPDX-License-Identifier: Apache-2.0
"""What the targets that run in JavaScript share: their pinned packages, how a job goes there and how a run comes back."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeferry.models.artifact import Tensor
from edgeferry.models.preprocessing import normalise
from edgeferry.models.system.files import digest_of_files
from edgeferry.targets.litert.tflite_file import dequantized, labels_in, quantized
from edgeferry.targets.target import Job, Run, Unsupported
from edgeferry.targets.timing import few_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WEB: Final = Path(__file__).parent
CLIENT: Final = WEB / "client"
IMAGES: Final = "images.bin"
SCORES: Final = "scores.bin"


@dataclass(frozen=True)
class Engine:
    """A runtime written in JavaScript: its name there, and the pinned npm packages it is made of, by their first letters."""

    name: str
    title: str
    packages: str

    @property
    def pinned(self) -> Mapping[str, str]:
        """Return its packages and their versions."""
        return {name: version for name, version in _pinned().items() if name.startswith(self.packages)}

    def missing(self) -> str | None:
        """Return None where its packages are installed in targets/web, else which is not and how to get it."""
        for name, version in self.pinned.items():
            found = _installed_version(name)
            if found != version:
                state = "is not installed" if found is None else f"is {found}"
                return f"the npm package {name} {state}, {version} is needed: `make install` brings it (npm ci in targets/web)"
        return None

    def versions(self) -> Mapping[str, str]:
        """Return the versions of its packages, and a digest of the JavaScript that runs it."""
        scripts = sorted([*CLIENT.glob("*.js"), *CLIENT.glob("*.html")])
        return {**self.pinned, "targets/web/client": digest_of_files(scripts, CLIENT)}


TFJS: Final = Engine("tfjs", "TensorFlow.js", "@tensorflow/")
ORT: Final = Engine("ort", "ONNX Runtime Web", "onnxruntime-web")
LITERT: Final = Engine("litert", "LiteRT.js", "@litertjs/")


def hand_over(job: Job, engine: Engine, backend: str) -> dict[str, Any]:
    """Return a job as JavaScript takes it; its images are written to ``job.work`` as the model takes them.

    Raises:
        Unsupported: the model takes int8, which LiteRT.js has no type for.
    """
    takes = job.artifact.inputs[0]
    if takes.dtype not in {"float32", "uint8"}:
        raise Unsupported(f"LiteRT.js has no tensors of {takes.dtype}; export with int8_input_output = 'uint8'")
    job.work.mkdir(parents=True, exist_ok=True)
    images = quantized(normalise(job.images(), job.artifact.preprocessing), _stored(takes))
    images.tofile(job.work / IMAGES)
    return {
        "engine": engine.name,
        "version": next(iter(engine.pinned.values())),
        "backend": backend,
        "model": job.artifact.main_file,
        "images": IMAGES,
        "dtype": takes.dtype,
        "shape": list(images.shape),
        "few": few_of(len(images)),
        "scores": SCORES,
        "warmup": job.warmup,
        "settle_s": job.settle_s,
        "rounds": job.rounds,
        "threads": job.threads,
    }


def taken_back(job: Job, report: Mapping[str, Any], scores: Callable[[], bytes]) -> Run:
    """Return the run that runner.js reports; ``scores`` gives the bytes it handed over.

    Raises:
        Unsupported: the backend asked for is not to be had there, or not with so many threads.
    """
    if why := report.get("unsupported"):
        raise Unsupported(why)
    environment = report["environment"]
    if "wasm" in environment["backend"] and environment["threads"] != job.threads:
        raise Unsupported(
            f"{environment['runtime']} took {environment['threads']} of the {job.threads} threads asked for; "
            "in a browser it takes half of the machine's cores at most"
        )
    answered = tuple(report["answered"])
    return Run(
        scores=_scores(job, scores(), len(answered)),
        labels=_labels(job, report["labels"]),
        latencies_ms=tuple(report["latencies_ms"]),
        first_ms=report["first_ms"],
        load_ms=report["load_ms"],
        environment=environment,
        answered=None if len(answered) == len(job.images()) else answered,
    )


def _scores(job: Job, raw: bytes, count: int) -> "NDArray[np.float32]":
    import numpy as np

    answers = job.artifact.outputs[0]
    return dequantized(np.frombuffer(raw, answers.dtype).reshape(count, -1), _stored(answers))


def _labels(job: Job, told: list[str] | None) -> tuple[str, ...] | None:
    # LiteRT.js does not show what is appended to a file.
    return labels_in(job.main_file) if job.artifact.kind == "tflite" else None if told is None else tuple(told)


def _stored(tensor: Tensor) -> Mapping[str, Any]:
    """Return how a tensor is stored, as an interpreter tells it; no runtime in JavaScript tells scale and zero point."""
    return {"dtype": tensor.dtype, "quantization": (tensor.scale, tensor.zero_point)}


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
