# SPDX-License-Identifier: Apache-2.0
"""A loopback sshd stands for a Mac. There is no Core ML behind it: targets of this machine run there, by name."""

import json
import shutil
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pytest
from one_artifact import leave_only

from edgeferry.benchmarks.parity.bench import open_bench
from edgeferry.benchmarks.parity.run import run_all
from edgeferry.models.system.errors import EdgeError
from edgeferry.targets.coreml.ssh import ROOT, as_run, pack, run_on_mac, written
from edgeferry.targets.target import Absent, Job, Run, Unsupported, choose, targets

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT: Final = "coreml-float16"
RUN: Final = Run(np.array([[0.25, 0.75]], np.float32), ("a", "b"), (1.0, 2.0), 3.0, 4.0, {"compute_units": "ALL"})


@pytest.fixture
def mac(sshd: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder for files of the loopback Mac."""
    folder = tmp_path / "it's a mac"
    assert sshd.port
    monkeypatch.setenv("EDGEFERRY_MAC", "board")
    monkeypatch.setenv("EDGEFERRY_MAC_PYTHON", sys.executable)
    monkeypatch.setenv("EDGEFERRY_MAC_FOLDER", str(folder))
    return folder


def _job(build: Path, work: Path, **how: Any) -> Job:
    return Job(build / FORMAT, build / "reference" / "pixels.npy", work, **{"warmup": 1, "rounds": 5} | how)


def test_a_run_there_is_copied_back(mac: Path, build: Path, tmp_path: Path, scores: "NDArray[np.float32]") -> None:
    # The evaluator: it needs no Mac, and its scores prove that job and artifact arrived.
    run = run_on_mac(_job(build, tmp_path / "work", rounds=4), "coreml-reference")
    assert abs(run.scores - scores).max() < 0.05
    assert run.labels == ("red", "blue", "yellow", "cyan")
    assert len(run.latencies_ms) == 4
    assert min(run.first_ms, run.load_ms, *run.latencies_ms) > 0
    assert (run.environment["host"], run.environment["runtime"]) == ("board", "edgeferry evaluator of ML Programs")
    assert list(mac.iterdir()) == []


@pytest.mark.usefixtures("mac")
@pytest.mark.skipif(sys.platform == "darwin", reason="Core ML is here")
def test_what_the_machine_there_lacks_is_in_a_row(build: Path, tmp_path: Path) -> None:
    one = shutil.copytree(build, tmp_path / "one")
    leave_only(FORMAT, one)
    (row,) = run_all(open_bench(one, choose(("coreml-ane",)), lambda *_: None, reuse=False))
    assert (row.target, row.outcome) == ("coreml-ane", "not checked")
    assert "needs macOS" in row.reason
    assert row.reason.endswith("(on board)")


def test_a_missing_python_is_reported_with_what_to_do(
    mac: Path, build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEFERRY_MAC_PYTHON", "python3.999")
    advice = r"python3\.999 on board .*pip install coremltools==9\.0 numpy pillow.*EDGEFERRY_MAC_PYTHON"
    with pytest.raises(Absent, match=advice, check=lambda error: error.code == "EF-mac-no-result"):
        run_on_mac(_job(build, tmp_path / "work"), "coreml-all")
    assert list(mac.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_reported(mac: Path, build: Path, tmp_path: Path) -> None:
    mac.write_text("a file where the folder should be")
    with pytest.raises(Absent, match="EDGEFERRY_MAC_FOLDER", check=lambda error: error.code == "EF-mac-folder"):
        run_on_mac(_job(build, tmp_path / "work"), "coreml-all")


def test_a_mac_that_is_off_is_reported(mac: Path, sshd: Any, build: Path, tmp_path: Path) -> None:
    assert mac
    sshd.stop()
    with pytest.raises(Absent, match="^board ", check=lambda error: error.code == "EF-ssh-unreachable"):
        run_on_mac(_job(build, tmp_path / "work"), "coreml-all")
    sshd.start()


@pytest.mark.parametrize("name", ["coreml-all", "coreml-ane", "coreml-cpu", "coreml-gpu"])
def test_with_a_mac_named_nothing_is_missing_and_its_name_is_part_of_the_result_s_key(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEFERRY_MAC", "me@mac")
    assert targets()[name].missing() is None
    assert targets()[name].versions()["EDGEFERRY_MAC"] == "me@mac"


def test_the_same_job_is_packed_into_the_same_bytes_and_nothing_of_this_machine(build: Path, tmp_path: Path) -> None:
    job = _job(build, tmp_path / "work")
    packed = pack(job, "coreml-all")
    assert packed == pack(job, "coreml-all")
    with tarfile.open(fileobj=BytesIO(packed)) as tar:
        names = tar.getnames()
    code = {f"edgeferry/{name}" for name in ("models/__init__.py", "targets/coreml/mac.py", "targets/mil/package.py")}
    assert {*code, "edgeferry/__init__.py", "job/pixels.npy", "job/job.json"} <= set(names)
    assert any(name.startswith("job/artifact/model.mlpackage/") for name in names)
    assert not [name for name in names if name.startswith("/") or ".." in name or "node_modules" in name]


def test_the_program_there_needs_numpy_and_pillow_only_before_core_ml(build: Path, tmp_path: Path) -> None:
    with tarfile.open(fileobj=BytesIO(pack(_job(build, tmp_path / "work"), "coreml-all"))) as tar:
        tar.extractall(tmp_path / "there", filter="data")
    program = """
import sys
from pathlib import Path
sys.path.insert(0, ".")
sys.modules.update(dict.fromkeys(["typer", "rich", "jinja2", "tensorflow", "keras", "scipy", "playwright"]))
from edgeferry.targets.coreml.job import run
run(Path("job"))
"""
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path / "there", check=True, capture_output=True)
    record = json.loads((tmp_path / "there" / "job" / "run.json").read_text())
    assert record["schema"] == 2
    if sys.platform != "darwin":
        assert (record["error"]["kind"], record["error"]["code"]) == ("Absent", "EF-target-missing")
        assert record["error"]["message"].startswith("needs macOS")


def test_a_run_is_the_same_after_writing_and_reading() -> None:
    record, scores = written(RUN)
    back = as_run(json.loads(json.dumps(record)), scores, "mac")
    assert (back.scores == RUN.scores).all()
    assert (back.labels, back.latencies_ms, back.first_ms, back.load_ms) == (RUN.labels, (1.0, 2.0), 3.0, 4.0)
    assert back.environment == {"host": "mac", "compute_units": "ALL"}


def test_scores_that_changed_on_the_way_are_refused() -> None:
    record, scores = written(RUN)
    with pytest.raises(Absent, match="mac", check=lambda error: error.code == "EF-transfer-damaged"):
        as_run(record, scores[:-1] + b"!", "mac")


@pytest.mark.parametrize(
    ("kind", "error"), [("Absent", Absent), ("Unsupported", Unsupported), ("EdgeError", EdgeError), ("KeyError", RuntimeError)]
)
def test_an_error_there_is_raised_here(kind: str, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"^the reason \(on mac\)$") as caught:
        as_run({"error": {"kind": kind, "code": "EF-test", "message": "the reason"}}, b"", "mac")
    assert type(caught.value) is error
    assert getattr(caught.value, "code", "EF-test") == "EF-test"


def test_make_runs_every_compute_unit_and_the_evaluator_on_the_named_mac() -> None:
    if shutil.which("make") is None:
        pytest.skip("no make on this machine")
    words = ["make", "-n", "-o", "install", "bench-mac", "HOST=me@mac"]
    printed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert 'EDGEFERRY_MAC="me@mac"' in printed
    assert [word for word in printed.split() if word.startswith("coreml-")] == [
        "coreml-all",
        "coreml-cpu",
        "coreml-gpu",
        "coreml-ane",
        "coreml-reference",
        "coreml-iphone",
    ]
