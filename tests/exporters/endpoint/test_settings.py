# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from edgeferry.exporters.endpoint.observed import is_allowed, request_id
from edgeferry.exporters.endpoint.settings import VARIABLES, Settings, read_settings
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.places import ROOT


def test_what_is_not_set_is_the_default() -> None:
    assert read_settings({"PORT": "", "WORKERS": "3", "OTHER": "x"}) == Settings(workers=3)


@pytest.mark.parametrize("text", ["-1", "1.5", "\N{ARABIC-INDIC DIGIT THREE}", "9" * 5000])
def test_a_number_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(EdgeError, check=lambda error: error.code == "EF-endpoint-setting"):
        read_settings({"PORT": text})


def test_every_setting_is_documented() -> None:
    page = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    assert [name for name in VARIABLES if f"`{name}`" not in page] == []


def test_a_key_may_be_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("secret\n")
    assert Settings(api_key_file=str(tmp_path / "key")).key() == b"secret"
    for wrong in (tmp_path / "absent", tmp_path / "empty"):
        (tmp_path / "empty").touch()
        with pytest.raises(EdgeError, check=lambda error: error.code == "EF-endpoint-setting"):
            Settings(api_key_file=str(wrong)).key()


def test_only_the_key_is_allowed_where_there_is_one() -> None:
    assert [is_allowed(each, b"k") for each in ("Bearer k", "bearer k", "Bearer kk", "Basic k", "", None)] == [
        *(True, True),
        *(False, False, False, False),
    ]
    assert is_allowed(None, b"")


def test_an_id_that_is_long_or_not_printable_is_replaced() -> None:
    assert request_id("abc") == "abc"
    assert all(len(request_id(each)) == 32 for each in (None, "", "a\n", "x" * 999))
