# SPDX-License-Identifier: Apache-2.0
"""Images that changed are found, those that did not are not: comparisons of the digits' own images."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from numpy.typing import NDArray

import edgeferry.benchmarks.drift
from edgeferry.benchmarks.drift.comparison import LEVEL, Comparison, compare
from edgeferry.benchmarks.drift.features import answer_features, image_features
from edgeferry.benchmarks.drift.run import drift_of
from edgeferry.models.system.errors import EdgeError

Scored = tuple[NDArray[np.uint8], NDArray[np.float32]]


@pytest.fixture
def scored(exported_digits: Any) -> Scored:
    """Return the digits' golden pixels and probabilities, shuffled."""
    reference, order = exported_digits.build / "reference", np.random.default_rng(3).permutation(360)
    return np.load(reference / "pixels.npy")[order], np.load(reference / "scores.npy")[order]


def compared(before: Scored, now: Scored) -> dict[str, Comparison]:
    parts = [image_features(pixels) | answer_features(scores) for pixels, scores in (before, now)]
    answers = [np.arange(10) == scores.argmax(axis=1)[:, None] for _, scores in (before, now)]
    return {each.feature: each for each in compare(parts[0], parts[1], (answers[0], answers[1]))}


def test_images_of_the_same_kind_have_not_drifted(scored: Scored) -> None:
    pixels, scores = scored
    found = compared((pixels[:180], scores[:180]), (pixels[180:], scores[180:]))
    assert not any(each.has_drifted for each in found.values())


def test_images_a_fifth_darker_have(scored: Scored) -> None:
    pixels, scores = scored
    found = compared((pixels[:160], scores[:160]), ((pixels[160:] * 0.8).astype(np.uint8), scores[160:]))
    assert found["brightness"].has_drifted
    assert found["brightness"].now < found["brightness"].before
    assert not found["labels"].has_drifted


def test_a_label_that_is_gone_is_named(scored: Scored) -> None:
    pixels, scores = scored
    kept = scores.argmax(axis=1) != 4
    kept[:160] = False
    found = compared((pixels[:160], scores[:160]), (pixels[kept], scores[kept]))["labels"]
    assert (found.has_drifted, found.label, found.now) == (True, 4, 0)


def test_all_features_together_are_held_to_one_level() -> None:
    # One feature of many at a chance of 0.005 is no drift.
    draw = np.random.default_rng(0)
    before, now = ({f"f{number}": draw.normal(size=100) for number in range(6)} for _ in range(2))
    now["f0"] = before["f0"] + 0.0
    now["f0"][:23] += 5
    answers = np.eye(2, dtype=bool)[np.arange(100) % 2]
    found = {each.feature: each for each in compare(before, now, (answers, answers))}
    assert LEVEL / 7 < found["f0"].chance < LEVEL
    assert not found["f0"].has_drifted


def test_a_build_is_compared_with_new_images_by_one_of_its_artifacts(exported_digits: Any, tmp_path: Path) -> None:
    pixels = np.load(exported_digits.build / "reference" / "calibration.npy")
    np.savez(tmp_path / "new.npz", images=np.rot90(pixels, axes=(1, 2)))
    found = drift_of(exported_digits.build, tmp_path / "new.npz", "tflite-float32", "litert")
    assert (found.golden, found.new, found.format, found.target) == (360, 200, "tflite-float32", "litert")
    assert {"confidence", "entropy"} <= {each.feature for each in found.drifted}
    schema = Path(edgeferry.benchmarks.drift.__path__[0]) / "drift.schema.json"
    Draft202012Validator(json.loads(schema.read_text(encoding="utf-8"))).validate(json.loads(found.as_json()))


def test_too_few_images_show_nothing(exported_digits: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "new.npz", images=np.zeros((19, 32, 32), np.uint8))
    with pytest.raises(EdgeError, match="19 new and 360 golden images; expected at least 20") as refused:
        drift_of(exported_digits.build, tmp_path / "new.npz")
    assert refused.value.code == "EF-drift-few"


def test_an_artifact_that_was_changed_answers_nothing(exported_digits: Any, tmp_path: Path) -> None:
    for part in ("reference", "tflite-float32"):
        shutil.copytree(exported_digits.build / part, tmp_path / part)
    (tmp_path / "tflite-float32" / "model.tflite").write_bytes(b"another one")
    with pytest.raises(EdgeError, match="model.tflite") as refused:
        drift_of(tmp_path, exported_digits.spec.calibration, "tflite-float32", "litert")
    assert refused.value.code == "EF-artifact-changed"
