# SPDX-License-Identifier: Apache-2.0
"""LiteRT's GPU accelerator in real runs, on the software renderer of Chromium: parity, and what its times include."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from edgeferry.benchmarks.latency.interleave import Candidate, time_interleaved
from edgeferry.models.system.child import Child
from edgeferry.models.system.places import ROOT
from edgeferry.targets.litert import gpu as litert_gpu
from edgeferry.targets.target import Job, Run, Unsupported, targets
from edgeferry.targets.timing import FEWEST

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SWIFTSHADER: Final = Path("/usr/lib/chromium/vk_swiftshader_icd.json")
# The time of a loop that never waits, next to that of a call and of running and reading by hand; in a process of its own.
THREE_TIMES: Final = """
import json, statistics, sys, time
from pathlib import Path
from edgeferry.targets.litert.gpu import _open
from edgeferry.targets.target import Job
from edgeferry.targets.timing import images_of

job = Job(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
session = _open(job)
predict = session.ready(images_of(session, job)[0])
cells = dict(zip(predict.func.__code__.co_freevars, (cell.cell_contents for cell in predict.func.__closure__)))
model, results, buffers = cells["model"], cells["results"], cells["buffers"]

def reported():
    predict()

def run_and_read():
    buffers[0].write(predict.args[0])
    model.run_by_index(0, buffers, results)
    results[0].read(cells["count"], cells["gives"]["dtype"])

def run_only():
    model.run_by_index(0, buffers, results)

times = {}
for call in (reported, run_and_read, run_only):
    call()
for number in range(101):
    for call in (reported, run_and_read):
        start = time.perf_counter()
        call()
        times.setdefault(call.__name__, []).append(time.perf_counter() - start)
start = time.perf_counter()
run_only()
alone = time.perf_counter() - start
run_and_read()
print(json.dumps({**{name: statistics.median(each) for name, each in times.items()}, "run_only": alone}))
"""


@pytest.fixture
def swiftshader(monkeypatch: pytest.MonkeyPatch) -> None:
    if not SWIFTSHADER.is_file():
        pytest.skip("Chromium's software GPU is not installed here")
    monkeypatch.setenv(litert_gpu.DRIVER, str(SWIFTSHADER))


@pytest.mark.slow
@pytest.mark.usefixtures("swiftshader")
@pytest.mark.parametrize(("form", "most"), [("tflite-float32", 1e-4), ("tflite-int8", 0.15)])
def test_it_predicts_like_the_keras_model_and_reports_that_it_is_software(
    form: str, most: float, build: Path, tmp_path: Path, scores: "NDArray[np.float32]"
) -> None:
    job = Job(build / form, build / "reference" / "pixels.npy", tmp_path)
    # A process of its own: one that already runs would not use the named driver.
    with Child() as child:
        run: Run = child.call(targets()["litert-gpu"].run, job, log=tmp_path / "run.log", timeout_s=120)
    assert run.image_indices is not None
    assert len(run.image_indices) == len(run.scores) >= FEWEST
    assert abs(run.scores - scores[list(run.image_indices)]).max() < most
    assert run.environment["software_gpu"] is True
    assert "SwiftShader" in run.environment["adapter"]
    assert run.environment["fully_accelerated"] is True


@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.usefixtures("swiftshader")
def test_the_reported_time_is_that_of_running_and_reading(build: Path, tmp_path: Path) -> None:
    arguments = [build / "tflite-float32", build / "reference" / "pixels.npy", tmp_path]
    command = [sys.executable, "-c", THREE_TIMES, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    times = json.loads(done.stdout.splitlines()[-1])
    assert 0.9 <= times["reported"] / times["run_and_read"] <= 1.1
    assert times["run_only"] < times["run_and_read"], "the accelerator waits by itself: this test guards against nothing"


@pytest.mark.skipif(sys.platform == "darwin", reason="a Mac has Metal, which takes no driver")
def test_a_missing_driver_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(litert_gpu.DRIVER, str(tmp_path / "none.json"))
    assert str(targets()["litert-gpu"].missing()).startswith(f"{litert_gpu.DRIVER} names ")


@pytest.mark.skipif(sys.platform == "darwin", reason="a Mac has Metal, which takes no driver")
def test_no_software_renderer_is_used_unless_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (litert_gpu.DRIVER, *litert_gpu.CHOSEN):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(litert_gpu, "DRIVERS", (str(tmp_path),))
    (tmp_path / litert_gpu.LOADER).touch()
    monkeypatch.setattr(litert_gpu, "LOADERS", (str(tmp_path),))
    assert "no Vulkan driver" in str(targets()["litert-gpu"].missing())
    monkeypatch.setenv("VK_DRIVER_FILES", "/somewhere/nvidia_icd.json")
    assert targets()["litert-gpu"].missing() is None
    monkeypatch.setattr(litert_gpu, "LOADERS", ())
    assert "libvulkan1" in str(targets()["litert-gpu"].missing())


@pytest.mark.parametrize(
    ("line", "name", "software"),
    [
        (
            "Selected adapter: SwiftShader Device (Subzero), arch=swiftshader, adapterType=CPU / Software\n",
            "SwiftShader Device (Subzero)",
            True,
        ),
        (
            "Selected adapter: NVIDIA H100 80GB HBM3, arch=, vendor=nvidia, backend=Vulkan, adapterType=Discrete GPU\n",
            "NVIDIA H100 80GB HBM3",
            False,
        ),
    ],
)
def test_the_adapter_is_read_from_the_runtimes_log(
    line: str,
    name: str,
    software: bool,  # noqa: FBT001 - a parameter
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(litert_gpu.nvidia, "environment", dict)
    assert litert_gpu._adapter(f"I0000 environment.cc:532] {line}") == {"adapter": name, "software_gpu": software}


@pytest.mark.skipif(sys.platform == "darwin", reason="on a Mac it is Metal, which reports no adapter")
def test_an_unknown_gpu_is_not_taken_for_a_real_one() -> None:
    with pytest.raises(Unsupported, check=lambda error: error.code == "EF-gpu-unidentified"):
        litert_gpu._adapter("I0000 environment.cc:532] nothing of the kind")


@pytest.mark.skipif(sys.platform == "darwin", reason="a Mac has Metal, which takes no driver")
@pytest.mark.parametrize(
    ("library", "taken"),
    [
        ("libGLX_nvidia.so.0", "libGLX_nvidia.so.0"),
        ("./libvk.so", "{folder}/libvk.so"),
        ("/usr/lib/libvk.so", "/usr/lib/libvk.so"),
    ],
)
def test_a_driver_s_library_is_found_as_the_loader_finds_it(
    library: str, taken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "driver"
    folder.mkdir()
    (folder / "icd.json").write_text(json.dumps({"ICD": {"library_path": library}}))
    monkeypatch.setenv(litert_gpu.DRIVER, str(folder / "icd.json"))
    for name in litert_gpu.CHOSEN:
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(litert_gpu, "LOADERS", ())
    litert_gpu._choose_driver(tmp_path)
    chosen = json.loads(Path(os.environ["VK_DRIVER_FILES"]).read_text())
    assert Path(chosen["ICD"]["library_path"]) == Path(taken.format(folder=folder))


def test_a_file_that_is_not_a_driver_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "driver.json").write_text('{"ICD": {}}')
    monkeypatch.setenv(litert_gpu.DRIVER, str(tmp_path / "driver.json"))
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(Unsupported, match=r"driver\.json", check=lambda error: error.code == "EF-vulkan-driver"):
        litert_gpu._choose_driver(tmp_path)


@pytest.mark.slow
@pytest.mark.usefixtures("swiftshader")
def test_it_is_loaded_once_and_not_interleaved_on_a_software_renderer(build: Path, tmp_path: Path) -> None:
    job = Job(build / "tflite-float32", build / "reference" / "pixels.npy", tmp_path)
    times = time_interleaved([Candidate("gpu", job, "litert-gpu")], 2, 3, lambda *_: None).times["gpu"]
    assert times.problem == ""
    assert times.environment["software_gpu"] is True
    assert (len(times.load_ms), times.wall_ms) == (1, [[]])
