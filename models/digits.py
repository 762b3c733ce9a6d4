# SPDX-License-Identifier: Apache-2.0
"""The default classifier: a small depthwise-separable network for the handwritten digits that scikit-learn ships.

Nothing is downloaded. Training is seeded and deterministic: the same machine and versions give the same weights, bit for bit.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.image_labels import read_labels
from edgeferry.models.images import find_images, read_pixels
from edgeferry.models.preprocessing import normalise
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import whole_folder

if TYPE_CHECKING:
    import keras
    import numpy as np
    from numpy.typing import NDArray

SEED: Final = 7
EPOCHS: Final = 30
BATCH: Final = 32
# Of 1797 images one fifth is golden, and 200 of the rest are for calibration; neither is trained on.
GOLDEN: Final = 360
CALIBRATION: Final = 200
LEVELS: Final = 16


def train(spec: ModelSpec, progress: Callable[[int, int], None] = lambda _done, _total: None) -> None:
    """Write the trained classifier, its golden and its calibration images to the folder the config names, whole or not at all.

    ``progress`` is called with the epochs done and their total.

    Raises:
        EdgeError: the folder holds other files, which would be lost.
    """
    folder = spec.model.parent
    others = {each.name for each in folder.glob("*")} - {spec.model.name, "golden", "calibration", "train"}
    if others:
        raise EdgeError(
            "EF-training-folder",
            f"{spec.path}: model.file is in {folder}, which training replaces and which also holds {min(others)}; "
            "name a folder of its own.",
        )
    with whole_folder(folder) as place:
        _write_images(place)
        model = fit(place / "train", spec, progress)
        model.save(place / spec.model.name)


def fit(images: Path, spec: ModelSpec, progress: Callable[[int, int], None]) -> "keras.Model":
    """Return the network trained on a folder of images, prepared as the config says."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(SEED)
    tf.config.experimental.enable_op_determinism()
    found = find_images(images)
    pixels, classes = read_pixels(found, spec.preprocessing), read_labels(found, spec.labels)
    model = network(len(spec.labels), (spec.preprocessing.height, spec.preprocessing.width, spec.preprocessing.channels))
    steps = len(pixels) // BATCH
    model.compile(
        optimizer=keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(4e-3, EPOCHS * steps)),
        loss="sparse_categorical_crossentropy",
    )
    # Built by the first step, it would have TensorFlow trace that step twice.
    model.optimizer.build(model.trainable_variables)
    report = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, _: progress(epoch + 1, EPOCHS))
    batches = _shifted(normalise(pixels, spec.preprocessing), classes, spec)
    model.fit(batches, epochs=EPOCHS, steps_per_epoch=steps, verbose=0, callbacks=[report])
    return model


def network(classes: int, shape: tuple[int, int, int]) -> "keras.Model":
    """Return the untrained network: convolution, four depthwise-separable blocks, a Dense softmax head."""
    import keras
    from keras import layers

    image = keras.Input(shape, name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1)(image)
    x = _normalised(layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False)(x))
    for filters, strides in ((32, 1), (48, 2), (64, 1), (96, 2)):
        x = _normalised(layers.DepthwiseConv2D(3, strides=strides, padding="same", use_bias=False)(x))
        x = _normalised(layers.Conv2D(filters, 1, use_bias=False)(x))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(classes, activation="softmax", name="probabilities")(x), name="digits")


def weights_sha256(model: "keras.Model") -> str:
    """Return the digest of all weights; the digest of the file changes with the date it was saved."""
    return hashlib.sha256(b"".join(weight.numpy().tobytes() for weight in model.weights)).hexdigest()


def _normalised(x: "keras.KerasTensor") -> "keras.KerasTensor":
    from keras import layers

    return layers.ReLU(6.0)(layers.BatchNormalization()(x))


def _shifted(images: "NDArray[np.float32]", classes: "NDArray[np.int64]", spec: ModelSpec) -> "object":
    """Return endless batches in a seeded order, each image shifted by up to 3 of 32 pixels."""
    import tensorflow as tf

    how = spec.preprocessing
    padded = tf.pad(images, [[0, 0], [3, 3], [3, 3], [0, 0]])

    def moved(at: "tf.Tensor", pair: "tuple[tf.Tensor, tf.Tensor]") -> "tuple[tf.Tensor, tf.Tensor]":
        seed = tf.stack([SEED, tf.cast(at, tf.int32)])
        return tf.image.stateless_random_crop(pair[0], (how.height, how.width, how.channels), seed=seed), pair[1]

    numbered = tf.data.Dataset.from_tensor_slices((padded, classes)).shuffle(len(images), seed=SEED)
    return numbered.repeat().enumerate().map(moved).batch(BATCH)


def _write_images(place: Path) -> None:
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(SEED).permutation(len(digits.images))
    parts = {
        "golden": order[:GOLDEN],
        "calibration": order[GOLDEN : GOLDEN + CALIBRATION],
        "train": order[GOLDEN + CALIBRATION :],
    }
    for part, numbers in parts.items():
        for number in numbers:
            file = place / part / str(digits.target[number]) / f"{number:04}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            grays = np.round(digits.images[number] * (255 / LEVELS)).astype(np.uint8)
            Image.fromarray(grays).save(file)
