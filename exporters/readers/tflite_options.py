# SPDX-License-Identifier: Apache-2.0
"""Reads the options of TF Lite's built-in operations, and the small constants that configure one.

The numbers of options and enumerations are those of TensorFlow's schema.fbs.
"""

from collections.abc import Mapping
from functools import cache
from struct import unpack_from
from typing import Any, Final

# The fields that decide whether an Edge TPU takes an operation, as the schema's classes name them.
FIELDS: Final = ("FusedActivationFunction", "DilationWFactor", "DilationHFactor", "WeightsFormat", "Axis")
# Axes, paddings and strides; nothing longer configures an operation.
MOST_VALUES: Final = 16
INT32_BYTES: Final = 4


def builtin_options(operator: Any, schema: Any) -> Mapping[str, int]:
    """Return an operation's options by the schema's names, those in FIELDS alone."""
    place, reader = operator.BuiltinOptions(), _reader(operator.BuiltinOptionsType(), schema)
    if place is None or reader is None:
        return {}
    options = reader()
    options.Init(place.Bytes, place.Pos)
    return {field: int(getattr(options, field)()) for field in FIELDS if hasattr(options, field)}


@cache
def _reader(kind: int, schema: Any) -> Any:
    names = {number: name for name, number in vars(schema.BuiltinOptions).items() if isinstance(number, int)}
    return getattr(schema, names.get(kind, "NONE"), None)


def whole_numbers(constant: memoryview, dtype: str) -> tuple[int, ...]:
    """Return the values of a short int32 constant; no values of any other."""
    if dtype != "int32" or constant.nbytes % INT32_BYTES or constant.nbytes > MOST_VALUES * INT32_BYTES:
        return ()
    return unpack_from(f"<{constant.nbytes // INT32_BYTES}i", constant)
