# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from edgeferry.models import digits as default
from edgeferry.models.config.spec import ModelSpec, read_spec
from edgeferry.models.image_labels import read_labels
from edgeferry.models.images import find_images, read_pixels
from edgeferry.models.keras_loader import load_model
from edgeferry.models.preprocessing import normalise
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.places import ROOT

TRAIN_ONE_EPOCH: Final = """\
import sys
from pathlib import Path
from edgeferry.models import digits
from edgeferry.models.keras_loader import load_model
from edgeferry.models.config.spec import read_spec
digits.EPOCHS = 1
spec = read_spec(Path(sys.argv[1]))
done = []
digits.train(spec, lambda *epochs: done.append(epochs))
print(done, digits.weights_sha256(load_model(spec.model)))
"""


@pytest.fixture
def own(tmp_path: Path) -> ModelSpec:
    """Return the default config with its files below a folder that does not exist yet."""
    path = tmp_path / "digits.toml"
    text = (ROOT / "models" / "digits.toml").read_text(encoding="utf-8")
    path.write_text(text.replace("../build/digits/source/", "source/"), encoding="utf-8")
    return read_spec(path)


@pytest.mark.slow
def test_the_default_classifier_knows_held_out_digits(digits: ModelSpec) -> None:
    golden = find_images(digits.golden)
    images = normalise(read_pixels(golden, digits.preprocessing), digits.preprocessing)
    predicted = load_model(digits.model).predict_on_batch(images).argmax(axis=1)
    assert (predicted == read_labels(golden, digits.labels)).mean() >= 0.97


@pytest.mark.slow
def test_training_golden_and_calibration_images_are_disjoint(digits: ModelSpec) -> None:
    parts = {
        name: [image.tobytes() for image in read_pixels(find_images(digits.golden.with_name(name)), digits.preprocessing)]
        for name in ("golden", "calibration", "train")
    }
    assert {name: len(images) for name, images in parts.items()} == {"golden": 360, "calibration": 200, "train": 1237}
    assert len(set().union(*parts.values())) == 1797


@pytest.mark.slow
def test_every_class_is_in_every_part(digits: ModelSpec) -> None:
    for name in ("golden", "calibration", "train"):
        assert set(find_images(digits.golden.with_name(name)).labels or ()) == set(digits.labels)


@pytest.mark.slow
def test_training_again_in_another_process_gives_the_same_weights(own: ModelSpec) -> None:
    outputs = [
        subprocess.run(
            [sys.executable, "-c", TRAIN_ONE_EPOCH, str(own.path)], capture_output=True, text=True, check=True, timeout=300
        ).stdout.split()
        for _ in range(2)
    ]
    assert outputs[0][:2] == ["[(1,", "1)]"]
    assert len(outputs[0][2]) == 64
    assert outputs[0] == outputs[1]


def test_the_weights_digest_follows_the_weights() -> None:
    model = default.network(10, (32, 32, 1))
    before = default.weights_sha256(model)
    assert default.weights_sha256(model) == before
    kernel, bias = model.layers[-1].get_weights()
    model.layers[-1].set_weights([kernel, bias + np.float32(1e-6)])
    assert default.weights_sha256(model) != before


def test_the_network_has_only_layers_that_edge_devices_run() -> None:
    kinds = [type(layer).__name__ for layer in default.network(10, (32, 32, 1)).layers]
    assert kinds.count("DepthwiseConv2D") == 4
    assert kinds.count("BatchNormalization") == kinds.count("ReLU") == 9
    assert kinds[-1] == "Dense"


def test_training_does_not_replace_a_folder_that_holds_something_else(own: ModelSpec) -> None:
    next_to_config = replace(own, model=own.path.with_name("digits.keras"))
    with pytest.raises(EdgeError, match=r"digits\.toml", check=lambda error: error.code == "EF-training-folder"):
        default.train(next_to_config)
    assert own.path.is_file()


def test_training_on_a_full_disk_leaves_nothing(own: ModelSpec, full_disk: Path) -> None:
    with pytest.raises(EdgeError, match="cannot write .*/source: No space left on device"):
        default.train(replace(own, model=full_disk / "source" / "digits.keras"))
    assert not list(full_disk.iterdir())
