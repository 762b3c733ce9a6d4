# SPDX-License-Identifier: Apache-2.0
"""The config: what a classifier takes, what it returns, and which images check it; read from a TOML file.

Every key is described in docs/config.md.
"""

import json
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edgeferry.models.config.labels import UTF_8, labels_of
from edgeferry.models.config.table import Table
from edgeferry.models.decision import MULTILABEL
from edgeferry.models.loading.custom_module import KEY, custom_module
from edgeferry.models.preprocessing import Preprocessing
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.tf_resize import METHODS

COLOURS: Final = ("rgb", "bgr", "gray")
RESIZES: Final = ("nearest", "box", "bilinear", "bicubic", "lanczos", *METHODS)
# Names of what resizes like that, as training code has them.
RESIZED_BY: Final = dict.fromkeys(
    ("tf.image.resize", "image_dataset_from_directory", "keras.layers.Resizing", "INTER_LINEAR", "cv2.INTER_LINEAR"),
    "tf-bilinear",
)
FITS: Final = ("stretch", "crop", "pad")
OUTPUTS: Final = ("auto", "probabilities", "logits", MULTILABEL)
FRACTIONS: Final = ("top1_agreement", "p99_difference", "mean_difference", "accuracy_loss")
# A threshold chooses between so many labels.
BINARY: Final = 2
TOLERANCE_KEYS: Final = (*FRACTIONS, "times_explained")
# The key of [parity] that is no table of a format.
REQUIRE: Final = "require"
PARITY_MOVED: Final = {"max_difference": "p99_difference, which 99 % of the images may not exceed"}


# Where the options of a format are since release 0.2.
MOVED: Final = {
    "onnx_opset": "opset in [export.onnx]",
    "dense": "dense in [export.tflite-int8]",
    "int8_input_output": "input_output in [export.tflite-int8]",
    "coreml_target": "target in [export.coreml]",
    "tfjs_shard_bytes": "shard_bytes in [export.tfjs]",
    "tfjs_structured_output": "structured_output in [export.tfjs]",
}


@dataclass(frozen=True)
class ExportOptions:
    """What a user may choose about all artifacts; the defaults are the safe ones."""

    fold_batchnorm: bool = True
    author: str = ""
    licence: str = ""
    version: str = ""


@dataclass(frozen=True)
class ModelSpec:
    """A classifier and its config; hashable.

    ``tolerances`` holds what the config sets itself: (format, key, value), the keys those of TOLERANCE_KEYS. ``format_options``
    holds the tables below ``[export]`` by name, each as JSON: which keys they may have, the formats know. ``required`` names the
    results that have to pass, 'FORMAT' or 'FORMAT@TARGET'. ``labels_numbered`` is set where numbers were taken off the labels.
    ``threshold`` is the probability from which a label holds, None where the most probable label is the answer.
    ``custom_module`` is code that the model needs; it is run only where ``runs_custom_module`` is set, which a command does.
    """

    name: str
    path: Path
    model: Path
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    golden: Path
    calibration: Path | None = None
    expected_accuracy: float | None = None
    output: str = "auto"
    threshold: float | None = None
    trained_by: str | None = None
    formats: tuple[str, ...] | None = None
    options: ExportOptions = ExportOptions()
    format_options: tuple[tuple[str, str], ...] = ()
    tolerances: tuple[tuple[str, str, float], ...] = ()
    required: tuple[str, ...] = ()
    labels_numbered: bool = False
    custom_module: str | None = None
    runs_custom_module: bool = False

    @property
    def code(self) -> str | None:
        """Return the custom module that may be run, or None."""
        return self.custom_module if self.runs_custom_module else None

    def export_table(self, name: str) -> dict[str, Any]:
        """Return the table ``[export.<name>]``, empty where there is none."""
        return dict(json.loads(dict(self.format_options).get(name, "{}")))


def config_beside(model: Path) -> Path:
    """Return where the config of a model is, which is named by that alone: a file's without its suffix, a folder's as it is."""
    return model.with_name(f"{model.name}.toml") if model.is_dir() else model.with_suffix(".toml")


def read_spec(path: Path) -> ModelSpec:
    """Return the config that a TOML file holds.

    Raises:
        EdgeError: the file is absent or not TOML, or a key is unknown, missing, of the wrong type or impossible.
    """
    table = Table(path, "", _parsed(path))
    model, data = table.table("model"), table.table("data")
    spec = ModelSpec(
        name=_name(model, path),
        path=path,
        model=model.path("file"),
        labels=(labels := labels_of(model))[0],
        labels_numbered=labels[1],
        output=model.choice("output", OUTPUTS, "auto"),
        threshold=_threshold(model, len(labels[0])),
        trained_by=_trained_by(model),
        custom_module=_custom_module(model),
        preprocessing=_preprocessing(table.table("input")),
        golden=data.path("golden"),
        calibration=data.path("calibration") if data.has("calibration") else None,
        expected_accuracy=data.fraction("expected_accuracy") if data.has("expected_accuracy") else None,
        formats=_formats(export := table.table("export", optional=True)),
        options=_options(export),
        format_options=_format_options(export),
        tolerances=_tolerances(parity := table.table("parity", optional=True)),
        required=_required(parity),
    )
    table.refuse_unknown()
    return spec


def _threshold(model: Table, labels: int) -> float | None:
    """Return the probability from which a label holds, or None."""
    if not model.has("threshold"):
        return None
    value = model.fraction("threshold")
    if model.choice("output", OUTPUTS, "auto") != MULTILABEL and labels != BINARY:
        model.fail(
            "EF-config-value",
            "threshold",
            f"is set, but the model has {labels} labels; it is for two, or for output = {MULTILABEL!r}",
        )
    return value


def _parsed(path: Path) -> dict[str, Any]:
    if not path.is_file():
        found = "it is a folder" if path.is_dir() else "there is no such file"
        raise EdgeError(
            "EF-config-missing",
            f"{path}: expected a model's TOML file, but {found} ({path.absolute()}). Name one with MODEL=path/to/my.toml.",
        )
    try:
        return tomllib.loads(path.read_text(encoding=UTF_8))
    except tomllib.TOMLDecodeError as error:
        raise EdgeError("EF-config-toml", f"{path}: not valid TOML: {error}.") from None
    except UnicodeDecodeError:
        raise EdgeError("EF-config-toml", f"{path}: not a text file in UTF-8, so not a model's TOML file.") from None
    except (ValueError, RecursionError) as error:
        # A number of thousands of digits, or lists nested as deeply.
        raise EdgeError("EF-config-toml", f"{path}: no TOML that can be read: {error}.") from None


def _name(model: Table, path: Path) -> str:
    name = model.text("name", path.stem)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        model.fail(
            "EF-config-name", "name", f"is {name!r}; it names the folder under build/: use letters, digits, '.', '_' and '-'"
        )
    return name


def _trained_by(model: Table) -> str | None:
    module = model.text("trained_by", "")
    if module and not re.fullmatch(r"edgeferry\.models\.[a-z_][a-z0-9_]*", module):
        model.fail(
            "EF-config-value",
            "trained_by",
            f"is {module!r}; expected a module of the models folder, such as 'edgeferry.models.digits'",
        )
    return module or None


def _custom_module(model: Table) -> str | None:
    if not model.has("custom_module"):
        return None
    return custom_module(model.text("custom_module"), model.file.parent, f"{model.file}: {KEY}")


def _preprocessing(table: Table) -> Preprocessing:
    shape = table.take("shape", (list,))
    if len(shape) != 3 or not all(type(size) is int and size > 0 for size in shape):
        table.fail("EF-config-shape", "shape", f"is {shape}; expected [height, width, channels], three positive whole numbers")
    colour = table.choice("colour", COLOURS, "gray" if shape[2] == 1 else "rgb")
    if shape[2] != (expected := 1 if colour == "gray" else 3):
        table.fail("EF-config-shape", "shape", f"has {shape[2]} channels, but colour {colour!r} has {expected}")
    mean, std = _normalisation(table, shape[2])
    resize = table.choice("resize", (*RESIZES, *RESIZED_BY), "bilinear")
    return Preprocessing(
        height=shape[0],
        width=shape[1],
        colour=colour,
        mean=mean,
        std=std,
        resize=RESIZED_BY.get(resize, resize),
        fit=table.choice("fit", FITS, "stretch"),
    )


def _normalisation(table: Table, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if table.has("mean") or table.has("std"):
        if table.has("range"):
            table.fail("EF-config-range", "range", "is given next to mean or std; keep one of the two")
        mean, std = table.numbers("mean", channels), table.numbers("std", channels)
        if not all(value > 0 for value in std):
            table.fail("EF-config-range", "std", f"is {list(std)}; every number must be above 0")
        if all(value <= 1 for value in (*mean, *std)):
            table.fail(
                "EF-config-range",
                "std",
                "and mean are at most 1; they are in pixel units (0 to 255) here: multiply both by 255, "
                "or say range = [0, 255] if the model takes pixels as they are",
            )
        return mean, std
    low, high = table.numbers("range", 2)
    if not low < high:
        table.fail("EF-config-range", "range", f"is [{low}, {high}]; expected [lowest, highest], what black and white become")
    return normalisation_of_range(low, high, channels)


def _formats(export: Table) -> tuple[str, ...] | None:
    if not export.has("formats"):
        return None
    formats = export.take("formats", (list,))
    if not formats or not all(isinstance(name, str) for name in formats):
        export.fail("EF-config-value", "formats", "must be a list of format names; `edgeferry formats` lists them")
    return tuple(dict.fromkeys(formats))


def _options(export: Table) -> ExportOptions:
    for key, place in MOVED.items():
        if key in export.values:
            export.fail("EF-config-key-moved", key, f"was moved: write {place}")
    default = ExportOptions()
    return ExportOptions(
        fold_batchnorm=export.flag("fold_batchnorm", default.fold_batchnorm),
        author=export.text("author", default.author),
        licence=export.text("licence", default.licence),
        version=export.text("version", default.version),
    )


def _format_options(export: Table) -> tuple[tuple[str, str], ...]:
    """Return the tables below [export]; that they are those of formats is checked where the formats are known."""
    tables = {name: export.take(name, (dict,)) for name, value in export.values.items() if isinstance(value, dict)}
    return tuple((name, json.dumps(table, default=str)) for name, table in tables.items())


def _tolerances(parity: Table) -> tuple[tuple[str, str, float], ...]:
    tables = [(name, parity.table(name)) for name in parity.values if name != REQUIRE]
    for _, table in tables:
        for key, place in PARITY_MOVED.items():
            if key in table.values:
                table.fail("EF-config-key-moved", key, f"was replaced: write {place}")
    return tuple((name, key, _tolerance(table, key)) for name, table in tables for key in TOLERANCE_KEYS if table.has(key))


def _tolerance(table: Table, key: str) -> float:
    return table.fraction(key) if key in FRACTIONS else table.at_least_one(key)


def _required(parity: Table) -> tuple[str, ...]:
    """Return what [parity] requires to pass; that they are formats and targets is checked where these are known."""
    required = parity.take(REQUIRE, (list,), []) if parity.has(REQUIRE) else []
    if not all(isinstance(name, str) for name in required):
        parity.fail("EF-config-value", REQUIRE, "must be a list of 'FORMAT' or 'FORMAT@TARGET'")
    return tuple(dict.fromkeys(required))


def normalisation_of_range(low: float, high: float, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and std of every channel that turn 0 into ``low`` and 255 into ``high``."""
    std = 255.0 / (high - low)
    return (0.0 - low * std,) * channels, (std,) * channels
