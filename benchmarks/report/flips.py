# SPDX-License-Identifier: Apache-2.0
"""Images that an artifact puts into another class than the Keras model: which classes, and small pictures of them."""

import base64
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgeferry.benchmarks.parity.outcome import Answer, Flip
from edgeferry.benchmarks.parity.rows import Row
from edgeferry.models.reference import PIXELS, REFERENCE, reference_fields
from edgeferry.models.system.text import plain

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Pixels of a thumbnail's longer side.
LONGEST: Final = 64
# A page has so many pictures at most, of some 5 kB each.
MOST_PICTURES: Final = 200
PAIRS_SHOWN: Final = 4


def class_name(labels: Sequence[str], number: Answer | None) -> str:
    """Return the label of a class, or the labels that hold."""
    if isinstance(number, tuple):
        return " and ".join(class_name(labels, each) for each in number) or "none"
    return "-" if number is None else plain(labels[number]) if number < len(labels) else f"class {number}"


def confusion(labels: Sequence[str], flips: Iterable[Flip]) -> str:
    """Return which classes took the place of which, the most frequent first: ``cat -> dog 3x``."""
    pairs = Counter((flip.reference, flip.found) for flip in flips).most_common()
    shown = [f"{class_name(labels, was)} -> {class_name(labels, now)} {count}x" for (was, now), count in pairs[:PAIRS_SHOWN]]
    rest = sum(count for _, count in pairs[PAIRS_SHOWN:])
    return ", ".join([*shown, f"{rest} others"] if rest else shown)


def thumbnails(folder: Path, rows: Iterable[Row]) -> dict[int, str]:
    """Return a data URI of a PNG picture for every golden image, by number, that a row of a build folder flips.

    Empty where the pixels are not there.
    """
    import numpy as np

    wanted = list(dict.fromkeys(flip.image for row in rows for flip in row.verdict.flips))[:MOST_PICTURES]
    # A small install, edgeferry[check], has no Pillow.
    if not wanted or find_spec("PIL") is None:
        return {}
    how = reference_fields(folder / REFERENCE).get("preprocessing") or {}
    order = slice(None, None, -1 if how.get("colour") == "bgr" else 1)
    try:
        pixels = np.load(folder / REFERENCE / PIXELS, mmap_mode="r")
    except (OSError, ValueError, RecursionError):
        return {}
    return {image: _picture(pixels[image][..., order]) for image in wanted if image < len(pixels)}


def _picture(pixels: "NDArray[np.uint8]") -> str:
    import numpy as np
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels))
    scale = LONGEST / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    # Enlarged by whole pixels, as a person wants to see what the model saw.
    picture = picture.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX)
    file = io.BytesIO()
    picture.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
