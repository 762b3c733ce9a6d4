# SPDX-License-Identifier: Apache-2.0
"""Which photographs are golden and which are for calibration: none is both, all labels are in both, the same every time."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from edgeferry.models.audit.finding import some_of
from edgeferry.models.starting.photographs import Photographs
from edgeferry.models.system.errors import EdgeError

# With 400 images that all agree, at least 99.3 % of all do; TF Lite's guide names 100 to 500 for calibration.
MOST_GOLDEN: Final = 400
MOST_CALIBRATION: Final = 200
# One in so many photographs of a label is for calibration.
CALIBRATION_IN: Final = 3
FEWEST: Final = 4

# A photograph and its label.
Labelled = tuple[Path, str]
# Returns the digest of an image's pixels; raises EdgeError where it cannot be read.
Look = Callable[[Path], bytes]


def queues(photographs: Photographs) -> tuple[list[Labelled], list[Labelled]]:
    """Return golden and calibration photographs, each in the order in which they are taken: label by label, one after another.

    The order within a label is that of digests of their names, so a photograph that is added moves few others.
    """
    if photographs.calibration is not None:
        return _flat(_by_label(photographs)), _flat(_by_label(photographs.calibration))
    golden, calibration = [], []
    for number, (label, files) in enumerate(_by_label(photographs)):
        # Where labels have one or two photographs, a third of the labels gives one.
        is_calibration = [(at + number) % CALIBRATION_IN == CALIBRATION_IN - 1 for at in range(len(files))]
        golden.append((label, [file for file, other in zip(files, is_calibration, strict=True) if not other]))
        calibration.append((label, [file for file, other in zip(files, is_calibration, strict=True) if other]))
    return _flat(golden), _flat(calibration)


def taken(queue: Iterable[Labelled], most: int, seen: set[bytes], look: Look, refused: list[Path]) -> list[Labelled]:
    """Return at most so many photographs that can be read and whose pixels were not seen before, sorted by file.

    What was seen is added to ``seen``, files that cannot be read to ``refused``.
    """
    chosen: list[Labelled] = []
    for file, label in queue:
        if len(chosen) == most:
            break
        try:
            digest = look(file)
        except EdgeError:
            refused.append(file)
            continue
        if digest not in seen:
            seen.add(digest)
            chosen.append((file, label))
    return sorted(chosen)


def check_enough(golden: list[Labelled], calibration: list[Labelled], folder: Path, refused: list[Path]) -> None:
    """Refuse photographs that are too few to check and calibrate on.

    Raises:
        EdgeError: says how many there are.
    """
    if len(golden) < FEWEST or not calibration:
        damaged = f" {len(refused)} cannot be read ({some_of([file.name for file in refused], 3)})." if refused else ""
        raise EdgeError(
            "EF-photographs-few",
            f"{folder}: {len(golden) + len(calibration)} different photographs can be used; expected at least 6, and "
            f"some hundred for a result that says much.{damaged}",
        )


def _by_label(photographs: Photographs) -> list[tuple[str, list[Path]]]:
    labels = photographs.labels or ("",) * len(photographs.files)
    found: dict[str, list[Path]] = {label: [] for label in sorted(set(labels))}
    for file, label in zip(photographs.files, labels, strict=True):
        found[label].append(file)

    def by_digest(file: Path) -> bytes:
        return hashlib.sha256(file.relative_to(photographs.folder).as_posix().encode()).digest()

    return [(label, sorted(files, key=by_digest)) for label, files in found.items()]


def _flat(labels: Iterable[tuple[str, list[Path]]]) -> list[Labelled]:
    return [pair for _, pair in sorted(_ranked(labels), key=lambda each: each[0])]


def _ranked(labels: Iterable[tuple[str, list[Path]]]) -> Iterator[tuple[int, Labelled]]:
    for label, files in labels:
        yield from ((rank, (file, label)) for rank, file in enumerate(files))
