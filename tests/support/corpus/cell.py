# SPDX-License-Identifier: Apache-2.0
"""A network of the corpus as a classifier of digits, exported, run and judged: one outcome for each format."""

import re
import tempfile
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from corpus.network import SIZE, Network, networks
from edgeferry.benchmarks.parity.judging.expected import images_to_run, read_expected
from edgeferry.benchmarks.parity.judging.verdict import judge
from edgeferry.exporters.graph.simulation.simulation import simulate
from edgeferry.exporters.graph.source import Source, read_source
from edgeferry.exporters.worker import write_source
from edgeferry.models.artifact import read_artifact
from edgeferry.models.config.spec import ModelSpec, normalisation_of_range
from edgeferry.models.golden.reference_writer import make_reference
from edgeferry.models.preprocessing import Preprocessing
from edgeferry.models.reference import REFERENCE
from edgeferry.models.system.errors import EdgeError
from edgeferry.targets.target import Job, targets

if TYPE_CHECKING:
    import keras
    import numpy as np
    from numpy.typing import NDArray

CLASSES: Final = 10
TRAINED, CALIBRATION, GOLDEN = 500, 100, 100
# Each format with a runtime that runs it here.
FORMATS: Final = {
    "tflite-float32": "litert-builtin",
    "tflite-int8": "litert-builtin",
    "onnx-float32": "onnxruntime-cpu",
    "coreml-float32": "coreml-reference",
    "tfjs-float32": "node-wasm",
}
# What is lacking, in the errors that say so.
LACKING: Final = (
    re.compile(r"computes (\w+)"),
    re.compile(r"^(\w+) of the layer"),
    re.compile(r"(only supports tensors with rank <= 5)"),
)
# How far a fitted head's weights are kept small: large ones would amplify rounding, as no trained classifier does.
RIDGE: Final = 0.2


@dataclass(frozen=True)
class Outcome:
    """What became of a network in a format, and why: the code of the error and what is lacking, or the verdict's reason.

    'exact': every image is within the tolerance of float32. 'within': the verdict passed, as 8 bits explain it. 'beyond': the
    verdict failed, or the file did not run. 'not run': no runtime here runs it. 'refused': the export was refused with an error
    that has a code. 'error': it ended without one.
    """

    state: str
    why: str = ""


@cache
def pictures() -> "tuple[NDArray[np.uint8], NDArray[np.int64]]":
    """Return digits in colours, uint8, [count, 24, 24, 3], and their classes."""
    import numpy as np
    from sklearn.datasets import load_digits

    found, draw = load_digits(), np.random.default_rng(3)
    count = TRAINED + CALIBRATION + GOLDEN
    ink = np.kron(found.images[:count] / 16, np.ones((1, 3, 3)))[..., None] * draw.uniform(0.5, 1.0, (count, 1, 1, 3))
    noisy = 255 * ink + draw.normal(20, 12, (count, SIZE, SIZE, 3))
    return noisy.clip(0, 255).astype(np.uint8), found.target[:count]


def classifier_of(network: Network) -> "keras.Model":
    """Return the network with a head that is fitted to the digits in closed form."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(11)
    image = keras.Input((SIZE, SIZE, 3))
    features = layers.Flatten()(network.block(_given(network.on, image)))
    return keras.Model(image, _fitted(image, features), name=_plain(network.name))


def _plain(name: str) -> str:
    return "".join(each if each.isalnum() else "_" for each in name)


def _given(on: str, image: Any) -> Any:
    from keras import initializers, layers

    if on == "image":
        return image
    wide = initializers.RandomNormal(stddev=0.45, seed=5)
    features = layers.Conv2D(8, 5, strides=2, padding="same", kernel_initializer=wide, name="stem")(image)
    if on == "features":
        return features
    if on == "rows":
        return layers.Reshape((12, 96))(features)
    return layers.Dense(32, kernel_initializer=initializers.RandomNormal(stddev=0.1, seed=6))(layers.Flatten()(features))


def _fitted(image: Any, features: Any) -> Any:
    """Return probabilities from features, by a ridge regression of standardized features onto the classes."""
    import keras
    import numpy as np
    from keras import layers

    pixels, classes = pictures()
    values = keras.Model(image, features).predict(pixels[:TRAINED] / np.float32(255), verbose=0, batch_size=100).astype("float64")
    mean, deviation = values.mean(axis=0), values.std() * values.shape[1] ** 0.5
    standard = (values - mean) / deviation
    wanted = 10.0 * (np.eye(CLASSES)[classes[:TRAINED]] - 0.5)
    gram = standard @ standard.T
    kept = gram + RIDGE * np.trace(gram) / TRAINED * np.eye(TRAINED)
    weights = standard.T @ np.linalg.solve(kept, wanted - wanted.mean(axis=0)) / deviation
    head = layers.Dense(CLASSES, activation="softmax", name="head")
    scores = head(features)
    head.set_weights([weights.astype("float32"), (wanted.mean(axis=0) - mean @ weights).astype("float32")])
    return scores


def spec_of(model: "keras.Model", folder: Path) -> ModelSpec:
    """Return the config of a classifier saved in a folder, with golden and calibration images next to it."""
    import numpy as np

    pixels, classes = pictures()
    labels = tuple(map(str, range(CLASSES)))
    parts = {"calibration": slice(TRAINED, TRAINED + CALIBRATION), "golden": slice(TRAINED + CALIBRATION, None)}
    for name, part in parts.items():
        np.savez(folder / f"{name}.npz", images=pixels[part], labels=np.array(labels)[classes[part]])
    model.save(folder / "model.keras")
    how = Preprocessing(SIZE, SIZE, "rgb", *normalisation_of_range(0, 1, 3), "bilinear", "stretch")
    return ModelSpec(
        model.name, folder / "model.toml", folder / "model.keras", labels, how, folder / "golden.npz", folder / "calibration.npz"
    )


def outcomes(network: Network, folder: Path, names: tuple[str, ...] = tuple(FORMATS)) -> dict[str, Outcome]:
    """Return what becomes of a network in each format; a folder of its own is filled."""
    spec = spec_of(classifier_of(network), folder)
    build = folder / "build"
    build.mkdir()
    make_reference(spec, build / REFERENCE)
    source = read_source(spec, build / REFERENCE)
    return {name: _outcome(source, build, name) for name in names}


def cells_of(name: str) -> dict[str, tuple[str, str]]:
    """Return the state and the reason of one network in each format, by name."""
    with tempfile.TemporaryDirectory() as folder:
        found = outcomes(networks()[name], Path(folder))
    return {form: (each.state, each.why) for form, each in found.items()}


def named_cells(name: str) -> tuple[str, dict[str, tuple[str, str]]]:
    """Return the name of a network and its cells; one that cannot be judged at all is an error in every format."""
    try:
        return name, cells_of(name)
    except Exception as error:  # noqa: BLE001 - the table says so, and the other networks go on
        why = f"{type(error).__name__}: {str(error).strip().splitlines()[-1][:200]}"
        return name, dict.fromkeys(FORMATS, ("error", why))


def _outcome(source: Source, build: Path, name: str) -> Outcome:
    try:
        write_source(source, build, name, {"tools": {}, "options": {}, "tolerance": {}})
    except EdgeError as error:
        return Outcome("refused", _plainly(error, source))
    except Exception as error:  # noqa: BLE001 - what a user would see as an error of the converter
        return Outcome("error", f"{type(error).__name__}: {str(error).strip().splitlines()[-1][:200]}")
    try:
        return _judged(source, build, name)
    except EdgeError as error:
        # The runtime that stands in for Core ML has not every operation.
        return Outcome("not run", _plainly(error, source))
    except Exception as error:  # noqa: BLE001 - a row that failed
        return Outcome("beyond", f"it does not run: {type(error).__name__}: {str(error).strip().splitlines()[-1][:200]}")


def _plainly(error: EdgeError, source: Source) -> str:
    """Return what an error says is lacking, without the file, the layer and what to do, which are the same for every network."""
    text = str(error).removeprefix(f"{source.spec.model}: ")
    for pattern in LACKING:
        if found := pattern.search(text):
            return f"{error.code}: {found[1]}"
    return f"{error.code}: {text.partition('. ')[0][:120]}"


def _judged(source: Source, build: Path, name: str) -> Outcome:
    import numpy as np

    artifact = read_artifact(build / name)
    images, work = images_to_run(build), build / f"run-{name}"
    work.mkdir()
    run = targets()[FORMATS[name]].run(Job(build / name, images, work, warmup=0, rounds=1))
    expected = read_expected(build / REFERENCE, artifact.labels)
    is_float = artifact.precision == "float32"
    if artifact.precision and not is_float:
        expected = replace(expected, simulated=simulate(source, artifact.precision, np.load(images)))
    verdict = judge(run.scores, run.labels, artifact, expected)
    if verdict.outcome == "failed":
        return Outcome("beyond", verdict.reason)
    return Outcome("exact" if is_float else "within")
