# SPDX-License-Identifier: Apache-2.0
"""The code of a kit: templates filled with what the config says of the preprocessing, and what the artifact says of itself."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeferry.exporters.shipping.language import CPLUSPLUS, KOTLIN, SWIFT, Language
from edgeferry.exporters.shipping.translation import constants, translated
from edgeferry.models.artifact import Artifact
from edgeferry.models.decision import MULTILABEL, THRESHOLD
from edgeferry.models.preprocessing import Preprocessing
from edgeferry.models.tf_resize import METHODS

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES: Final = Path(__file__).parent / "templates"
LANGUAGES: Final = {".h": CPLUSPLUS, ".kt": KOTLIN, ".swift": SWIFT}
RUNTIMES: Final = {
    "onnx": "onnxruntime",
    "tflite": "ai-edge-litert or tflite-runtime",
    "edgetpu": "pycoral, or tflite-runtime with libedgetpu",
}
COLOURS: Final = {"gray": "gray", "rgb": "RGB", "bgr": "BGR"}
# For the tensors of a model on a microcontroller; it is adjusted on the device.
ARENA_BYTES: Final = 128 * 1024


@dataclass(frozen=True)
class Steps:
    """The description of a config's preprocessing: the functions that do it, and the constants they are called with."""

    family: str
    fitted: str
    kernel: str
    colour: str

    @property
    def functions(self) -> tuple[str, ...]:
        """Return the functions that prepare an image, in order."""
        return ("upright", "channels_of", self.fitted)


def steps_of(how: Preprocessing) -> Steps:
    """Return the description of a preprocessing; the names are those of ``edgeferry.exporters.shipping.arithmetic``."""
    family = "tf" if how.resize in METHODS else "pillow"
    return Steps(family, f"{family}_{how.fit}", how.resize.replace("-", "_").upper(), how.colour.upper())


def sentences(how: Preprocessing) -> Iterator[str]:
    """Yield what happens to an image, one sentence for each step."""
    resizes = {"stretch": "stretch the whole image to", "crop": "take the largest centred part of the right aspect to", "pad": ""}
    size = f"{how.width} x {how.height} pixels"
    by = f"`{how.resize}` as `tf.image.resize` does, without antialias" if how.resize in METHODS else f"Pillow's `{how.resize}`"
    yield "Decode the file to 8 bits per channel; no colour profile is applied."
    yield "Turn it as its EXIF orientation says."
    yield f"Make it {COLOURS[how.colour]}; opacity is ignored."
    yield (
        f"Resize it by {by}: fit it into {size} with black bars."
        if how.fit == "pad"
        else f"Resize it by {by}: {resizes[how.fit]} {size}."
    )
    yield f"Make float32 of each value, take off mean {list(how.mean)} and divide by std {list(how.std)}, per channel."


@cache
def _templates() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - code, not HTML; names are put in as JSON or checked before
    )


def filled(template: str, **values: Any) -> str:
    """Return a template filled with values."""
    return _templates().get_template(template).render(**values)


def code(template: str, name: str, artifact: Artifact, model: str, operations: Sequence[str] = ()) -> str:
    """Return a file of a kit's code; ``model`` is the classifier's name, ``operations`` are those of a TF Lite file."""
    how, steps = artifact.preprocessing, steps_of(artifact.preprocessing)
    quantized = [artifact.inputs[0], artifact.outputs[0]] if artifact.inputs[0].scale else None
    values = {
        "file": artifact.main_file,
        "format": artifact.format,
        "model": json.dumps(model)[1:-1],
        "kind": artifact.kind,
        "how": how,
        "output": artifact.output,
        "several": artifact.output == MULTILABEL,
        "threshold": THRESHOLD if artifact.output == MULTILABEL and artifact.threshold is None else artifact.threshold,
        "quantized": quantized,
        "runtime": RUNTIMES.get(artifact.kind, ""),
        "colours": COLOURS[how.colour],
        "labels_json": json.dumps(artifact.labels, ensure_ascii=False),
        "labels_quoted": [json.dumps(each) for each in artifact.labels],
        "preprocessing_json": json.dumps(asdict(how)),
        "probabilities": artifact.outputs[0].name,
        "arena": ARENA_BYTES,
        "operations": operations,
        "family": steps.family,
    }
    suffix = Path(name).suffix
    return filled(template, **values, **(_written(LANGUAGES[suffix], steps, suffix) if suffix in LANGUAGES else {}))


def _written(language: Language, steps: Steps, suffix: str) -> dict[str, str]:
    functions = translated(language, *steps.functions)
    # A Core ML package takes a picture, and exchanges its colours itself.
    colour = "RGB" if suffix == ".swift" and steps.colour == "BGR" else steps.colour
    first, *rest = steps.fitted.split("_")
    called = first + "".join(word.capitalize() for word in rest)
    text = f"{functions} {steps.kernel} {colour}"
    return {
        "functions": functions,
        "constants": constants(language, text),
        "fitted": called,
        "kernel": steps.kernel,
        "colour": colour,
    }


def registrations(names: Sequence[str]) -> list[str]:
    """Return how LiteRT for Microcontrollers registers operations: AddConv2D for CONV_2D."""
    return ["Add" + "".join(word.capitalize() for word in name.split("_")).replace("2d", "2D") for name in sorted(set(names))]
