# SPDX-License-Identifier: Apache-2.0
"""An ONNX file exported by edgeferry, run by ONNX Runtime; its metadata holds labels, preprocessing and kind of output."""

import hashlib
import io
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeferry.models.decision import probabilities_of
from edgeferry.models.preprocessing import Preprocessing, normalise, opened, pixels_of, preprocessing_of
from edgeferry.models.system.errors import EdgeError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# A decoded image of this size takes 150 MB.
MOST_PIXELS: Final = 50_000_000


class NotANumber(ArithmeticError):  # noqa: N818 - named for what it is
    """The classifier's outputs contain NaN or Inf."""


@dataclass(frozen=True)
class Classification:
    """The probability of every class, [classes], float32, in the labels' order; and the milliseconds of each stage."""

    probabilities: "NDArray[np.float32]"
    took_ms: Mapping[str, float]


@dataclass(frozen=True)
class Classifier:
    """A loaded classifier. ``session`` is ONNX Runtime's; ``load_ms`` is the time it took to create."""

    name: str
    sha256: str
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    output: str
    threads: int
    load_ms: float
    session: Any

    def classify(self, image: bytes) -> Classification:
        """Return the classification of an image file.

        Raises:
            EdgeError: the file is not a readable image, or has too many pixels.
            NotANumber: the classifier's outputs contain NaN or Inf.
        """
        took_ms: dict[str, float] = {}
        with _timed(took_ms, "preprocess"):
            pixels = pixels_of(opened(io.BytesIO(image), "the image", MOST_PIXELS), self.preprocessing)
            batch = normalise(pixels[None], self.preprocessing)
        with _timed(took_ms, "inference"):
            scores = self.infer(batch)
        with _timed(took_ms, "postprocess"):
            probabilities = probabilities_of(scores, self.output)
        return Classification(probabilities[0], took_ms)

    def infer(self, images: "NDArray[np.float32]") -> "NDArray[np.float32]":
        """Return the classifier's outputs, [count, classes], for normalised images [count, height, width, channels].

        Raises:
            NotANumber: the outputs contain NaN or Inf.
        """
        import numpy as np

        scores: NDArray[np.float32] = self.session.run(None, {self.session.get_inputs()[0].name: images})[0]
        if not np.isfinite(scores).all():
            raise NotANumber("the classifier's outputs contain NaN or Inf")
        return scores


def load(file: Path, threads: int = 1) -> Classifier:
    """Return the classifier of an ONNX file, named like the file.

    Raises:
        EdgeError: there is no such file, or it is not an ONNX file exported by edgeferry.
    """
    from onnxruntime import InferenceSession, SessionOptions

    if not file.is_file():
        raise EdgeError("EF-endpoint-model", f"{file}: no such file; expected an ONNX file exported by edgeferry.")
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
            sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
            labels=tuple(json.loads(metadata["labels"])),
            preprocessing=preprocessing_of(json.loads(metadata["preprocessing"])),
            output=json.loads(metadata["output"]),
            threads=threads,
            load_ms=load_ms,
            session=session,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise EdgeError(
            "EF-endpoint-model", f"{file}: its metadata lacks {error}; expected an ONNX file exported by edgeferry."
        ) from None


@contextmanager
def _timed(took_ms: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter_ns()
    yield
    took_ms[stage] = (time.perf_counter_ns() - start) / 1e6
