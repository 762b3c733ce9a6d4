# SPDX-License-Identifier: Apache-2.0
"""``pytest --edgeferry build/my``: every result of ``edgeferry check`` as a test. Without the option nothing is imported."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("edgeferry", "check exported artifacts against the Keras model")
    group.addoption(
        "--edgeferry",
        metavar="MODEL",
        action="append",
        default=[],
        help="Check the artifacts of a build folder (build/my), or of a config (.toml) in build/, one test for each result; "
        "repeat for several.",
    )
    group.addoption(
        "--edgeferry-target",
        metavar="TARGET",
        action="append",
        default=[],
        help="A target; repeat for several. Default: all except opt-in ones.",
    )
    group.addoption(
        "--edgeferry-require",
        metavar="FORMAT[@TARGET]",
        action="append",
        default=[],
        help="A result that has to pass: where it is not run or inconclusive, its test fails. Repeat for several.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Add the tests where the option is given."""
    if config.getoption("edgeferry"):
        from edgeferry.commands.pytest_items import ResultTests

        config.pluginmanager.register(ResultTests(config), "edgeferry-results")
