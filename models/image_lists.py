# SPDX-License-Identifier: Apache-2.0
"""Tables of images, 'file,label' lines: a labels.csv in a folder of images, and a list of images that are anywhere."""

import csv
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from edgeferry.models.config.labels import UTF_8
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import write_whole

LIST: Final = ".csv"
HEADER: Final = ["file", "label"]


def rows_of(table: Path) -> list[tuple[int, list[str]]]:
    """Return line numbers and fields of a table; a first line 'file,label' or 'file' and empty lines left out.

    Raises:
        EdgeError: it is no table of text in UTF-8.
    """
    try:
        with table.open(newline="", encoding=UTF_8) as text:
            lines = csv.reader(text, strict=True)
            rows = [(lines.line_num, [field.strip() for field in row]) for row in lines if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise EdgeError("EF-labels-csv", f"{table}: not a table of 'file,label' lines in UTF-8: {error}.") from None
    except OSError as error:
        raise EdgeError("EF-labels-csv", f"{table}: cannot be read: {error.strerror}.") from None
    return rows[1:] if rows and rows[0][1] in (HEADER, HEADER[:1]) else rows


def read_list(table: Path, suffixes: Sequence[str]) -> tuple[tuple[Path, ...], tuple[str, ...] | None]:
    """Return the images that a list names, relative to its folder, in order, and the label of each; None where none has one.

    Raises:
        EdgeError: a line is wrong, names no image, or one again, or only some lines have a label.
    """
    rows = rows_of(table)
    if not rows:
        raise EdgeError("EF-images-missing", f"{table} names no image; expected 'file,label' lines, or 'file' lines alone.")
    fields = len(rows[0][1])
    files: dict[Path, str] = {}
    for number, row in rows:
        if len(row) != fields or fields > len(HEADER) or not all(row):
            raise EdgeError(
                "EF-labels-csv",
                f"{table}, line {number}: has {len(row)} fields; expected 'file,label', or 'file' alone, in every line.",
            )
        file = table.parent / row[0]
        if file.suffix.lower() not in suffixes or not file.is_file():
            found = "is no image by its name" if file.suffix.lower() not in suffixes else "does not exist"
            raise EdgeError("EF-labels-csv", f"{table}, line {number}: names {row[0]!r}, which {found} ({file}).")
        if file in files:
            raise EdgeError("EF-labels-csv", f"{table}, line {number}: names {row[0]!r} again; expected one line per image.")
        files[file] = row[-1]
    return tuple(files), tuple(files.values()) if fields == len(HEADER) else None


def write_list(table: Path, files: Iterable[Path], labels: Sequence[str] | None) -> None:
    """Write a list of images, by their places relative to it unless these would lead up to the root of all files."""
    folder = table.parent.resolve()
    names = [place_of(file, folder) for file in files]
    text = io.StringIO(newline="")
    lines = csv.writer(text, lineterminator="\n")
    if labels is None:
        lines.writerows([HEADER[:1], *([name] for name in names)])
    else:
        lines.writerows([HEADER, *zip(names, labels, strict=True)])
    write_whole(table, text.getvalue())


def can_be_listed(file: Path) -> bool:
    """Say whether a file can stand in a list, which is text whose fields have no spaces at their ends."""
    try:
        str(file).encode()
    except UnicodeEncodeError:
        return False
    return all(part == part.strip() for part in (file.name, file.parts[0]))


def place_of(file: Path, folder: Path) -> str:
    """Return where a file is, relative to a folder unless that would lead up to the root of all files."""
    if Path(os.path.commonpath([file, folder])) == Path(file.anchor):
        return str(file)
    return Path(os.path.relpath(file, folder)).as_posix()
