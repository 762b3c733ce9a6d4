# SPDX-License-Identifier: Apache-2.0
"""The labels of a config: a list, or a file of them: one per line, where numbers before the labels are taken off, or JSON."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from edgeferry.models.config.table import Table

# Editors on Windows put a byte order mark before the text.
UTF_8: Final = "utf-8-sig"
JSON: Final = ".json"
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
        value = _in_file(file, model)
        numbered = without_numbers(value) if all(isinstance(label, str) for label in value) else None
        value = numbered or value
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


def labels_in(file: Path) -> tuple[str, ...]:
    """Return the labels in a file, in the order of the classes.

    Raises:
        EdgeError: there is no such file, or it is no list of labels.
    """
    return labels_of(Table(file, "", {"labels": file.name}))[0]


def without_numbers(lines: Sequence[str]) -> list[str] | None:
    """Return the labels of lines that are all numbered, from 0 and one by one; None for any other lines."""
    found = [match for line in lines if (match := NUMBERED.fullmatch(line))]
    consecutive = [int(match["number"]) for match in found] == list(range(len(lines)))
    return [match["label"].rstrip() for match in found] if found and consecutive else None


def _in_file(file: Path, model: Table) -> list[Any]:
    """Return the labels in a file, not checked yet."""
    try:
        text = file.read_text(encoding=UTF_8)
        return in_order(json.loads(text)) if file.suffix.lower() == JSON else text.rstrip().splitlines()
    except UnicodeDecodeError:
        model.fail("EF-config-labels", "labels", f"names {file}, which is not a text file in UTF-8")
    except (ValueError, TypeError, RecursionError) as error:
        model.fail(
            "EF-config-labels",
            "labels",
            f'names {file}, which is no list of labels in JSON, such as ["cat", "dog"], {{"0": "cat"}} or {{"cat": 0}}: {error}',
        )


def in_order(value: object) -> list[Any]:
    """Return the labels that JSON holds, in the order of the classes.

    They are a list, or a table from class numbers to labels, or one from labels to class numbers (``class_indices`` of Keras);
    where a label is a list, as in Keras's own ``imagenet_class_index.json``, the last text of it, or all of it where that is not
    the only one.

    Raises:
        TypeError: it is something else.
        ValueError: numbers are missing.
    """
    if isinstance(value, list):
        return value
    if not isinstance(value, dict):
        raise TypeError(f"it is a {type(value).__name__}")
    if value and all(isinstance(number, int) for number in value.values()):
        value = {str(number): label for label, number in value.items()}
    missing = [number for number in range(len(value)) if str(number) not in value]
    if missing:
        raise ValueError(f"it has no class number {missing[0]}")
    labels = [value[str(number)] for number in range(len(value))]
    last = [label[-1] if isinstance(label, list) and label else label for label in labels]
    return [
        "_".join(map(str, label)) if isinstance(label, list) and last.count(short) > 1 else short
        for label, short in zip(labels, last, strict=True)
    ]
