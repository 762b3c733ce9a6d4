# SPDX-License-Identifier: Apache-2.0
"""Freed memory is kept for the next result: glibc returns large blocks to the system, which zeroes each one again."""

import ctypes
from typing import Final

# malloc.h: M_TRIM_THRESHOLD and M_MMAP_THRESHOLD, mallopt(3).
TRIM_THRESHOLD: Final = -1
MMAP_THRESHOLD: Final = -3
KEPT_BYTES: Final = 2**28
# The largest value of M_MMAP_THRESHOLD; source: mallopt(3).
LARGEST_PIECE_BYTES: Final = 2**25


def keep_memory() -> bool:
    """Return whether this process now keeps up to ``KEPT_BYTES`` of freed memory, which only glibc supports."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(TRIM_THRESHOLD, KEPT_BYTES)) and bool(mallopt(MMAP_THRESHOLD, LARGEST_PIECE_BYTES))
