# SPDX-License-Identifier: Apache-2.0
"""Limits of a program: sizes are checked before memory is allocated, and any failure of a damaged program becomes one error."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from math import prod
from typing import Final

from edgeferry.models.system.errors import EdgeError

# Values in one array, 1 GiB in float32. VGG16's largest, at 224 x 224 with a window's copies, has 2^25.
LARGEST_ARRAY: Final = 2**28
# Multiply-adds, or comparisons, of one operation; VGG16's largest convolution has 2^31.
MOST_WORK: Final = 2**36
# Values of all results that are still needed, together: 4 GiB in float32.
MOST_HELD: Final = 2**30
# Bytes of all constants together, decompressed: as large as Core ML's own limit on a specification.
LARGEST_CONSTANTS: Final = 2**32
# What Python, numpy and protobuf raise on inconsistent values.
FAILURES: Final = (ArithmeticError, AttributeError, LookupError, MemoryError, OSError, RecursionError, TypeError, ValueError)


def allowed(shape: Iterable[int], what: str) -> tuple[int, ...]:
    """Return the shape of an array that is about to be allocated.

    Raises:
        EdgeError: a size is negative, or the array would have more than ``LARGEST_ARRAY`` values.
    """
    sizes = tuple(map(int, shape))
    if min(sizes, default=0) < 0 or prod(sizes) > LARGEST_ARRAY:
        raise EdgeError(
            "EF-mil-too-large",
            f"the program's {what} would be {sizes}; expected at most {LARGEST_ARRAY} values. Export it again.",
        )
    return sizes


def check_work(count: int, what: str) -> None:
    """Refuse an operation of more than ``MOST_WORK`` multiply-adds."""
    if count > MOST_WORK:
        raise EdgeError(
            "EF-mil-too-large",
            f"the program's {what} would take {count} multiply-adds; expected at most {MOST_WORK}. Export it again.",
        )


@contextmanager
def damage(what: str) -> Iterator[None]:
    """Turn any failure of a damaged program into an error that names the place."""
    try:
        yield
    except FAILURES as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise EdgeError("EF-mil-damaged", f"the program's {what} cannot be evaluated: {why}. Export it again.") from error
