# SPDX-License-Identifier: Apache-2.0
"""One table of a TOML file, read key by key; every mistake names the file and the key."""

import difflib
import math
from pathlib import Path
from typing import Any, NoReturn

from edgeferry.models.system.errors import EdgeError


class Table:
    """One table of the TOML file; remembers which keys were read, so that the others can be refused."""

    def __init__(self, file: Path, name: str, values: dict[str, Any]) -> None:
        """Hold the values of the table of that name in a file; '' is the file itself."""
        self.file, self.name, self.values = file, name, values
        self._read: set[str] = set()
        self._tables: list[Table] = []

    def fail(self, code: str, key: str, problem: str) -> NoReturn:
        """Refuse the file for one of this table's keys."""
        raise EdgeError(code, f"{self.file}: {'.'.join(filter(None, (self.name, key)))} {problem}.")

    def has(self, key: str) -> bool:
        """Say whether a key is there; it is known from now on."""
        self._read.add(key)
        return key in self.values

    def take(self, key: str, kinds: tuple[type, ...], default: Any = None) -> Any:
        """Return a key's value of one of these types, or the default; a key without one must be there."""
        if not self.has(key):
            if default is None:
                close = difflib.get_close_matches(key, set(self.values) - self._read, 1)
                hint = f"; is {close[0]!r} meant for it?" if close else ""
                self.fail("EF-config-key-missing", key, f"is missing; expected {_names_of(kinds)}{hint}")
            return default
        value = self.values[key]
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            self.fail("EF-config-value", key, f"is {value!r}; expected {_names_of(kinds)}")
        return value

    def text(self, key: str, default: str | None = None) -> str:
        """Return a text."""
        return str(self.take(key, (str,), default))

    def flag(self, key: str, default: bool) -> bool:  # noqa: FBT001 - a key's default, as for the other kinds
        """Return true or false."""
        return bool(self.take(key, (bool,), default))

    def whole(self, key: str, default: int) -> int:
        """Return a whole number."""
        return int(self.take(key, (int,), default))

    def choice(self, key: str, choices: tuple[str, ...], default: str) -> str:
        """Return one of a few texts."""
        value = self.text(key, default)
        if value not in choices:
            self.fail("EF-config-value", key, f"is {value!r}; expected one of {', '.join(map(repr, choices))}")
        return value

    def numbers(self, key: str, count: int) -> tuple[float, ...]:
        """Return so many finite numbers."""
        values = self.take(key, (list,))
        if len(values) != count or not all(type(value) in {int, float} and math.isfinite(value) for value in values):
            self.fail("EF-config-value", key, f"is {values!r}; expected {count} numbers")
        return tuple(map(float, values))

    def fraction(self, key: str) -> float:
        """Return a number from 0 to 1."""
        value = float(self.take(key, (int, float)))
        if not 0 <= value <= 1:
            self.fail("EF-config-value", key, f"is {value}; expected a number from 0 to 1")
        return value

    def at_least_one(self, key: str) -> float:
        """Return a finite number of at least 1."""
        value = float(self.take(key, (int, float)))
        if not 1 <= value < math.inf:
            self.fail("EF-config-value", key, f"is {value}; expected a number of at least 1")
        return value

    def path(self, key: str) -> Path:
        """Return a path, relative ones taken from the file's folder."""
        try:
            place = (self.file.parent / Path(self.text(key)).expanduser()).resolve()
            # Raises for a name that is too long.
            place.exists()
        except (RuntimeError, ValueError, OSError) as error:
            self.fail("EF-config-value", key, f"is {self.text(key)[:80]!r}: {str(error)[:80]}")
        return place

    def table(self, key: str, *, optional: bool = False) -> "Table":
        """Return a table below this one."""
        values = self.take(key, (dict,), {} if optional else None)
        table = Table(self.file, f"{self.name}.{key}" if self.name else key, values)
        self._tables.append(table)
        return table

    def refuse_unknown(self) -> None:
        """Refuse the file for a key that nothing read, here or below."""
        for table in self._tables:
            table.refuse_unknown()
        for key in self.values:
            if key not in self._read:
                close = difflib.get_close_matches(key, self._read, 1)
                hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(sorted(self._read))}"
                self.fail("EF-config-key-unknown", key, f"is not a key of this file; {hint}")


def _names_of(kinds: tuple[type, ...]) -> str:
    words = {str: "a text", list: "a list", dict: "a table", bool: "true or false", int: "a whole number", float: "a number"}
    return " or ".join(words[kind] for kind in kinds)
