# SPDX-License-Identifier: Apache-2.0
"""A Mac over ssh: the job, the artifact and the code that runs it are copied there; the run is copied back.

Nothing is installed there: the Mac needs a Python with coremltools, numpy and Pillow.
"""

import io
import json
import os
import tarfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import files_below, modules_below
from edgeferry.models.system.places import PACKAGE_FILE, ROOT
from edgeferry.targets.host.ssh import Connection, RefusedError
from edgeferry.targets.target import Absent, Job, Run, Unsupported

# The Mac, as ssh names it; the Python there; the folder for files there, below the home folder unless absolute.
MAC: Final = "EDGEFERRY_MAC"
PYTHON: Final = "EDGEFERRY_MAC_PYTHON"
FOLDER: Final = "EDGEFERRY_MAC_FOLDER"
# The fields of a run that are sent back as JSON.
SENT: Final = ("labels", "latencies_ms", "first_ms", "load_ms", "environment")
# Variables that are passed to the Mac.
PASSED_ON: Final = ("EDGEFERRY_IOS_TEAM",)
# A fresh folder each time, so that a repeated call starts from the same state. shasum is on every macOS, sha256sum on newer ones.
UNPACK: Final = """\
umask 077
folder="$1"
partial="$1.partial"
fail() { echo "$1" >&2; rm -rf -- "$partial"; exit 1; }
rm -rf -- "$folder" "$partial"
mkdir -p -- "$partial" && cat >"$partial/job.tar" || fail "it is not writable"
if command -v shasum >/dev/null; then found=$(shasum -a 256 <"$partial/job.tar"); else found=$(sha256sum <"$partial/job.tar"); fi
[ "${found%% *}" = "$2" ] || fail "the file arrived damaged"
tar -xf "$partial/job.tar" -C "$partial" && rm -- "$partial/job.tar" && mv -- "$partial" "$folder" || fail "it cannot be unpacked"
"""
RUN: Final = """\
folder="$1"; python="$2"; shift 2
cd -- "$folder" && exec env "$@" "$python" -m edgeferry.targets.coreml.job job >job/log 2>&1
"""


@dataclass(frozen=True)
class _Place:
    """A folder on a Mac."""

    connection: Connection
    python: str
    folder: str


def settings() -> dict[str, str]:
    """Return the environment variables that name the Mac and how it is used."""
    return {name: os.environ[name] for name in (MAC, PYTHON, FOLDER, *PASSED_ON) if os.environ.get(name)}


def run_on_mac(job: Job, target: str) -> Run:
    """Return the run of a job by the Mac that the environment names.

    Raises:
        Absent: it cannot be reached, or lacks something.
        Unsupported: it cannot run the artifact.
        EdgeError: Core ML refused the artifact.
    """
    folder = (os.environ.get(FOLDER) or ".cache/edgeferry-mac").removeprefix("~/").rstrip("/")
    packed = job.work / "job.tar"
    job.work.mkdir(parents=True, exist_ok=True)
    packed.write_bytes(pack(job, target))
    name = sha256(packed.read_bytes()).hexdigest()
    place = _Place(Connection(os.environ[MAC]), os.environ.get(PYTHON) or "python3", f"{folder}/{name[:16]}")
    _call(place, UNPACK, place.folder, name, stdin=packed)
    try:
        _run_there(place)
        record = json.loads(_call(place, 'cat -- "$1/job/run.json"', place.folder))
        scores = b"" if record["error"] else _call(place, 'cat -- "$1/job/scores.npy"', place.folder)
    finally:
        _remove(place)
    return as_run(record, scores, place.connection.destination)


def pack(job: Job, target: str) -> bytes:
    """Return a tar of the code, the artifact, the golden pixels and the job; the same for the same job."""
    how = {"warmup": job.warmup, "settle_s": job.settle_s, "rounds": job.rounds, "threads": job.threads}
    facts = {"target": target, **how}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in sorted({**dict(_members(job)), "job/job.json": json.dumps(facts).encode()}.items()):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return packed.getvalue()


def as_run(record: dict[str, Any], scores: bytes, host: str) -> Run:
    """Return the run that ``job.py`` wrote there, or raise the error that it met."""
    import numpy as np

    if error := record["error"]:
        message = f"{error['message']} (on {host})"
        kinds = {"Absent": Absent, "Unsupported": Unsupported, "EdgeError": EdgeError}
        raise kinds[error["kind"]](error["code"], message) if error["kind"] in kinds else RuntimeError(message)
    if sha256(scores).hexdigest() != record["scores_sha256"]:
        raise Absent("EF-transfer-damaged", f"the scores of {host} arrived damaged; run it again")
    return Run(
        scores=np.load(io.BytesIO(scores), allow_pickle=False),
        labels=None if record["labels"] is None else tuple(record["labels"]),
        latencies_ms=tuple(record["latencies_ms"]),
        first_ms=record["first_ms"],
        load_ms=record["load_ms"],
        environment={"host": host, **record["environment"]},
    )


def written(run: Run) -> tuple[dict[str, Any], bytes]:
    """Return a run as ``as_run`` reads it, and its scores as an .npy file."""
    import numpy as np

    scores = io.BytesIO()
    np.save(scores, run.scores, allow_pickle=False)
    facts = {name: value for name, value in asdict(run).items() if name in SENT}
    return {"schema": 2, **facts, "scores_sha256": sha256(scores.getvalue()).hexdigest(), "error": None}, scores.getvalue()


def _members(job: Job) -> Iterator[tuple[str, bytes]]:
    yield "edgeferry/__init__.py", PACKAGE_FILE.read_bytes()
    for package in ("models", "targets"):
        for path in modules_below(ROOT / package):
            yield f"edgeferry/{path.relative_to(ROOT).as_posix()}", path.read_bytes()
    for path in files_below(job.folder):
        yield f"job/artifact/{path.relative_to(job.folder).as_posix()}", path.read_bytes()
    yield "job/pixels.npy", job.pixels.read_bytes()


def _run_there(place: _Place) -> None:
    passed = [f"{name}={os.environ[name]}" for name in PASSED_ON if os.environ.get(name)]
    try:
        place.connection.call(RUN, place.folder, place.python, *passed)
    except RefusedError as error:
        log = place.connection.call('tail -n 1 -- "$1/job/log"', place.folder).decode("utf-8", "replace").strip()
        where = f"{place.python} on {place.connection.destination}"
        raise Absent(
            "EF-mac-no-result",
            f"{where} ended without a result ({log or error}); expected Python 3.11 to 3.13 with coremltools, numpy, pillow: "
            f"`{place.python} -m pip install coremltools==9.0 numpy pillow` there, or {PYTHON} names another",
        ) from None


def _call(place: _Place, script: str, *arguments: str, stdin: Path | None = None) -> bytes:
    try:
        return place.connection.call(script, *arguments, stdin=stdin)
    except RefusedError as error:
        where = f"{place.folder} on {place.connection.destination}"
        raise Absent("EF-mac-folder", f"{where}: {error}; {FOLDER} names another folder") from None


def _remove(place: _Place) -> None:
    """Remove the job there, images above all; where that fails, the run is still valid."""
    try:
        place.connection.call('rm -rf -- "$1"', place.folder)
    except (Absent, RefusedError) as error:
        print(f"{place.folder} stays on {place.connection.destination}: {error}")  # noqa: T201 - a target's output is its log
