# SPDX-License-Identifier: Apache-2.0
"""How many threads numpy's matrix products use: set, and verified."""

import ctypes
from pathlib import Path
from typing import Any, Final

import numpy as np

# Names that OpenBLAS gives its functions in numpy's wheels and in others.
PREFIXES: Final = ("scipy_openblas", "openblas")
SUFFIXES: Final = ("64_", "")


def blas_threads(wanted: int) -> int | str:
    """Set the number of threads; return how many the library now uses, or "unknown" where it has no such function."""
    folder = Path(np.__file__).parent.parent / "numpy.libs"
    for path in sorted(folder.glob("*openblas*")):
        library = ctypes.CDLL(str(path))
        for prefix, suffix in ((prefix, suffix) for prefix in PREFIXES for suffix in SUFFIXES):
            set_, get = (_function(library, f"{prefix}_{verb}_num_threads{suffix}") for verb in ("set", "get"))
            if set_ and get:
                set_(ctypes.c_int(wanted))
                return int(get())
    return "unknown"


def _function(library: Any, name: str) -> Any:
    return getattr(library, name, None)
