# SPDX-License-Identifier: Apache-2.0
"""Memory that one result leaves is kept for the next: glibc gives large pieces back, and each is zeroed when it returns."""

import ctypes
from typing import Final

# malloc.h: M_TRIM_THRESHOLD and M_MMAP_THRESHOLD, mallopt(3).
TRIM_THRESHOLD: Final = -1
MMAP_THRESHOLD: Final = -3
KEPT_BYTES: Final = 2**28
# The most that mallopt(3) takes for M_MMAP_THRESHOLD.
LARGEST_PIECE_BYTES: Final = 2**25


def keep_memory() -> bool:
    """Return whether this process now keeps freed memory of up to ``KEPT_BYTES``; it does so with glibc alone."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(TRIM_THRESHOLD, KEPT_BYTES)) and bool(mallopt(MMAP_THRESHOLD, LARGEST_PIECE_BYTES))
