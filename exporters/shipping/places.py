# SPDX-License-Identifier: Apache-2.0
"""The kinds of place that a kit is made for: which artifacts run there, and in which language an app reads them."""

from dataclasses import dataclass
from typing import Final

from edgeferry.models.artifact import Artifact
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.registry import refuse_unknown


@dataclass(frozen=True)
class Place:
    """A kind of place: a name, what it is, the kinds of artifact that run there, the best first, and the files of code.

    ``code`` maps a file of the kit to its template. ``integers`` is true where only full-integer files are of use, ``never``
    names formats that are made for something else. ``targets`` begin the names of the targets that say how it is there.
    """

    name: str
    summary: str
    kinds: tuple[str, ...]
    code: tuple[tuple[str, str], ...]
    targets: tuple[str, ...]
    integers: bool = False
    never: tuple[str, ...] = ()

    def may_take(self, form: str) -> bool:
        """Return whether a format is of use there, by its name, <kind>-<precision>."""
        is_integer = form.endswith("-int8")
        return form.partition("-")[0] in self.kinds and form not in self.never and (is_integer or not self.integers)

    def takes(self, artifact: Artifact) -> bool:
        """Return whether an artifact is of use there."""
        is_integer = any(tensor.scale for tensor in artifact.inputs) and not artifact.options.get("keep_float")
        return artifact.kind in self.kinds and artifact.format not in self.never and (is_integer or not self.integers)


PYTHON: Final = (("classify.py", "classify.py.jinja"),)
PLACES: Final = (
    Place(
        "ios",
        "an app for iPhones, iPads and Macs, by Core ML and Vision, in Swift",
        ("coreml",),
        (("Classifier.swift", "Classifier.swift.jinja"), ("Preprocessing.swift", "Preprocessing.swift.jinja")),
        ("coreml",),
        never=("coreml-arrays",),
    ),
    Place(
        "android",
        "an app for Android, by LiteRT, in Kotlin",
        ("tflite",),
        (("Classifier.kt", "Classifier.kt.jinja"), ("Preprocessing.kt", "Preprocessing.kt.jinja")),
        ("litert", "tflite", "arm"),
    ),
    Place(
        "web",
        "a web page, by TensorFlow.js, ONNX Runtime Web or LiteRT.js, in JavaScript",
        ("tfjs", "onnx", "tflite"),
        (("classify.js", "classify.js.jinja"),),
        ("chromium", "firefox", "node"),
    ),
    Place("coral", "a Coral board or USB accelerator, in Python", ("edgetpu",), PYTHON, ("coral", "edgetpu")),
    Place("server", "a server, by ONNX Runtime, in Python", ("onnx",), PYTHON, ("onnxruntime", "endpoint", "arm")),
    Place(
        "python", "any program in Python, by LiteRT or ONNX Runtime", ("tflite", "onnx"), PYTHON, ("litert", "onnxruntime", "arm")
    ),
    Place(
        "mcu",
        "a microcontroller, by LiteRT for Microcontrollers, in C++",
        ("tflite",),
        (("classifier.cc", "classifier.cc.jinja"), ("preprocessing.h", "preprocessing.h.jinja")),
        ("litert-builtin", "tflite"),
        integers=True,
    ),
)


def place_named(name: str) -> Place:
    """Return a place by its name.

    Raises:
        EdgeError: there is none of that name.
    """
    known = {place.name: place for place in PLACES}
    refuse_unknown((name,), known, "place")
    return known[name]


def refuse_unfit(place: Place, artifact: Artifact) -> None:
    """Refuse an artifact that is of no use in a place.

    Raises:
        EdgeError: names the kinds of artifact that are.
    """
    if not place.takes(artifact):
        wanted = ", ".join(place.kinds) + (" in full integers" if place.integers else "")
        raise EdgeError(
            "EF-ship-format",
            f"{artifact.format} is of no use for {place.name}; expected an artifact of kind {wanted}. Name one with --format.",
        )
