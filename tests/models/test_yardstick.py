# SPDX-License-Identifier: Apache-2.0
import json
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from edgeferry.models.preprocessing import Preprocessing
from edgeferry.models.reference import Reference
from edgeferry.models.yardstick import YARDSTICK, is_current, problem_of, read_yardstick, write_problem, write_yardstick

HOW: Final = Preprocessing(1, 1, "gray", (0.0,), (1.0,))
REFERENCE: Final = Reference("", "", "probabilities", ("a", "b"), HOW, 3, 1.0, None, "", {}, (), {"pixels.npy": "1"})
MADE_FROM: Final = {"reference": REFERENCE.sha256, "code": "2"}
VALUES: Final = np.asarray([[0.2, 0.8], [0.6, 0.4], [1, 0]], np.float32)


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """Return a build folder with one yardstick."""
    write_yardstick(tmp_path, "int8", MADE_FROM, VALUES)
    return tmp_path


def test_what_was_written_is_read(build: Path) -> None:
    assert np.array_equal(read_yardstick(build, "int8", REFERENCE), VALUES)
    assert is_current(build, "int8", MADE_FROM)


def test_there_is_none_for_another_precision(build: Path) -> None:
    assert read_yardstick(build, "float16", REFERENCE) is None


def test_one_of_another_reference_is_refused(build: Path) -> None:
    other = replace(REFERENCE, files={"pixels.npy": "2"})
    assert read_yardstick(build, "int8", other) is None


def test_one_that_follows_from_something_else_is_stale(build: Path) -> None:
    assert not is_current(build, "int8", {**MADE_FROM, "code": "3"})


def test_a_spoiled_one_is_refused_and_stale(build: Path) -> None:
    np.save(build / YARDSTICK / "int8.npy", VALUES + 0.1)
    assert read_yardstick(build, "int8", REFERENCE) is None
    assert not is_current(build, "int8", MADE_FROM)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 0}'])
def test_one_with_a_damaged_record_is_refused(build: Path, text: str) -> None:
    (build / YARDSTICK / "int8.json").write_text(text, encoding="utf-8")
    assert read_yardstick(build, "int8", REFERENCE) is None
    assert not is_current(build, "int8", MADE_FROM)


@pytest.mark.parametrize("values", [VALUES[:2], VALUES * np.nan])
def test_one_of_other_images_or_without_numbers_is_refused(build: Path, values: np.ndarray) -> None:
    write_yardstick(build, "int8", MADE_FROM, values)
    assert read_yardstick(build, "int8", REFERENCE) is None


def test_a_simulation_that_failed_is_not_tried_again_and_says_why(build: Path) -> None:
    write_problem(build, "int8", MADE_FROM, "no such operation")
    assert read_yardstick(build, "int8", REFERENCE) is None
    assert problem_of(build, "int8") == "no such operation"
    assert is_current(build, "int8", MADE_FROM)
    assert not is_current(build, "int8", {**MADE_FROM, "code": "3"})


def test_its_record_says_what_it_follows_from(build: Path) -> None:
    record = json.loads((build / YARDSTICK / "int8.json").read_text())
    assert record["made_from"] == MADE_FROM
    assert record["precision"] == "int8"
