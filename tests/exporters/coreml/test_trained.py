# SPDX-License-Identifier: Apache-2.0
"""MobileNetV2's blocks and a vision transformer's, trained here, in every Core ML format, evaluated from the files on disk."""

import inspect
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from edgeferry.benchmarks.parity.bench import open_bench
from edgeferry.benchmarks.parity.rows import Row
from edgeferry.benchmarks.parity.run import run_all
from edgeferry.exporters.coreml.formats import FORMATS
from edgeferry.models.config.spec import ModelSpec, read_spec
from edgeferry.models.image_labels import read_labels
from edgeferry.models.images import find_images, read_pixels
from edgeferry.models.preprocessing import normalise
from edgeferry.targets.target import choose

pytestmark = pytest.mark.early

SIDE: Final = 32
EPOCHS: Final = 8
BATCH: Final = 32
# Of each class: the evaluator takes 15 ms for an image.
GOLDEN: Final = 20
NAMES: Final = tuple(form.name for form in FORMATS if form.by_default)
TOML: Final = """\
[model]
file = "model.keras"
labels = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]
[input]
shape = [32, 32, 3]
colour = "rgb"
range = [-1, 1]
resize = "bilinear"
fit = "stretch"
[data]
golden = "golden"
"""


def _mobilenet(keras: Any) -> Any:
    """Return MobileNetV2's stem, head and each kind of its blocks; tests/targets/mil evaluates all 17 blocks, untrained."""
    layers = keras.layers

    def normalised(x: Any) -> Any:
        # For a short training: with the application's 0.999, the initial statistics still dominate after 300 steps.
        return layers.BatchNormalization(epsilon=1e-3, momentum=0.9)(x)

    def inverted(x: Any, filters: int, strides: int = 1, expansion: int = 6) -> Any:
        y = x
        if expansion > 1:
            y = layers.ReLU(6.0)(normalised(layers.Conv2D(expansion * x.shape[-1], 1, use_bias=False)(x)))
        if strides == 2:
            y = layers.ZeroPadding2D(((0, 1), (0, 1)))(y)
        padding = "valid" if strides == 2 else "same"
        y = layers.ReLU(6.0)(normalised(layers.DepthwiseConv2D(3, strides, padding, use_bias=False)(y)))
        y = normalised(layers.Conv2D(filters, 1, use_bias=False)(y))
        return layers.Add()([x, y]) if strides == 1 and filters == x.shape[-1] else y

    image = layers.Input((SIDE, SIDE, 3))
    x = layers.ReLU(6.0)(normalised(layers.Conv2D(16, 3, 2, "same", use_bias=False)(image)))
    x = inverted(inverted(x, 8, expansion=1), 8, 2)
    x = inverted(inverted(inverted(x, 8), 16, 2), 24)
    x = layers.ReLU(6.0)(normalised(layers.Conv2D(1280, 1, use_bias=False)(x)))
    return keras.Model(image, layers.Dense(10, activation="softmax")(layers.GlobalAveragePooling2D()(x)))


def _vision_transformer(keras: Any) -> Any:
    layers = keras.layers
    image = layers.Input((SIDE, SIDE, 3))
    x = layers.Reshape((-1, 32))(layers.Conv2D(32, 4, 4)(image))
    y = layers.LayerNormalization(epsilon=1e-6)(x)
    x = layers.Add()([x, layers.MultiHeadAttention(4, 8)(y, y)])
    y = layers.Dense(64, activation="gelu")(layers.LayerNormalization(epsilon=1e-6)(x))
    x = layers.Add()([x, layers.Dense(32)(y)])
    x = layers.Flatten()(layers.LayerNormalization(epsilon=1e-6)(x))
    return keras.Model(image, layers.Dense(10, activation="softmax")(x))


NETWORKS: Final = {each.__name__.strip("_"): each for each in (_mobilenet, _vision_transformer)}


def _trained(name: str, images: Path, spec: ModelSpec) -> Any:
    import keras

    keras.utils.set_random_seed(5)
    model, how, found = NETWORKS[name](keras), spec.preprocessing, find_images(images)
    inputs, classes = normalise(read_pixels(found, how), how), read_labels(found, spec.labels)
    # Without the decay the last steps leave a network that fewer bits move by as much as the tolerance, on some processors.
    rate = keras.optimizers.schedules.CosineDecay(4e-3, EPOCHS * -(-len(inputs) // BATCH))
    model.compile(optimizer=keras.optimizers.Adam(rate), loss="sparse_categorical_crossentropy")
    # Built by the first step, it would have TensorFlow trace that step twice.
    model.optimizer.build(model.trainable_variables)
    model.fit(inputs, classes, batch_size=BATCH, epochs=EPOCHS, verbose=0)
    return model


@pytest.fixture(scope="module", params=NETWORKS)
def rows(
    request: pytest.FixtureRequest, digits: ModelSpec, trained_kept: Callable[..., ModelSpec], export_kept: Callable[..., Any]
) -> dict[str, Row]:
    """Return the rows of one network's Core ML packages."""
    name, images = request.param, digits.model.parent

    def train(folder: Path) -> None:
        shutil.copytree(images / "train", folder / "train")
        for label in (images / "golden").iterdir():
            (folder / "golden" / label.name).mkdir(parents=True)
            for image in sorted(label.iterdir())[:GOLDEN]:
                shutil.copy(image, folder / "golden" / label.name)
        (folder / f"{name}.toml").write_text(TOML, encoding="utf-8")
        spec = read_spec(folder / f"{name}.toml")
        _trained(name, folder / "train", spec).save(spec.model)

    sources = [
        TOML,
        SIDE,
        EPOCHS,
        BATCH,
        GOLDEN,
        find_images(images / "train").digest,
        *map(inspect.getsource, (NETWORKS[name], _trained)),
    ]
    spec = trained_kept(name, train, sources)
    build, exports = export_kept(spec, NAMES)[1:]
    assert [each.reason for each in exports.values() if each.state not in {"written", "kept"}] == []
    return {row.format: row for row in run_all(open_bench(build, choose(("coreml-reference",)), lambda *_: None, reuse=False))}


@pytest.mark.slow
def test_it_was_trained(rows: dict[str, Row]) -> None:
    assert min(row.reference_accuracy or 0 for row in rows.values()) > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_each_format_passes(name: str, rows: dict[str, Row]) -> None:
    assert rows[name].outcome == "passed", rows[name].reason


@pytest.mark.slow
def test_float32_predicts_every_image_as_keras_does(rows: dict[str, Row]) -> None:
    row = rows["coreml-float32"]
    assert row.metric("top1_agreement") == 1
    assert (row.metric("p99_difference") or 0) <= 1e-3
    assert (row.metric("mean_difference") or 0) <= 1e-4
