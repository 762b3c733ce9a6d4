# SPDX-License-Identifier: Apache-2.0
import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.preprocessing import normalise
from edgeferry.models.system.places import ROOT
from edgeferry.targets.boards import about_device, device

pytestmark = pytest.mark.slow

PROGRAM: Final = ROOT / "targets" / "boards" / "device.py"
ALLOWED: Final = {"numpy", "tflite_runtime", "ai_edge_litert"}


def run_device(folder: Path, model: Path, images: np.ndarray, python: str = sys.executable) -> tuple[int, dict[str, Any]]:
    folder.mkdir(exist_ok=True)
    np.save(folder / "images.npy", images)
    files = {"model": str(model), "images": "images.npy", "scores": "scores.npy", "result": "result.json"}
    (folder / "job.json").write_text(json.dumps({**files, "warmup": 1, "rounds": 3, "threads": 1, "settle_s": 0.05}))
    shutil.copy(PROGRAM, folder)
    done = subprocess.run([python, "-E", "device.py", "job.json"], cwd=folder, check=False)
    return done.returncode, json.loads((folder / "result.json").read_text())


def test_it_is_python_3_7() -> None:
    ast.parse(PROGRAM.read_text(encoding="utf-8"), feature_version=(3, 7))


def test_it_imports_nothing_of_edgeferry_and_nothing_a_board_lacks() -> None:
    tree = ast.walk(ast.parse(PROGRAM.read_text(encoding="utf-8")))
    names = {alias.name for node in tree if isinstance(node, ast.Import) for alias in node.names}
    tree = ast.walk(ast.parse(PROGRAM.read_text(encoding="utf-8")))
    names |= {node.module or "" for node in tree if isinstance(node, ast.ImportFrom)}
    foreign = {name.split(".")[0] for name in names} - set(sys.stdlib_module_names)
    assert foreign == ALLOWED


def test_a_real_python_3_7_compiles_it(tmp_path: Path) -> None:
    found = [shutil.which("python3.7"), *Path("~/.pyenv/versions").expanduser().glob("3.7.*/bin/python")]
    # pyenv puts a python3.7 on PATH that only reports where one is.
    works = [
        path for path in found if path and subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode == 0
    ]
    python = next(iter(works), None)
    if python is None:
        pytest.skip("no Python 3.7 on this machine (looked on PATH and under ~/.pyenv)")
    subprocess.run([python, "-m", "py_compile", shutil.copy(PROGRAM, tmp_path)], check=True)


def test_it_runs_with_the_newer_runtime_where_the_older_is_absent(build: Path, colours: ModelSpec, tmp_path: Path) -> None:
    images = normalise(np.load(build / "reference" / "pixels.npy")[:4], colours.preprocessing)
    status, result = run_device(tmp_path / "work", build / "tflite-int8" / "model.tflite", images)
    assert (status, result["error"], result["environment"]["runtime"]) == (0, None, "ai_edge_litert")
    assert len(result["latencies_ms"]) == 3
    stored = np.load(tmp_path / "work" / "scores.npy")
    scale, zero_point = result["output"]["quantization"]
    assert abs((stored.astype(float) - zero_point) * scale - np.load(build / "reference" / "scores.npy")[:4]).max() < 0.15


def test_an_error_is_in_the_result(tmp_path: Path) -> None:
    status, result = run_device(tmp_path / "work", tmp_path / "none.tflite", np.zeros((1, 2, 2, 1), np.float32))
    assert status == 2
    assert result["error"]["kind"] == "FileNotFoundError"
    assert "none.tflite" in result["error"]["message"]


def test_the_result_holds_the_sha256_of_the_model_that_ran(build: Path, colours: ModelSpec, tmp_path: Path) -> None:
    images = normalise(np.load(build / "reference" / "pixels.npy")[:1], colours.preprocessing)
    _, result = run_device(tmp_path / "work", build / "tflite-float32" / "model.tflite", images)
    manifest = json.loads((build / "tflite-float32" / "manifest.json").read_text())
    assert result["model_sha256"] == manifest["files"]["model.tflite"]["sha256"]


def _about(folder: Path, *words: str) -> Any:
    """Return the output of about_device.py, run in a folder."""
    shutil.copy(PROGRAM.with_name("about_device.py"), folder)
    done = subprocess.run([sys.executable, "about_device.py", *words], cwd=folder, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_the_description_of_a_board_is_python_3_7_too() -> None:
    ast.parse(PROGRAM.with_name("about_device.py").read_text(encoding="utf-8"), feature_version=(3, 7))


def test_temperatures_governor_and_usb_speed_are_read_where_the_system_reports_them(tmp_path: Path) -> None:
    facts = {
        "proc/device-tree/model": "Freescale i.MX8MQ Phanbell\0",
        "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
        "sys/class/thermal/thermal_zone0/temp": "54500\n",
        "sys/class/apex/apex_0/temp": "61300\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
        "sys/bus/usb/devices/2-1/idVendor": "18d1\n",
        "sys/bus/usb/devices/2-1/idProduct": "9302\n",
        "sys/bus/usb/devices/2-1/speed": "5000\n",
        "sys/bus/usb/devices/1-1/idVendor": "1d6b\n",
        "usr/lib/aarch64-linux-gnu/libedgetpu.so.1": "library",
    }
    for name, text in facts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    about = about_device.about(tmp_path)
    assert about["environment"]["board"] == "Freescale i.MX8MQ Phanbell"
    assert about["environment"]["libedgetpu"]["path"].endswith("libedgetpu.so.1")
    assert len(about["environment"]["libedgetpu"]["sha256"]) == 64
    assert about["now"]["celsius"] == {"apex_0": 61.3, "cpu-thermal": 54.5}
    assert about["now"]["governor"] == "ondemand"
    assert about["usb"] == [{"id": "18d1:9302", "mbits_per_s": "5000"}]


def test_what_a_machine_does_not_report_is_left_out(tmp_path: Path) -> None:
    assert set(about_device.now(tmp_path)) == {"load_average"}
    assert about_device.usb(tmp_path) == []


def test_pycoral_is_never_required(tmp_path: Path) -> None:
    assert _about(tmp_path)["pycoral"] == "not installed"


@pytest.mark.parametrize(
    ("files", "reported"),
    [
        ({"__init__.py": ""}, "another package of that name, not Google's: pip uninstall pycoral"),
        ({"__init__.py": "", "utils.py": "pass"}, "another package of that name, not Google's: pip uninstall pycoral"),
        ({"__init__.py": "raise ImportError('no _pywrap_coral')"}, "it cannot be imported: no _pywrap_coral"),
        ({"__init__.py": "import os; os.abort()"}, "it crashed its process"),
        (
            {"__init__.py": "", "utils/__init__.py": "", "utils/edgetpu.py": "def list_edge_tpus(): return [{'type': 'usb'}]"},
            [{"type": "usb"}],
        ),
    ],
)
def test_pycoral_s_devices_are_reported_and_the_foreign_package_is_recognised(
    tmp_path: Path, files: dict[str, str], reported: Any
) -> None:
    for name, text in files.items():
        (tmp_path / "pycoral" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pycoral" / name).write_text(text)
    assert _about(tmp_path)["pycoral"] == reported


def test_a_crash_is_reported_with_its_stage(tmp_path: Path) -> None:
    # A replacement of the runtime: its file kills the process that opens it.
    (tmp_path / "work" / "tflite_runtime").mkdir(parents=True)
    (tmp_path / "work" / "tflite_runtime" / "__init__.py").touch()
    killer = "import os, signal\ndef Interpreter(**_):\n    os.kill(os.getpid(), signal.SIGSEGV)\n"
    (tmp_path / "work" / "tflite_runtime" / "interpreter.py").write_text(killer)
    (tmp_path / "model.tflite").touch()
    status, result = run_device(tmp_path / "work", tmp_path / "model.tflite", np.zeros((1, 2, 2, 1), np.float32))
    assert status == 2
    assert result["error"] == {"kind": "crashed", "message": "killed by SIGSEGV while loading the file"}
    assert result["environment"]["runtime"] == "tflite_runtime"


def test_a_machine_without_a_runtime_reports_it(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    for name in ("tflite_runtime", "ai_edge_litert"):
        (tmp_path / "work" / f"{name}.py").write_text(f"raise ImportError('no {name}')")
    (tmp_path / "model.tflite").touch()
    _, result = run_device(tmp_path / "work", tmp_path / "model.tflite", np.zeros((1, 2, 2, 1), np.float32))
    assert result["error"] == {"kind": "runtime missing", "message": "no ai_edge_litert"}


def test_unknown_memory_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert device.memory_bytes("VmHWM") >= device.memory_bytes("VmRSS") > 0
    monkeypatch.setattr(device, "Path", lambda _: tmp_path / "absent")
    assert device.memory_bytes("VmHWM") is None


def test_a_call_of_seconds_is_not_warmed_up_for_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    now, calls = [0.0], []

    def call() -> None:
        calls.append(now[0])
        now[0] += 7.0

    monkeypatch.setattr(device.time, "perf_counter", lambda: now[0])
    device.settle(call, 0, 1.0)
    assert len(calls) == 1
