# SPDX-License-Identifier: Apache-2.0
"""The shared part of the targets that run in JavaScript: their pinned packages, the job for them, and the run they report."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeferry.models.artifact import Tensor
from edgeferry.models.golden.order import read_order
from edgeferry.models.preprocessing import normalise
from edgeferry.models.system.files import digest_of_files
from edgeferry.targets.host.installed import is_checkout
from edgeferry.targets.litert.tflite_file import dequantized, labels_in, quantized
from edgeferry.targets.target import BatchedScores, Job, Run, Unsupported
from edgeferry.targets.timing import ENOUGH, FEW_S, FEWEST, LONGEST_S, batches_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WEB: Final = Path(__file__).parent
CLIENT: Final = WEB / "client"
IMAGES: Final = "images.bin"
SCORES: Final = "scores.bin"


@dataclass(frozen=True)
class Engine:
    """A runtime written in JavaScript: its name there, the prefix of its pinned npm packages, the kind of artifact it reads."""

    name: str
    title: str
    packages: str
    reads: str

    @property
    def pinned(self) -> Mapping[str, str]:
        """Return its packages and their versions."""
        return {name: version for name, version in _pinned().items() if name.startswith(self.packages)}

    def missing(self) -> str | None:
        """Return None where its packages are installed in targets/web, else which one is not and what installs it."""
        for name, version in self.pinned.items():
            found = _installed_version(name)
            if found != version:
                state = "is not installed" if found is None else f"is {found}"
                return f"the npm package {name} {state}, {version} is needed: {npm_installs()} installs it"
        return None

    def versions(self) -> Mapping[str, str]:
        """Return the versions of its packages, and a digest of the JavaScript that runs it."""
        scripts = sorted([*CLIENT.glob("*.js"), *CLIENT.glob("*.html")])
        return {**self.pinned, "targets/web/client": digest_of_files(scripts, CLIENT)}


TFJS: Final = Engine("tfjs", "TensorFlow.js", "@tensorflow/", reads="tfjs")
ORT: Final = Engine("ort", "ONNX Runtime Web", "onnxruntime-web", reads="onnx")
LITERT: Final = Engine("litert", "LiteRT.js", "@litertjs/", reads="tflite")


def npm_installs() -> str:
    """Return the command that installs the npm packages."""
    return "`make install`" if is_checkout() else f"`npm ci --prefix {WEB}`"


def describe_job(job: Job, engine: Engine, backend: str) -> dict[str, Any]:
    """Return a job in the form that runner.js takes; its images are written to ``job.work`` as the model takes them.

    Raises:
        Unsupported: the model takes int8, for which LiteRT.js has no type.
    """
    takes = job.artifact.inputs[0]
    if takes.dtype not in {"float32", "uint8"}:
        raise Unsupported("EF-web-dtype", f"LiteRT.js has no tensors of {takes.dtype}; export with int8_input_output = 'uint8'")
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
        "order": read_order(job.reference, len(images)),
        "fewest": FEWEST,
        "enough": ENOUGH,
        "few_s": FEW_S,
        "longest_s": LONGEST_S,
        "batches": batches_of(job) if takes.shape[0] is None else [],
        "scores": SCORES,
        "warmup": job.warmup,
        "settle_s": job.settle_s,
        "rounds": job.rounds,
        "asks_for_quiet": job.asks_for_quiet,
        "threads": job.threads,
    }


def read_report(job: Job, report: Mapping[str, Any], scores: Callable[[], bytes]) -> Run:
    """Return the run that runner.js reports; ``scores`` returns the bytes of its scores.

    Raises:
        Unsupported: the requested backend is not available there, or not with this number of threads.
    """
    if why := report.get("unsupported"):
        raise Unsupported("EF-web-backend", why)
    environment = report["environment"]
    if "wasm" in environment["backend"] and environment["threads"] != job.threads:
        raise Unsupported(
            "EF-web-threads",
            f"{environment['runtime']} uses {environment['threads']} threads; expected {job.threads}; "
            "in a browser it uses at most half of the machine's cores",
        )
    indices, batches = tuple(report["image_indices"]), tuple(map(tuple, report["batches"]))
    found = _scores(job, scores(), len(indices) + sum(map(len, batches)))
    alone, in_batches = found[: len(indices)], found[len(indices) :]
    everything = len(indices) == len(job.images())
    return Run(
        scores=alone[sorted(range(len(indices)), key=indices.__getitem__)] if everything else alone,
        labels=_labels(job, report["labels"]),
        latencies_ms=tuple(report["latencies_ms"]),
        first_ms=report["first_ms"],
        load_ms=report["load_ms"],
        environment=environment,
        image_indices=None if everything else indices,
        batched=BatchedScores(batches, in_batches) if batches else None,
    )


def _scores(job: Job, raw: bytes, count: int) -> "NDArray[np.float32]":
    import numpy as np

    gives = job.artifact.outputs[0]
    return dequantized(np.frombuffer(raw, gives.dtype).reshape(count, -1), _stored(gives))


def _labels(job: Job, reported: list[str] | None) -> tuple[str, ...] | None:
    # LiteRT.js does not read the labels appended to a file.
    return labels_in(job.main_file) if job.artifact.kind == "tflite" else None if reported is None else tuple(reported)


def _stored(tensor: Tensor) -> Mapping[str, Any]:
    """Return a tensor's storage in the form of an interpreter: runtimes in JavaScript report no scale and zero point."""
    return {"dtype": tensor.dtype, "quantization": (tensor.scale, tensor.zero_point)}


@cache
def _pinned() -> dict[str, str]:
    pinned: dict[str, str] = json.loads((WEB / "package.json").read_text(encoding="utf-8"))["dependencies"]
    return pinned


def _installed_version(name: str) -> str | None:
    try:
        package = json.loads((WEB / "node_modules" / name / "package.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return str(package.get("version"))
