# SPDX-License-Identifier: Apache-2.0
"""What a program may ask for: sizes are refused before memory is, and what a damaged program trips over becomes one error."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from math import prod
from typing import Final

from edgeferry.models.system.errors import EdgeError

# Values in one array, 1 GiB in float32. VGG16's largest, at 224 x 224 and with a window's copies beside it, has 2^25.
LARGEST_ARRAY: Final = 2**28
# Multiply-adds, or comparisons, of one operation; VGG16's largest convolution has 2^31.
MOST_WORK: Final = 2**36
# Values of all results that are still to be read, together: 4 GiB in float32.
MOST_HELD: Final = 2**30
# Bytes of all constants together, decompressed: Core ML's own limit on a specification is of the same size.
LARGEST_CONSTANTS: Final = 2**32
# What Python, numpy and protobuf raise on values that do not fit together.
TRIPPED_OVER: Final = (ArithmeticError, AttributeError, LookupError, MemoryError, OSError, RecursionError, TypeError, ValueError)


def allowed(shape: Iterable[int], what: str) -> tuple[int, ...]:
    """Return the shape of an array that is about to be made.

    Raises:
        EdgeError: a size is negative, or the array would have more than ``LARGEST_ARRAY`` values.
    """
    sizes = tuple(map(int, shape))
    if min(sizes, default=0) < 0 or prod(sizes) > LARGEST_ARRAY:
        raise EdgeError(f"the program's {what} would be {sizes}; expected at most {LARGEST_ARRAY} values. Export it anew.")
    return sizes


def check_work(count: int, what: str) -> None:
    """Refuse an operation of more than ``MOST_WORK`` multiply-adds."""
    if count > MOST_WORK:
        raise EdgeError(f"the program's {what} would take {count} multiply-adds; expected at most {MOST_WORK}. Export it anew.")


@contextmanager
def damage(what: str) -> Iterator[None]:
    """Turn whatever a damaged program trips over into an error that names the place."""
    try:
        yield
    except TRIPPED_OVER as error:
        told = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise EdgeError(f"the program's {what} cannot be evaluated: {told}. Export it anew.") from error
