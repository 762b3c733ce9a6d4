# SPDX-License-Identifier: Apache-2.0
"""Fashion-MNIST: ten kinds of clothes, 28 x 28 grays, as Debian packages them or from the user's idx files; trained here."""

from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from edgeferry.models.config.spec import ModelSpec, normalisation_of_range
from edgeferry.models.config.starter import starter_text, toml_list
from edgeferry.models.diagnosis.pictures import chosen_by_class
from edgeferry.models.digits import network
from edgeferry.models.named.idx import find_idx, read_idx
from edgeferry.models.named.named import Named
from edgeferry.models.preprocessing import Preprocessing
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import write_whole

if TYPE_CHECKING:
    import keras
    import numpy as np
    from numpy.typing import NDArray

# Where Debian's package dataset-fashion-mnist has it.
FOLDER: Final = Path("/usr/share/datasets/fashion-mnist")
PACKAGE: Final = "dataset-fashion-mnist"
# The order of the README of Fashion-MNIST.
LABELS: Final = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
NAME: Final = "fashion_mnist"
SIDE: Final = 28
SEED: Final = 7
EPOCHS: Final = 4
BATCH: Final = 64
RATE: Final = 4e-3
# Of 10,000 test images, which are not trained on; and of the images to train on, which are then left out of training.
GOLDEN: Final = 1000
CALIBRATION: Final = 200


class Pairs(NamedTuple):
    """Images [count, 28, 28] and their classes, [count]."""

    images: "NDArray[np.uint8]"
    classes: "NDArray[np.uint8]"


def make(file: Path, images: Path | None) -> None:
    """Write the trained model to a file, and its golden and calibration images and its config next to it.

    Raises:
        EdgeError: the data set is not on this machine, or damaged.
    """
    import numpy as np

    folder = FOLDER if images is None else images.expanduser()
    train, test = _pairs(folder, "train"), _pairs(folder, "t10k")
    kept = np.zeros(len(train.classes), bool)
    kept[list(chosen_by_class(train.classes.astype(np.int64), CALIBRATION))] = True
    golden = list(chosen_by_class(test.classes.astype(np.int64), GOLDEN))
    np.savez_compressed(file.with_name("golden.npz"), images=test.images[golden], labels=test.classes[golden].astype(np.int64))
    np.savez_compressed(file.with_name("calibration.npz"), images=train.images[kept], labels=train.classes[kept].astype(np.int64))
    fit(Pairs(train.images[~kept], train.classes[~kept]), EPOCHS).save(file)
    spec = ModelSpec(
        name=NAME,
        path=file.with_suffix(".toml"),
        model=file,
        labels=LABELS,
        preprocessing=Preprocessing(SIDE, SIDE, "gray", *normalisation_of_range(0, 255, 1)),
        golden=file.with_name("golden.npz"),
        calibration=file.with_name("calibration.npz"),
    )
    assumed = (f"golden images are {len(golden)} of the test images, calibration images {CALIBRATION} that were not trained on",)
    write_whole(spec.path, starter_text(spec, toml_list(LABELS), assumed))


def fit(train: Pairs, epochs: int) -> "keras.Model":
    """Return the network trained on images; the same machine and versions give the same weights."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(SEED)
    tf.config.experimental.enable_op_determinism()
    model = network(len(LABELS), (SIDE, SIDE, 1))
    steps = epochs * -(-len(train.classes) // BATCH)
    rate = keras.optimizers.schedules.CosineDecay(RATE, steps)
    model.compile(optimizer=keras.optimizers.Adam(rate), loss="sparse_categorical_crossentropy")
    model.fit(train.images[..., None].astype("float32"), train.classes, batch_size=BATCH, epochs=epochs, verbose=0)
    return model


def _pairs(folder: Path, part: str) -> Pairs:
    names = (f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte")
    images_file, classes_file = (find_idx(folder, name) for name in names)
    if images_file is None or classes_file is None:
        missing = names[0] if images_file is None else names[1]
        raise EdgeError(
            "EF-data-set-missing",
            f"fashion_mnist needs Fashion-MNIST, and there is no {missing}(.gz) in {folder}. Install Debian's package "
            f"(apt-get install {PACKAGE}), or name the folder of its four idx files with --images FOLDER (with make, "
            "IMAGES=FOLDER).",
        )
    images, classes = read_idx(images_file, 3), read_idx(classes_file, 1)
    if images.shape != (len(classes), SIDE, SIDE) or classes.max() >= len(LABELS):
        raise EdgeError(
            "EF-idx",
            f"{images_file} has the shape {list(images.shape)}, {classes_file.name} {len(classes)} classes up to "
            f"{classes.max()}; expected as many of both, {SIDE} x {SIDE} pixels, classes up to {len(LABELS) - 1}.",
        )
    return Pairs(images, classes)


NAMED: Final = (
    Named(
        NAME,
        "a small network for Fashion-MNIST's ten kinds of clothes, trained here in some minutes",
        "training fashion_mnist, some minutes",
        make,
        has_images=True,
    ),
)
