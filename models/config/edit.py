# SPDX-License-Identifier: Apache-2.0
"""A key of a config set to another value in its text, so that comments and order stay."""

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import write_whole


def set_options(path: Path, table: str, values: Mapping[str, Any]) -> None:
    """Set keys of the table ``[<table>]`` of a config, which is added where it is absent; nothing else changes.

    Raises:
        EdgeError: the text is written in a way that cannot be changed without changing more; the config stays as it is.
    """
    before = path.read_text(encoding="utf-8")
    after = before
    for key, value in values.items():
        after = _with(after, table, f"{key} = {_written(value)}", key)
    if _parsed(after) != _wanted(_parsed(before), table, values):
        lines = "; ".join(f"{key} = {_written(value)}" for key, value in values.items())
        raise EdgeError(
            "EF-config-edit",
            f"{path}: [{table}] is written in a way that cannot be changed here; write below it: {lines}",
        )
    write_whole(path, after)


def _written(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _with(text: str, table: str, line: str, key: str) -> str:
    lines = text.splitlines()
    heads = [at for at, each in enumerate(lines) if re.match(r"\s*\[", each) and not re.match(r"\s*\[[\s\"']*[^\]]*,", each)]
    place = next((at for at in heads if re.match(rf"\s*\[\s*{re.escape(table)}\s*\]", lines[at])), None)
    if place is None:
        return "\n".join([*lines, "", f"[{table}]", line]) + "\n"
    end = next((at for at in heads if at > place), len(lines))
    own = next((at for at in range(place + 1, end) if re.match(rf"\s*{re.escape(key)}\s*=", lines[at])), None)
    changed = [*lines[:own], line, *lines[own + 1 :]] if own is not None else [*lines[: place + 1], line, *lines[place + 1 :]]
    return "\n".join(changed) + "\n"


def _parsed(text: str) -> Any:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def _wanted(data: Any, table: str, values: Mapping[str, Any]) -> Any:
    place = data
    for name in table.split("."):
        place = place.setdefault(name, {})
    place.update(values)
    return data
