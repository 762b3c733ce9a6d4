# SPDX-License-Identifier: Apache-2.0
"""An ONNX file exported by edgeferry, run by ONNX Runtime; its metadata holds labels, preprocessing and kind of output."""

import hashlib
import io
import json
import os
import sys
import time
from collections.abc import Iterator, MutableMapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from edgeferry.models.decision import Decision, decision_of, probabilities_of
from edgeferry.models.preprocessing import FORMATS, Preprocessing, normalise, opened, pixels_of, preprocessing_of
from edgeferry.models.system.errors import EdgeError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# An image with more pixels is decoded alone: in memory, it takes four bytes a pixel, and as much again where it is converted.
LARGE_PIXELS: Final = 4_000_000
WARM_UP: Final = 5


class NotANumber(ArithmeticError):  # noqa: N818 - named for what it is
    """The classifier's outputs contain NaN or Inf."""


class Alone(Protocol):
    """Waits, where something ``large`` is unpacked, until nothing else is."""

    def __call__(self, *, large: bool) -> AbstractContextManager[None]:
        """Return what waits."""


@dataclass(frozen=True)
class Classification:
    """The probability of every class, [classes], float32, in the labels' order; and the image as the classifier's input."""

    probabilities: "NDArray[np.float32]"
    image: "NDArray[np.float32]"


@dataclass(frozen=True)
class Classifier:
    """A loaded classifier. ``session`` is ONNX Runtime's; ``load_ms`` is the time it took to create."""

    name: str
    sha256: str
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    output: str
    decision: Decision
    threads: int
    load_ms: float
    session: Any
    input_name: str
    output_name: str

    @property
    def version(self) -> str:
        """Return what the protocol calls the version: the beginning of the file's digest."""
        return self.sha256[:12]

    def classify(self, image: bytes, most_pixels: int, alone: Alone, took_ms: MutableMapping[str, float]) -> Classification:
        """Return the classification of an image file; ``took_ms`` gets the milliseconds of each stage.

        Raises:
            EdgeError: the file is not a readable image, or has too many pixels.
            NotANumber: the classifier's outputs contain NaN or Inf.
        """
        with timed(took_ms, "preprocess"):
            with alone(large=_pixels(image) > LARGE_PIXELS):
                pixels = pixels_of(opened(io.BytesIO(image), "the image", most_pixels), self.preprocessing)
            batch = normalise(pixels[None], self.preprocessing)
        scores = self.infer(batch, took_ms)
        with timed(took_ms, "postprocess"):
            probabilities = probabilities_of(scores, self.output)
        return Classification(probabilities[0], batch)

    def warm_up(self) -> float:
        """Classify some images, since the first takes longer than those after it; return the milliseconds of an inference."""
        from PIL import Image

        how, file, took_ms = self.preprocessing, io.BytesIO(), dict[str, float]()
        Image.new("RGB", (how.width + 1, how.height + 1)).save(file, "PNG")
        with suppress(NotANumber):
            for _ in range(WARM_UP):
                self.classify(file.getvalue(), sys.maxsize, _at_once, took_ms)
        return took_ms["inference"]

    def infer(self, images: "NDArray[np.float32]", took_ms: MutableMapping[str, float]) -> "NDArray[np.float32]":
        """Return the classifier's outputs, [count, classes], for normalised images [count, height, width, channels].

        Raises:
            NotANumber: the outputs contain NaN or Inf.
        """
        import numpy as np

        with timed(took_ms, "inference"):
            scores: NDArray[np.float32] = self.session.run(None, {self.input_name: images})[0]
        if not np.isfinite(scores).all():
            raise NotANumber("the classifier's outputs contain NaN or Inf")
        return scores


def load(file: Path, threads: int = 1, expected: str = "") -> Classifier:
    """Return the classifier of an ONNX file, named like the file; ``expected`` is its digest where it must be a certain file.

    Raises:
        EdgeError: there is no such file, it is another one, or it is not an ONNX file exported by edgeferry.
    """
    # ONNX Runtime reads it when it is imported.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    from onnxruntime import InferenceSession, SessionOptions

    sha256 = _checked_digest(file, expected)
    options = SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that spin between requests would take cores from other requests.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    start = time.perf_counter()
    try:
        session = InferenceSession(file, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        # ONNX Runtime's errors have no common base class.
        raise EdgeError("EF-endpoint-model", f"{file}: ONNX Runtime cannot load it: {error}") from error
    load_ms = (time.perf_counter() - start) * 1000
    metadata = session.get_modelmeta().custom_metadata_map
    try:
        return Classifier(
            name=file.stem,
            sha256=sha256,
            labels=tuple(json.loads(metadata["labels"])),
            preprocessing=preprocessing_of(json.loads(metadata["preprocessing"])),
            output=json.loads(metadata["output"]),
            decision=decision_of(json.loads(metadata["output"]), json.loads(metadata.get("threshold", "null"))),
            threads=threads,
            load_ms=load_ms,
            session=session,
            input_name=session.get_inputs()[0].name,
            output_name=session.get_outputs()[0].name,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise EdgeError(
            "EF-endpoint-model", f"{file}: its metadata lacks {error}; expected an ONNX file exported by edgeferry."
        ) from None


def _checked_digest(file: Path, expected: str) -> str:
    if not file.is_file():
        raise EdgeError("EF-endpoint-model", f"{file}: no such file; expected an ONNX file exported by edgeferry.")
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    if expected not in {"", sha256}:
        raise EdgeError(
            "EF-endpoint-digest", f"{file} has the sha256 {sha256}; expected {expected}, of MODEL_SHA256: build the image again."
        )
    return sha256


@contextmanager
def timed(took_ms: MutableMapping[str, float], stage: str) -> Iterator[None]:
    """Add the milliseconds of a block as those of a stage."""
    start = time.perf_counter_ns()
    yield
    took_ms[stage] = (time.perf_counter_ns() - start) / 1e6


def _at_once(*, large: bool) -> AbstractContextManager[None]:  # noqa: ARG001 - nothing else is unpacked yet
    return nullcontext()


def _pixels(image: bytes) -> int:
    """Return how many pixels an image file has by its header, 0 where it is not readable."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(image), formats=FORMATS) as picture:
            return picture.width * picture.height
    except Exception:  # noqa: BLE001 - it is opened again, and refused then
        return 0
