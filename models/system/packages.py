# SPDX-License-Identifier: Apache-2.0
"""Which versions of Python packages are installed, read from the names of their ``.dist-info`` folders.

The packaging specification puts name and version there (packaging.python.org, "Recording installed projects"). A run looks up
some twenty versions, and ``importlib.metadata`` parses a file for each.
"""

import os
import re
import sys
from functools import cache
from pathlib import Path
from typing import Final

INFO: Final = re.compile(r"(?P<name>.+?)-(?P<version>[^-]+)(?:-py[\d.]+)?\.(?:dist|egg)-info")
SEPARATORS: Final = re.compile(r"[-_.]+")


def installed_version(distribution: str) -> str | None:
    """Return the version of an installed distribution, or None where it is not installed."""
    return versions_of(distribution).get(distribution)


def versions_of(*names: str, below: Path | None = None) -> dict[str, str]:
    """Return the versions of the distributions that are installed, in this Python or in the site-packages folder ``below``."""
    folders = sys.path if below is None else [str(below)]
    found = {name: _version(_normalised(name), folders) for name in names}
    return {name: version for name, version in found.items() if version is not None}


def _version(name: str, folders: list[str]) -> str | None:
    return next((found[name] for folder in folders if name in (found := _versions_in(folder))), None)


@cache
def _versions_in(folder: str) -> dict[str, str]:
    try:
        entries = [each.name for each in os.scandir(folder or ".")]
    except OSError:
        return {}
    matches = filter(None, map(INFO.fullmatch, entries))
    return {_normalised(each["name"]): each["version"] for each in matches}


def _normalised(name: str) -> str:
    return SEPARATORS.sub("-", name).lower()
