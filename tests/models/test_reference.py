# SPDX-License-Identifier: Apache-2.0
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

from edgeferry.models.config.spec import ModelSpec, read_spec
from edgeferry.models.decision import Decision, softmax
from edgeferry.models.digits import network
from edgeferry.models.golden.reference_writer import make_reference
from edgeferry.models.golden.scores import check_discriminates, keras_scores, output_kind
from edgeferry.models.golden.uploads import files_in
from edgeferry.models.image_labels import read_labels
from edgeferry.models.images import find_images, read_pixels
from edgeferry.models.keras_loader import load_model
from edgeferry.models.preprocessing import normalise
from edgeferry.models.reference import Reference, changed_config_keys, read_reference, reference_key
from edgeferry.models.system.errors import EdgeError


@pytest.fixture(scope="module")
def kept(colours: ModelSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the colour classifier's reference."""
    folder = tmp_path_factory.mktemp("build") / "reference"
    make_reference(colours, folder)
    return folder


@pytest.fixture(scope="module")
def trained(colours: ModelSpec) -> keras.Model:
    """Return the trained colour classifier."""
    return load_model(colours.model)


@pytest.fixture
def own(colours: ModelSpec, tmp_path: Path) -> ModelSpec:
    """Return the colour classifier's contract and everything it names, copied to be changed."""
    shutil.copytree(colours.path.parent, tmp_path / "own", ignore=shutil.ignore_patterns("train"))
    return read_spec(tmp_path / "own" / colours.path.name)


@pytest.fixture
def spec_of(colours: ModelSpec, tmp_path: Path) -> Callable[..., ModelSpec]:
    """Return a function from another model to the colour classifier's contract naming it."""

    def saved(model: keras.Model, **changes: Any) -> ModelSpec:
        model.save(tmp_path / "other.keras")
        return replace(colours, model=tmp_path / "other.keras", **changes)

    return saved


def with_head(trained: keras.Model, activation: str) -> keras.Model:
    """Return the trained network with another activation after its last weights."""
    last = layers.Dense(4, activation=activation)
    model = keras.Model(trained.inputs, last(trained.layers[-2].output))
    last.set_weights(trained.layers[-1].get_weights())
    return model


def reference_of(spec: ModelSpec, folder: Path) -> Reference:
    reference = make_reference(spec, folder)
    assert read_reference(folder) == reference
    return reference


# What a reference is.


def test_the_reference_says_what_the_original_answers(colours: ModelSpec, kept: Path, trained: keras.Model) -> None:
    pixels, labels, scores = (np.load(kept / f"{name}.npy") for name in ("pixels", "labels", "scores"))
    golden = find_images(colours.golden)
    assert np.array_equal(pixels, read_pixels(golden, colours.preprocessing))
    assert np.array_equal(labels, read_labels(golden, colours.labels))
    assert np.allclose(scores, trained.predict_on_batch(normalise(pixels, colours.preprocessing)), atol=1e-6)
    assert np.array_equal(np.load(kept / "calibration.npy"), read_pixels(find_images(colours.calibration), colours.preprocessing))


def test_the_reference_states_its_facts(colours: ModelSpec, kept: Path) -> None:
    reference = read_reference(kept)
    assert reference is not None
    assert (reference.images, reference.output, reference.labels) == (160, "probabilities", colours.labels)
    assert reference.accuracy >= 0.97
    assert reference.key == reference_key(colours)
    assert reference.calibration_digest == find_images(colours.calibration).digest
    assert reference.preprocessing == colours.preprocessing
    arrays = {"pixels.npy", "labels.npy", "scores.npy", "calibration.npy", "order.npy", "uploads.npy"}
    arrays |= {"probes.npy", "probe_scores.npy"}
    assert {name for name in reference.files if "/" not in name} == arrays
    assert len(reference.files) - len(arrays) == len(files_in(kept)) == 17


def test_the_colour_classifier_tells_swapped_channels_apart(colours: ModelSpec, kept: Path, trained: keras.Model) -> None:
    swapped = np.load(kept / "pixels.npy")[..., ::-1]
    answers = trained.predict_on_batch(normalise(swapped, colours.preprocessing)).argmax(axis=1)
    assert (answers == np.load(kept / "labels.npy")).mean() < 0.1


def test_a_reference_may_do_without_calibration(colours: ModelSpec, tmp_path: Path) -> None:
    reference = reference_of(replace(colours, calibration=None), tmp_path / "reference")
    assert reference.calibration_digest is None
    assert "calibration.npy" not in reference.files


def test_logits_are_seen_and_kept_as_probabilities(
    trained: keras.Model, spec_of: Callable[..., ModelSpec], kept: Path, tmp_path: Path
) -> None:
    reference = reference_of(spec_of(with_head(trained, "linear")), tmp_path / "reference")
    assert reference.output == "logits"
    assert np.allclose(np.load(tmp_path / "reference" / "scores.npy"), np.load(kept / "scores.npy"), atol=1e-6)


def test_large_logits_do_not_overflow() -> None:
    assert softmax(np.array([[1000, 999, -1000]], np.float32))[0] == pytest.approx([0.7310586, 0.26894143, 0], abs=1e-6)


# What is no reference.


def test_an_untrained_network_is_refused_with_what_was_seen(spec_of: Callable[..., ModelSpec], tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    said = (
        r"cannot serve as the reference \(160 golden images, \d classes predicted, spread 0\.0\d\d, accuracy \d+\.\d%\): "
        r"its outputs do not differ between images, so any artifact would agree\. Is it trained\?"
    )
    with pytest.raises(EdgeError, match=said):
        make_reference(spec_of(network(4, (24, 20, 3))), tmp_path / "reference")
    assert not (tmp_path / "reference").exists()


def test_constant_answers_are_refused(trained: keras.Model, spec_of: Callable[..., ModelSpec], tmp_path: Path) -> None:
    model = with_head(trained, "softmax")
    model.layers[-1].set_weights([np.zeros((16, 4)), np.array([0, 5, 0, 0])])
    with pytest.raises(
        EdgeError,
        match=r"1 classes predicted, spread 0\.000, accuracy 25\.0%",
        check=lambda error: error.code == "EF-model-untrained",
    ):
        make_reference(spec_of(model), tmp_path / "reference")


def test_answers_that_are_no_numbers_are_refused(spec_of: Callable[..., ModelSpec], tmp_path: Path) -> None:
    x = keras.Input((24, 20, 3))
    model = keras.Model(x, layers.Dense(4, activation="softmax")(layers.Flatten()(keras.ops.log(x - 1000))))
    with pytest.raises(
        EdgeError,
        match="160 of 160 golden images; the first is blue/001.png; check input.range",
        check=lambda error: error.code == "EF-model-not-finite",
    ):
        make_reference(spec_of(model), tmp_path / "reference")


def test_one_answer_that_is_no_number_is_enough(colours: ModelSpec) -> None:
    scores = iter([np.full((32, 4), 0.25), np.array([[0.25, 0.25, np.inf, 0.25]])])
    with pytest.raises(
        EdgeError, match="1 of 33 golden images; the first is image 32;", check=lambda error: error.code == "EF-model-not-finite"
    ):
        keras_scores(lambda _: next(scores), np.zeros((33, 24, 20, 3), np.uint8), colours)


def test_a_sigmoid_a_class_is_refused(trained: keras.Model, spec_of: Callable[..., ModelSpec], tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match="sigmoid", check=lambda error: error.code == "EF-model-output"):
        make_reference(spec_of(with_head(trained, "sigmoid")), tmp_path / "reference")


@pytest.mark.parametrize("suffix", [".png", ".bmp"])
def test_a_calibration_image_that_is_golden_too_is_refused(own: ModelSpec, tmp_path: Path, suffix: str) -> None:
    # The same file under another name, and the same pixels in another format.
    with Image.open(next(own.golden.glob("red/*.png"))) as golden:
        golden.save(own.calibration / "blue" / f"copy{suffix}")
    said = rf"1 calibration images are golden images too, copy\{suffix} among them; .* Remove them from one of the two"
    with pytest.raises(EdgeError, match=said):
        make_reference(own, tmp_path / "reference")


def scores_of(predicted: list[int], classes: int = 4) -> np.ndarray:
    return np.eye(classes, dtype=np.float32)[predicted]


@pytest.mark.parametrize(
    ("predicted", "labels", "said"),
    [
        ([0, 0, 0, 0, 0, 0, 0, 1] * 5, [0, 1, 2, 3, 3, 2, 1, 0] * 5, r"accuracy 12\.5%\): guessing reaches 25\.0%"),
        ([0] * 16, [0, 1, 2, 3] * 4, r"1 classes predicted, spread 0\.000, accuracy 25\.0%\): its outputs do not differ"),
        ([2] * 16, [2] * 16, r"golden: every golden image has the label 'yellow'; expected some of each label"),
        ([0, 1], [0, 1], r"golden: holds 2 golden images; expected at least 3, to tell a model from guessing"),
    ],
)
def test_answers_that_prove_nothing_are_refused(colours: ModelSpec, predicted: list[int], labels: list[int], said: str) -> None:
    with pytest.raises(EdgeError, match=said):
        check_discriminates(scores_of(predicted), np.array(labels), colours)


def test_too_few_classes_among_the_answers_are_refused(colours: ModelSpec) -> None:
    # The answers differ, but never which class is first.
    scores = np.array([[0.9, 0.1, 0, 0], [0.5, 0.2, 0.3, 0]] * 20, np.float32)
    with pytest.raises(EdgeError, match=r"1 classes predicted, .*\): expected at least 2 predicted classes"):
        check_discriminates(scores, np.array([0, 1, 2, 3] * 10), colours)


@pytest.mark.parametrize("classes", [2, 3, 4, 10])
def test_the_fewest_images_asked_for_are_enough(colours: ModelSpec, classes: int) -> None:
    fewest = -(-9 // (classes - 1))
    labels = [number % classes for number in range(max(2, fewest))]
    check_discriminates(scores_of(labels, classes), np.array(labels), replace(colours, labels=tuple("0123456789"[:classes])))


@pytest.mark.parametrize(
    ("scores", "output", "kind"),
    [
        ([[0.2, 0.8], [1.0, 0.0]], "auto", "probabilities"),
        ([[0.2, 0.8], [1.0, 0.0]], "probabilities", "probabilities"),
        ([[2.0, -8.0], [1.0, 0.0]], "auto", "logits"),
        ([[0.2, 0.9], [1.0, 0.5]], "logits", "logits"),
        ([[0.2, 0.9], [1.0, 0.5]], "multilabel", "multilabel"),
        ([[0.2, 0.8], [1.0, 0.0]], "multilabel", "multilabel"),
    ],
)
def test_the_kind_of_answer_is_seen_or_told(colours: ModelSpec, scores: list[list[float]], output: str, kind: str) -> None:
    assert output_kind(np.array(scores, np.float32), replace(colours, output=output)) == kind


@pytest.mark.parametrize(
    ("scores", "output", "said"),
    [
        ([[0.2, 0.8], [1.0, 0.0]], "logits", r"model\.output is 'logits', but every output sums to 1"),
        ([[2.0, -8.0], [1.0, 0.0]], "probabilities", r"sum to -6 to 1 per image"),
        ([[0.2, 0.9], [1.0, 0.5]], "auto", r"sum to 1\.1 to 1\.5 per image[^*]*set model\.output = 'multilabel'"),
        ([[2.0, -8.0], [1.0, 0.0]], "multilabel", r"outputs are from -8 to 2; expected one sigmoid per label"),
    ],
)
def test_an_answer_of_another_kind_than_told_is_refused(
    colours: ModelSpec, scores: list[list[float]], output: str, said: str
) -> None:
    with pytest.raises(EdgeError, match=said):
        output_kind(np.array(scores, np.float32), replace(colours, output=output))


# Several labels of one image.


def test_the_reference_of_several_labels_is_right_where_each_label_of_an_image_is(
    trained: keras.Model, spec_of: Callable[..., ModelSpec], tmp_path: Path
) -> None:
    spec = spec_of(with_head(trained, "sigmoid"), output="multilabel", threshold=0.9)
    reference = reference_of(spec, tmp_path / "reference")
    scores, labels = (np.load(tmp_path / "reference" / f"{name}.npy") for name in ("scores", "labels"))
    assert (reference.output, reference.threshold) == ("multilabel", 0.9)
    assert labels.shape == scores.shape
    assert (labels.sum(axis=1) == 1).all()
    assert reference.accuracy == ((scores >= 0.9) == labels).all(axis=1).mean()


def test_probabilities_that_do_not_go_with_the_labels_are_refused(colours: ModelSpec) -> None:
    spec = replace(colours, output="multilabel")
    labels = np.random.default_rng(0).integers(0, 2, (200, 4))
    scores = np.random.default_rng(1).random((200, 4), np.float32)
    check_discriminates((scores * 0.5 + labels * 0.4).astype(np.float32), labels, spec, Decision(is_multilabel=True))
    with pytest.raises(EdgeError, match=r"sets of labels predicted.*its probabilities do not go with the labels"):
        check_discriminates(scores, labels, spec, Decision(is_multilabel=True))
    with pytest.raises(EdgeError, match=r"every golden image has the label 'red' and 'yellow'"):
        check_discriminates(scores, labels * 0 + [1, 0, 1, 0], spec, Decision(is_multilabel=True))


# What it is known by.


def test_the_key_stays_while_nothing_changes(own: ModelSpec, colours: ModelSpec) -> None:
    os.utime(own.model, (1, 1))
    assert reference_key(own) == reference_key(colours)


def change_model(spec: ModelSpec) -> ModelSpec:
    with spec.model.open("ab") as file:
        file.write(b"\0")
    return spec


def change_golden(spec: ModelSpec) -> ModelSpec:
    next(spec.golden.glob("red/*.png")).unlink()
    return spec


def change_golden_label(spec: ModelSpec) -> ModelSpec:
    image = next(spec.golden.glob("red/*.png"))
    image.rename(spec.golden / "blue" / image.name)
    return spec


def change_calibration(spec: ModelSpec) -> ModelSpec:
    next(spec.calibration.glob("red/*.png")).unlink()
    return spec


@pytest.mark.parametrize(
    "change",
    [
        change_model,
        change_golden,
        change_golden_label,
        change_calibration,
        lambda spec: replace(spec, calibration=None),
        lambda spec: replace(spec, labels=("red", "blue", "gold", "cyan")),
        lambda spec: replace(spec, output="probabilities"),
        lambda spec: replace(spec, expected_accuracy=0.9),
        lambda spec: replace(spec, preprocessing=replace(spec.preprocessing, fit="pad")),
    ],
    ids=[
        "model",
        "golden",
        "golden-label",
        "calibration",
        "no-calibration",
        "labels",
        "output",
        "expected-accuracy",
        "preprocessing",
    ],
)
def test_the_key_follows_everything_the_reference_follows_from(own: ModelSpec, change: Callable[[ModelSpec], ModelSpec]) -> None:
    before = reference_key(own)
    assert reference_key(change(own)) != before


def test_a_model_that_is_not_there_has_no_key(own: ModelSpec) -> None:
    own.model.unlink()
    with pytest.raises(EdgeError, match=r"colours\.toml: model\.file names .*colours\.keras, which does not exist"):
        reference_key(own)


def test_a_folder_that_is_no_savedmodel_has_no_key(own: ModelSpec) -> None:
    own.model.unlink()
    own.model.mkdir()
    with pytest.raises(EdgeError, match=r"is a folder without saved_model\.pb"):
        reference_key(own)


# What is kept on disk.


def edit_facts(folder: Path, **changes: Any) -> None:
    path = folder / "reference.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: np.save(folder / "scores.npy", np.zeros((160, 4), np.float32)),
        lambda folder: (folder / "labels.npy").unlink(),
        lambda folder: (folder / "more.npy").touch(),
        lambda folder: (folder / "reference.json").unlink(),
        *(lambda folder, text=text: (folder / "reference.json").write_text(text) for text in ("", "{", "5", "[]", "null", '"a"')),
        lambda folder: edit_facts(folder, schema=1),
        lambda folder: edit_facts(folder, labels=None),
        lambda folder: edit_facts(folder, unheard_of=1),
        lambda folder: edit_facts(folder, files={}),
        shutil.rmtree,
    ],
)
def test_a_spoiled_reference_is_none(kept: Path, tmp_path: Path, spoil: Callable[[Path], object]) -> None:
    shutil.copytree(kept, tmp_path / "reference")
    assert read_reference(tmp_path / "reference") is not None
    spoil(tmp_path / "reference")
    assert read_reference(tmp_path / "reference") is None


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_interrupted_reference_leaves_the_old_one(
    colours: ModelSpec, kept: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException | type[BaseException]
) -> None:
    before, save = read_reference(kept), np.save

    def interrupted(path: Path, array: np.ndarray) -> None:
        if path.name == "scores.npy":
            raise error
        save(path, array)

    monkeypatch.setattr(np, "save", interrupted)
    with pytest.raises((KeyboardInterrupt, EdgeError)):
        make_reference(colours, kept)
    assert read_reference(kept) == before
    assert [path.name for path in kept.parent.iterdir()] == ["reference"]


def test_a_reference_that_does_not_fit_leaves_nothing(colours: ModelSpec, full_disk: Path) -> None:
    with pytest.raises(EdgeError, match="cannot write .*/reference: No space left on device"):
        make_reference(colours, full_disk / "reference")
    assert not list(full_disk.iterdir())


def test_reading_a_reference_needs_no_framework(kept: Path) -> None:
    code = "import sys; from pathlib import Path; from edgeferry.models.reference import read_reference; "
    code += "sys.exit(read_reference(Path(sys.argv[1])) is None or bool({'keras', 'tensorflow', 'PIL'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code, str(kept)], check=True, timeout=60)


def test_changed_config_keys_are_named(colours: ModelSpec, tmp_path: Path) -> None:
    reference = make_reference(colours, tmp_path / "reference")
    assert changed_config_keys(colours, reference) == ()
    assert changed_config_keys(replace(colours, labels=colours.labels[::-1]), reference) == ("model.labels",)
    other = replace(colours.preprocessing, fit="pad")
    assert changed_config_keys(replace(colours, preprocessing=other, golden=colours.calibration), reference) == (
        "input",
        "data.golden",
    )  # type: ignore[arg-type]


def test_absent_images_are_not_reported_as_changed(colours: ModelSpec, tmp_path: Path) -> None:
    reference = make_reference(colours, tmp_path / "reference")
    assert changed_config_keys(replace(colours, golden=tmp_path / "elsewhere", calibration=None), reference) == ()
