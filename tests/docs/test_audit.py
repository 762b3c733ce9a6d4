# SPDX-License-Identifier: Apache-2.0
import re

from edgeferry.models.system.error_codes import sources
from edgeferry.models.system.places import ROOT

CODE = re.compile(r"""["'](?P<code>(?:golden|calibration|accuracy|config|model)(?:-[a-z]+)+)["']""")


def test_everything_an_audit_may_find_is_documented() -> None:
    files = [file for file, _ in sources() if file.startswith(("models/audit/", "models/diagnosis/check", "models/loading/"))]
    found = {each["code"] for file in files for each in CODE.finditer((ROOT / file).read_text(encoding="utf-8"))}
    page = (ROOT / "docs" / "config.md").read_text(encoding="utf-8")
    assert len(found) > 8
    assert {code for code in found if f"`{code}`" not in page} == set()
