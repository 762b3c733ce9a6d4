# SPDX-License-Identifier: Apache-2.0
from collections.abc import Sequence

import pytest

from edgeferry.models.config.labels import without_numbers


@pytest.mark.parametrize(
    ("lines", "labels"),
    [
        (("0 cat", "1 dog"), ["cat", "dog"]),
        (("0: red fox", "1: cat"), ["red fox", "cat"]),
        (("0\tcat", "1\tdog "), ["cat", "dog"]),
        (("0 1 euro", "1 2 euro"), ["1 euro", "2 euro"]),
    ],
)
def test_numbers_from_0_one_by_one_are_taken_off(lines: Sequence[str], labels: list[str]) -> None:
    assert without_numbers(lines) == labels


@pytest.mark.parametrize(
    "lines",
    [
        ("1 cat", "2 dog"),
        ("0 cat", "2 dog"),
        ("1 cat", "0 dog"),
        ("0 cat", "dog"),
        ("0", "1"),
        ("0 ", "1 "),
        ("0cat", "1dog"),
        ("cat", "dog"),
        (),
    ],
)
def test_any_other_lines_are_labels_as_they_are(lines: Sequence[str]) -> None:
    assert without_numbers(lines) is None
