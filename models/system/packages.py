# SPDX-License-Identifier: Apache-2.0
"""Which versions of Python packages are installed, found out without importing them."""

from functools import cache
from importlib.metadata import PackageNotFoundError, version


@cache
def installed_version(distribution: str) -> str | None:
    """Return the version of an installed distribution, or None where it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
