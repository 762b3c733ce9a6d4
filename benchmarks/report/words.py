# SPDX-License-Identifier: Apache-2.0
"""Numbers as people read them, the same in the terminal, the page and Markdown."""

import math
import re
from typing import Final

from edgeferry.models.system.text import plain

ABSENT: Final = "-"


def percent(fraction: float | None) -> str:
    """Return a fraction as a percentage that says 100 only where it is all of them."""
    if fraction is None or not math.isfinite(fraction):
        return ABSENT
    return "100 %" if fraction == 1 else f"{100 * min(fraction, 0.999):.1f} %"


def difference(value: float | None) -> str:
    """Return a difference of probabilities in at most six characters."""
    if value is None or not math.isfinite(value):
        return ABSENT
    return "0" if value == 0 else f"{value:.4f}" if value >= 0.001 else f"{value:.0e}"  # below, four decimals say nothing


def times(value: float | None) -> str:
    """Return a ratio: ``1.1x``."""
    return ABSENT if value is None or not math.isfinite(value) else f"{_three_digits(value)}x" if value < 99.5 else "> 99x"


def points(fraction: float | None) -> str:
    """Return a difference of accuracies in percentage points: ``1.4 pt``."""
    return ABSENT if fraction is None or not math.isfinite(fraction) else f"{100 * fraction:.1f} pt"


def significant(value: float | None) -> str:
    """Return a number in three significant digits."""
    return ABSENT if value is None or not math.isfinite(value) else f"{value:.3g}"


def size(count: float | None) -> str:
    """Return a number of bytes in decimal units and three digits."""
    if count is None:
        return ABSENT
    for unit in ("B", "kB", "MB"):
        if count < 999.5:  # would be rounded to 1000
            return f"{count} B" if unit == "B" else f"{_three_digits(count)} {unit}"
        count /= 1000
    return f"{_three_digits(count)} GB"


def milliseconds(value: float | None) -> str:
    """Return a time in milliseconds in three digits, microseconds as decimals."""
    if value is None or not math.isfinite(value):
        return ABSENT
    if 0 < value < 0.0005:  # would be rounded to 0
        return "< 0.001 ms"
    return f"{value:.3f} ms" if value < 0.9995 else f"{_three_digits(value)} ms"


def rate(per_s: float | None) -> str:
    """Return how often a second in three digits: ``52 300 /s``."""
    if per_s is None or not math.isfinite(per_s):
        return ABSENT
    digits = max(0, math.floor(math.log10(per_s)) - 2) if per_s > 0 else 0
    return f"{round(per_s, -digits):,.0f} /s".replace(",", " ") if per_s >= 99.95 else f"{_three_digits(per_s)} /s"


def escaped(text: str) -> str:
    """Return text that Markdown shows as it is: no table cell ends, no HTML, link or emphasis begins."""
    return re.sub(r"([\\`*\[\]<>|~&#])", r"\\\1", plain(text).strip())


def _three_digits(value: float) -> str:
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:.0f}"  # rounding's edges
