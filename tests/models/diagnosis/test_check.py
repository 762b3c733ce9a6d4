# SPDX-License-Identifier: Apache-2.0
"""Configs of trained networks that are wrong, as a user meets it."""

from dataclasses import replace
from pathlib import Path

import pytest

from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.reference import findings_in, make_reference
from edgeferry.models.system.errors import EdgeError


def test_the_other_channel_order_is_named_and_nothing_is_written(colours: ModelSpec, tmp_path: Path) -> None:
    wrong = replace(colours, preprocessing=replace(colours.preprocessing, colour="rgb"))
    said = (
        r'right on 0\.0% of 160 golden images, and on 100\.0% with input\.colour = "bgr"\. Write in \[input\]: colour = "bgr"\.$'
    )
    with pytest.raises(EdgeError, match=said, check=lambda error: error.code == "EF-config-mismatch"):
        make_reference(wrong, tmp_path / "reference")
    assert not list(tmp_path.iterdir())


def test_the_right_range_is_named(digits: ModelSpec, tmp_path: Path) -> None:
    wrong = replace(digits, preprocessing=replace(digits.preprocessing, std=(255.0,)))
    said = r"on 9\d\.\d% with input\.range = \[0, 255\]\."
    with pytest.raises(EdgeError, match=said, check=lambda error: error.code == "EF-config-mismatch"):
        make_reference(wrong, tmp_path / "reference")


def test_two_exchanged_labels_are_named(digits: ModelSpec, tmp_path: Path) -> None:
    wrong = replace(digits, labels=("0", "1", "7", "3", "4", "5", "6", "2", "8", "9"))
    said = r"with the labels '7' and '2' exchanged .*\[\"0\", \"1\", \"2\", \"3\", \"4\", \"5\", \"6\", \"7\", \"8\", \"9\"\]"
    with pytest.raises(EdgeError, match=said, check=lambda error: error.code == "EF-config-mismatch"):
        make_reference(wrong, tmp_path / "reference")


def test_a_label_too_many_is_named(colours: ModelSpec, tmp_path: Path) -> None:
    said = r"remove 1\. With the label 'none' removed, number 1, it is right on 100\.0% of 160 golden images\."
    with pytest.raises(EdgeError, match=said, check=lambda error: error.code == "EF-label-count"):
        make_reference(replace(colours, labels=("none", *colours.labels)), tmp_path / "reference")


def test_the_accuracy_that_training_reported_is_checked(colours: ModelSpec, tmp_path: Path) -> None:
    names = list(colours.labels)
    for number, file in enumerate(sorted(colours.golden.glob("*/*.png"))):
        # Every fourth image has a wrong label, of all others evenly.
        shift = 1 + number // 4 % 3 if number % 4 == 0 else 0
        label = names[(names.index(file.parent.name) + shift) % 4]
        (tmp_path / "golden" / label).mkdir(parents=True, exist_ok=True)
        (tmp_path / "golden" / label / file.name).symlink_to(file)
    noisy = replace(colours, golden=tmp_path / "golden", expected_accuracy=0.95)
    with pytest.raises(EdgeError, match="is right on 75", check=lambda error: error.code == "EF-accuracy-expected"):
        make_reference(noisy, tmp_path / "reference")
    found = make_reference(replace(noisy, expected_accuracy=None), tmp_path / "reference").findings
    assert "accuracy-below-confidence" in {each.code for each in found}


def test_findings_are_kept_with_the_reference(colours: ModelSpec, tmp_path: Path) -> None:
    reference = make_reference(colours, tmp_path / "reference")
    assert "golden-classes" in {each.code for each in reference.findings}
    assert findings_in(tmp_path / "reference") == reference.findings


def test_golden_images_without_labels_give_a_reference_without_accuracy(colours: ModelSpec, tmp_path: Path) -> None:
    golden = tmp_path / "golden"
    golden.mkdir()
    for file in colours.golden.glob("*/*.png"):
        (golden / f"{file.parent.name}-{file.name}").symlink_to(file)
    reference = make_reference(replace(colours, golden=golden), tmp_path / "reference")
    assert reference.accuracy is None
    assert "labels.npy" not in reference.files
    assert "golden-unlabelled" in {each.code for each in reference.findings}
