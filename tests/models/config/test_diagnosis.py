# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from pathlib import Path

import pytest

from edgeferry.models.config.spec import ModelSpec, read_spec
from edgeferry.models.reference import changed_config_keys
from edgeferry.models.reference_writer import make_reference
from edgeferry.models.system.errors import EdgeError


def _changed(spec: ModelSpec, folder: Path, *changes: tuple[str, str]) -> ModelSpec:
    text = (
        spec.path.read_text(encoding="utf-8")
        .replace('"colours.keras"', f'"{spec.model}"')
        .replace('"source/', f'"{spec.path.parent}/source/')
    )
    for part in ("golden", "calibration"):
        text = text.replace(f'{part} = "{part}"', f'{part} = "{spec.path.parent / part}"')
    for was, now in changes:
        assert was in text
        text = text.replace(was, now)
    (folder / "changed.toml").write_text(text, encoding="utf-8")
    return read_spec(folder / "changed.toml")


def test_the_other_channel_order_is_proposed_where_it_is_right_more_often(colours: ModelSpec, tmp_path: Path) -> None:
    wrong = _changed(colours, tmp_path, ('"bgr"', '"rgb"'))
    with pytest.raises(EdgeError, match=r"With input\.colour = 'bgr' it is right on 100\.0% of the golden images"):
        make_reference(wrong, tmp_path / "reference")
    assert not (tmp_path / "reference").exists()


def test_another_range_is_proposed_where_it_is_right_more_often(digits: ModelSpec, tmp_path: Path) -> None:
    wrong = _changed(digits, tmp_path, ("range = [0, 255]", "range = [0, 1]"))
    with pytest.raises(
        EdgeError, match=r"cannot serve as the reference .*With input\.range = \[0, 255\] it is right on 9\d\.\d%"
    ):
        make_reference(wrong, tmp_path / "reference")


def test_a_correct_config_is_accepted(colours: ModelSpec, tmp_path: Path) -> None:
    assert make_reference(colours, tmp_path / "reference").accuracy > 0.97


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
