# SPDX-License-Identifier: Apache-2.0
"""The words of a programming language, and those of C++, Kotlin and Swift: all that differs between them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

INT: Final = "int"
FLOAT: Final = "float"
BOOL: Final = "bool"
BYTES: Final = "Bytes"
INTS: Final = "Ints"
FLOATS: Final = "Floats"


@dataclass(frozen=True)
class Language:
    """How a language writes what the description holds; templates are filled with ``str.format``.

    ``types`` has a word for each type, ``calls`` a template for each primitive, ``constant``, ``fixed`` and ``variable`` declare,
    ``read`` and ``written`` are a byte of an array as a whole number and back, ``chosen`` a conditional expression.
    """

    name: str
    types: Mapping[str, str]
    calls: Mapping[str, str]
    function: str
    parameter: str
    argument_separator: str
    constant: str
    fixed: str
    variable: str
    end: str
    condition: str
    loop: str
    read: str
    written: str
    chosen: str
    shift_left: str = "({0} << {1})"
    shift_right: str = "({0} >> {1})"


CPLUSPLUS: Final = Language(
    name="C++",
    types={
        INT: "int64_t",
        FLOAT: "double",
        BOOL: "bool",
        BYTES: "std::vector<uint8_t>",
        INTS: "std::vector<int64_t>",
        FLOATS: "std::vector<double>",
    },
    calls={
        "single": "static_cast<double>(static_cast<float>({0}))",
        "whole": "static_cast<int64_t>({0})",
        "real": "static_cast<double>({0})",
        "below": "std::floor({0})",
        "above": "std::ceil({0})",
        "half_even": "std::nearbyint({0})",
        "sine": "std::sin({0})",
        "smaller": "std::min<int64_t>({0}, {1})",
        "larger": "std::max<int64_t>({0}, {1})",
        "lower": "std::min({0}, {1})",
        "higher": "std::max({0}, {1})",
        "new_bytes": "std::vector<uint8_t>(static_cast<size_t>({0}), 0)",
        "new_ints": "std::vector<int64_t>(static_cast<size_t>({0}), 0)",
        "new_floats": "std::vector<double>(static_cast<size_t>({0}), 0.0)",
    },
    function="inline {result} {name}({parameters}) {{",
    parameter="const {type}& {name}",
    argument_separator=", ",
    constant="constexpr {type} {name} = {value};",
    fixed="const {type} {name} = {value};",
    variable="{type} {name} = {value};",
    end=";",
    condition="({0})",
    loop="for (int64_t {name} = {start}; {name} < {stop}; ++{name}) {{",
    read="static_cast<int64_t>({0})",
    written="static_cast<uint8_t>({0})",
    chosen="({0} ? {1} : {2})",
)
KOTLIN: Final = Language(
    name="Kotlin",
    types={INT: "Int", FLOAT: "Double", BOOL: "Boolean", BYTES: "ByteArray", INTS: "IntArray", FLOATS: "DoubleArray"},
    calls={
        "single": "({0}).toFloat().toDouble()",
        "whole": "({0}).toInt()",
        "real": "({0}).toDouble()",
        "below": "kotlin.math.floor({0})",
        "above": "kotlin.math.ceil({0})",
        "half_even": "kotlin.math.round({0})",
        "sine": "kotlin.math.sin({0})",
        "smaller": "minOf({0}, {1})",
        "larger": "maxOf({0}, {1})",
        "lower": "minOf({0}, {1})",
        "higher": "maxOf({0}, {1})",
        "new_bytes": "ByteArray({0})",
        "new_ints": "IntArray({0})",
        "new_floats": "DoubleArray({0})",
    },
    function="fun {name}({parameters}): {result} {{",
    parameter="{name}: {type}",
    argument_separator=", ",
    constant="const val {name}: {type} = {value}",
    fixed="val {name}: {type} = {value}",
    variable="var {name}: {type} = {value}",
    end="",
    condition="({0})",
    loop="for ({name} in {start} until {stop}) {{",
    read="({0}.toInt() and 255)",
    written="({0}).toByte()",
    chosen="(if ({0}) {1} else {2})",
    shift_left="({0} shl {1})",
    shift_right="({0} shr {1})",
)
SWIFT: Final = Language(
    name="Swift",
    types={INT: "Int", FLOAT: "Double", BOOL: "Bool", BYTES: "[UInt8]", INTS: "[Int]", FLOATS: "[Double]"},
    calls={
        "single": "Double(Float({0}))",
        "whole": "Int({0})",
        "real": "Double({0})",
        "below": "({0}).rounded(.down)",
        "above": "({0}).rounded(.up)",
        "half_even": "({0}).rounded(.toNearestOrEven)",
        "sine": "sin({0})",
        "smaller": "min({0}, {1})",
        "larger": "max({0}, {1})",
        "lower": "min({0}, {1})",
        "higher": "max({0}, {1})",
        "new_bytes": "[UInt8](repeating: 0, count: {0})",
        "new_ints": "[Int](repeating: 0, count: {0})",
        "new_floats": "[Double](repeating: 0, count: {0})",
    },
    function="func {name}({parameters}) -> {result} {{",
    parameter="_ {name}: {type}",
    argument_separator=", ",
    constant="let {name}: {type} = {value}",
    fixed="let {name}: {type} = {value}",
    variable="var {name}: {type} = {value}",
    end="",
    condition="{0}",
    loop="for {name} in stride(from: {start}, to: {stop}, by: 1) {{",
    read="Int({0})",
    written="UInt8({0})",
    chosen="({0} ? {1} : {2})",
)
