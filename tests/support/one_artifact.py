# SPDX-License-Identifier: Apache-2.0
"""A check of one artifact: that of a whole build folder runs every format that a target reads."""

import json
from pathlib import Path

from edgeferry.models.artifact import EXPORTS


def leave_only(name: str, build: Path) -> None:
    """Let one format be all that a build folder's record of exports names."""
    record = json.loads((build / EXPORTS).read_text(encoding="utf-8"))
    formats = [each for each in record["formats"] if each["format"] == name]
    (build / EXPORTS).write_text(json.dumps({**record, "formats": formats}), encoding="utf-8")
