# SPDX-License-Identifier: Apache-2.0
"""An ONNX file exported here, asked by ONNX Runtime; labels, preprocessing and kind of output are those in its metadata."""

import hashlib
import io
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeferry.models.preprocessing import Preprocessing, normalise, opened, pixels_of, preprocessing_of
from edgeferry.models.softmax import softmax
from edgeferry.models.system.errors import EdgeError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# A decoded image of so many pixels takes 150 MB.
MOST_PIXELS: Final = 50_000_000


class NotANumber(ArithmeticError):  # noqa: N818 - named for what it is
    """The classifier answered NaN or Inf."""


@dataclass(frozen=True)
class Answered:
    """The probability of every class, [classes], float32, in the labels' order; and milliseconds by what they went into."""

    probabilities: "NDArray[np.float32]"
    took_ms: Mapping[str, float]


@dataclass(frozen=True)
class Classifier:
    """A classifier that is loaded. ``session`` is ONNX Runtime's; ``load_ms`` is what making it took."""

    name: str
    sha256: str
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    output: str
    threads: int
    load_ms: float
    session: Any

    def classify(self, image: bytes) -> Answered:
        """Return the answer to an image file.

        Raises:
            EdgeError: it is no image that can be read, or too large a one.
            NotANumber: the classifier answered NaN or Inf.
        """
        took_ms: dict[str, float] = {}
        with _taking(took_ms, "preprocess"):
            pixels = pixels_of(opened(io.BytesIO(image), "the image", MOST_PIXELS), self.preprocessing)
            batch = normalise(pixels[None], self.preprocessing)
        with _taking(took_ms, "inference"):
            scores = self.infer(batch)
        with _taking(took_ms, "postprocess"):
            probabilities = softmax(scores) if self.output == "logits" else scores
        return Answered(probabilities[0], took_ms)

    def infer(self, images: "NDArray[np.float32]") -> "NDArray[np.float32]":
        """Return the classifier's own outputs, [count, classes], of images [count, height, width, channels], normalised.

        Raises:
            NotANumber: the classifier answered NaN or Inf.
        """
        import numpy as np

        scores: NDArray[np.float32] = self.session.run(None, {self.session.get_inputs()[0].name: images})[0]
        if not np.isfinite(scores).all():
            raise NotANumber("the classifier answered NaN or Inf")
        return scores


def load(file: Path, threads: int = 1) -> Classifier:
    """Return the classifier of an ONNX file; it is called as the file is.

    Raises:
        EdgeError: there is no such file, or it is not an ONNX file exported by edgeferry.
    """
    from onnxruntime import InferenceSession, SessionOptions

    if not file.is_file():
        raise EdgeError(f"{file}: no such file; expected an ONNX file exported by edgeferry.")
    options = SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that spin between requests take the cores from whoever is asked meanwhile.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    start = time.perf_counter()
    try:
        session = InferenceSession(file, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        # ONNX Runtime's errors have no class in common.
        raise EdgeError(f"{file}: ONNX Runtime cannot load it: {error}") from error
    load_ms = (time.perf_counter() - start) * 1000
    told = session.get_modelmeta().custom_metadata_map
    try:
        return Classifier(
            name=file.stem,
            sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
            labels=tuple(json.loads(told["labels"])),
            preprocessing=preprocessing_of(json.loads(told["preprocessing"])),
            output=json.loads(told["output"]),
            threads=threads,
            load_ms=load_ms,
            session=session,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise EdgeError(f"{file}: not exported by edgeferry: its metadata lacks {error}.") from None


@contextmanager
def _taking(took_ms: dict[str, float], what: str) -> Iterator[None]:
    start = time.perf_counter_ns()
    yield
    took_ms[what] = (time.perf_counter_ns() - start) / 1e6
