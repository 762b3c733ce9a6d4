# SPDX-License-Identifier: Apache-2.0
"""The options of a format: a frozen dataclass of its own, read from ``[export.<format>]`` of the config.

``[export.<kind>]``, such as ``[export.tfjs]``, sets them for every format of that kind; ``[export.<format>]`` goes first. A field
is ``option("what it does", default=1, least=1, most=9)`` or ``option("what it does", default="a", choices=("a", "b"))``.
A class may have a method ``problem()`` that returns the key and the sentence of a combination that is wrong, or None.
"""

import dataclasses
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

from edgeferry.models.config.table import Table


@dataclasses.dataclass(frozen=True)
class NoOptions:
    """The options of a format that has none."""


def option(help: str, *, default: Any, **allowed: Any) -> Any:  # noqa: A002 - what command lines call it too
    """Return a dataclass field: ``allowed`` may hold ``choices``, ``least`` and ``most`` with a ``reason``, ``refused``."""
    return dataclasses.field(default=default, metadata={"help": help, **allowed})


def read_options(kind: type, values: Mapping[str, Any], file: Path, table: str) -> Any:
    """Return an options dataclass filled from a table of the config; keys it does not have are left alone.

    Raises:
        EdgeError: a value is of the wrong type, out of range, or contradicts another; names the file and the key.
    """
    reader = Table(file, table, dict(values))
    hints = get_type_hints(kind)
    found = {each.name: _value(reader, each, hints[each.name]) for each in dataclasses.fields(kind) if each.name in reader.values}
    options = kind(**found)
    if problem := getattr(options, "problem", lambda: None)():
        reader.fail("EF-option-combination", *problem)
    return options


def _value(reader: Table, field: "dataclasses.Field[Any]", hint: Any) -> Any:
    allowed, plain = field.metadata, _without_none(hint)
    if "refused" in allowed:
        reader.fail("EF-option-value", field.name, allowed["refused"])
    if get_origin(plain) is tuple:
        return _texts(reader, field.name)
    value = reader.take(field.name, (plain,))
    if "choices" in allowed and value not in allowed["choices"]:
        reader.fail("EF-option-value", field.name, f"is {value!r}; expected one of {', '.join(map(repr, allowed['choices']))}")
    if value < allowed.get("least", value):
        reader.fail("EF-option-value", field.name, f"is {value}; expected at least {allowed['least']}{_because(allowed)}")
    if value > allowed.get("most", value):
        reader.fail("EF-option-value", field.name, f"is {value}; expected at most {allowed['most']}{_because(allowed)}")
    return value


def _because(allowed: Mapping[str, Any]) -> str:
    return f", {allowed['reason']}" if "reason" in allowed else ""


def _texts(reader: Table, key: str) -> tuple[str, ...]:
    values = reader.take(key, (list,))
    if not all(isinstance(value, str) for value in values):
        reader.fail("EF-option-value", key, f"is {values!r}; expected a list of texts")
    return tuple(values)


UNIONS: Final = (Union, types.UnionType)


def _without_none(hint: Any) -> Any:
    if get_origin(hint) in UNIONS:
        return next(each for each in get_args(hint) if each is not type(None))
    return hint
