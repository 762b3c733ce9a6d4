# SPDX-License-Identifier: Apache-2.0
"""The labels of a config: a list, or a file with one label per line, where numbers before the labels are taken off."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from edgeferry.models.config.table import Table

# Editors on Windows put a byte order mark before the text.
UTF_8: Final = "utf-8-sig"
# Teachable Machine's labels.txt: '0 cat', '1 dog'.
NUMBERED: Final = re.compile(r"[ \t]*(?P<number>\d{1,6})[:,]?[ \t]+(?P<label>\S.*)")


def labels_of(model: Table) -> tuple[tuple[str, ...], bool]:
    """Return the value of model.labels, and whether numbers before the labels of a file were taken off."""
    value = model.take("labels", (list, str))
    numbered = None
    if isinstance(value, str):
        file = (model.file.parent / value).resolve()
        if not file.is_file():
            model.fail("EF-config-labels", "labels", f"names {file}, which does not exist")
        lines = _lines(file, model)
        numbered = without_numbers(lines)
        value = numbered or lines
    for number, label in enumerate(value, 1):
        if not isinstance(label, str) or not label.strip() or label.splitlines() != [label]:
            model.fail(
                "EF-config-labels",
                "labels",
                f"has {label!r} as number {number}; expected one line of text per class, in the model's order",
            )
    if len(value) < 2:
        model.fail("EF-config-labels", "labels", f"has {len(value)} labels; a classifier has at least 2 classes")
    repeated = sorted({label for label in value if value.count(label) > 1})
    if repeated:
        model.fail("EF-config-labels", "labels", f"names {', '.join(map(repr, repeated))} more than once")
    return tuple(value), numbered is not None


def without_numbers(lines: Sequence[str]) -> list[str] | None:
    """Return the labels of lines that are all numbered, from 0 and one by one; None for any other lines."""
    found = [match for line in lines if (match := NUMBERED.fullmatch(line))]
    consecutive = [int(match["number"]) for match in found] == list(range(len(lines)))
    return [match["label"].rstrip() for match in found] if found and consecutive else None


def _lines(file: Path, model: Table) -> list[str]:
    try:
        return file.read_text(encoding=UTF_8).rstrip().splitlines()
    except UnicodeDecodeError:
        model.fail("EF-config-labels", "labels", f"names {file}, which is not a text file in UTF-8")
