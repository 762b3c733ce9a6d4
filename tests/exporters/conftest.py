# SPDX-License-Identifier: Apache-2.0
"""The two classifiers frozen, in the tests' own process."""

from typing import Any

import pytest

from exporters.source import Source, read_source


@pytest.fixture(scope="session")
def digits_source(exported_digits: Any) -> Source:
    """Return the default classifier as one graph."""
    return read_source(exported_digits.spec, exported_digits.build / "reference")


@pytest.fixture(scope="session")
def colours_source(exported_colours: Any) -> Source:
    """Return the colour classifier as one graph."""
    return read_source(exported_colours.spec, exported_colours.build / "reference")
