# SPDX-License-Identifier: Apache-2.0
import ast

import pytest

from edgeferry.models.system import error_codes
from edgeferry.models.system.error_codes import codes, error_classes, errors_without_code

SOURCE = """
WHY = "EF-constant"
class Gone(EdgeError): pass
class FarGone(Gone): pass
def fail(code, text):
    raise EdgeError(code, f"{text} is wrong")
def all_have_a_code(path, strange):
    fail("EF-handed-on", f"{path.name}")
    raise Gone("EF-literal", "first " f"{path}: " + "last")
    raise EdgeError(WHY, "a constant")
    raise EdgeError("EF-one" if strange else "EF-two", "either")
    raise FarGone(error.code, f"{path}: {error}")
    return "EF-tuple", "key", "text"
CODES = {"crashed": "EF-table"}
def from_a_table(kind):
    raise EdgeError(CODES[kind], "why")
def none_has(code_of, path):
    raise EdgeError("no code at all")
    raise Gone(kind, "not named a code")
    raise errors.FarGone(f"EF-{path}", "made up")
    raise EdgeError("EF-alone")
"""


@pytest.fixture(autouse=True)
def one_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(error_codes, "sources", lambda: (("some.py", ast.parse(SOURCE)),))


def test_every_form_of_a_code_is_found_with_its_place_and_message() -> None:
    assert codes() == {
        "EF-alone": [("some.py", 21, "")],
        "EF-constant": [("some.py", 10, "a constant")],
        "EF-handed-on": [("some.py", 8, "{path.name}")],
        "EF-literal": [("some.py", 9, "first {path}: last")],
        "EF-one": [("some.py", 11, "either")],
        "EF-table": [("some.py", 14, "crashed")],
        "EF-tuple": [("some.py", 13, "key text")],
        "EF-two": [("some.py", 11, "either")],
    }


def test_errors_without_a_code_are_found() -> None:
    assert [line for _, line, _ in errors_without_code()] == [18, 19, 20, 21]


def test_classes_derived_from_the_error_are_errors_too() -> None:
    assert error_classes() == {"EdgeError", "Gone", "FarGone"}


def test_the_package_itself_is_scanned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert "models/system/errors.py" in {file for file, _, _ in codes()["EF-package-missing"]}
