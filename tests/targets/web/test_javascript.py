# SPDX-License-Identifier: Apache-2.0
import json
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edgeferry.models.system.child import ChildError
from edgeferry.targets.target import Run, Unsupported, targets
from edgeferry.targets.timing import FEWEST
from edgeferry.targets.web.javascript import WEB

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Answer = Callable[..., Run]
BOTH = ["node-wasm", pytest.param("chromium-wasm", marks=pytest.mark.browser)]
GPUS = {
    "chromium-webgl": "tfjs-float32",
    "chromium-webgpu": "tfjs-float32",
    "chromium-ort-webgpu": "onnx-float32",
    "chromium-litert-webgpu": "tflite-float32",
}


def test_the_lock_names_no_host() -> None:
    lock = (WEB / "package-lock.json").read_text(encoding="utf-8")
    assert "resolved" not in lock
    assert not re.search(r"https?://", lock)


def test_every_package_of_the_lock_has_a_hash() -> None:
    packages = json.loads((WEB / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    assert [name for name, facts in packages.items() if name and not facts.get("integrity", "").startswith("sha512-")] == []


def test_the_packages_are_pinned_and_those_of_tensorflowjs_to_one_version() -> None:
    pinned = json.loads((WEB / "package.json").read_text(encoding="utf-8"))["dependencies"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in pinned.values())
    assert {version for name, version in pinned.items() if name.startswith("@tensorflow/")} == {"4.22.0"}


def test_only_one_known_package_has_an_install_script() -> None:
    packages = json.loads((WEB / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    # protobufjs's prints its version; .npmrc keeps it from running.
    assert {name for name, facts in packages.items() if facts.get("hasInstallScript")} <= {"node_modules/protobufjs"}


def test_npm_runs_no_scripts_and_writes_no_hosts() -> None:
    settings = (WEB / ".npmrc").read_text(encoding="utf-8").split()
    assert {"ignore-scripts=true", "omit-lockfile-registry-resolved=true"} <= set(settings)


def test_missing_packages_are_reported_with_what_installs_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(WEB / "package.json", tmp_path)
    monkeypatch.setattr("edgeferry.targets.web.javascript.WEB", tmp_path)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    why = targets()["node-wasm"].missing()
    assert why is not None
    assert "is not installed, 4.22.0 is needed: `make install`" in why


@pytest.mark.parametrize("name", BOTH)
def test_the_requested_backend_ran_and_no_tensor_is_left(name: str, answer: Answer) -> None:
    environment = answer(name, "tfjs-float32").environment
    assert (environment["backend"], environment["version"], environment["leaked_tensors"]) == ("wasm", "4.22.0", 0)


@pytest.mark.parametrize("name", BOTH)
def test_more_threads_than_available_are_refused(name: str, answer: Answer) -> None:
    with pytest.raises(Unsupported, check=lambda error: error.code == "EF-web-threads"):
        answer(name, "tfjs-float32", threads=64)


@pytest.mark.browser
@pytest.mark.parametrize(("name", "form"), GPUS.items())
def test_a_software_renderer_is_recorded_and_runs_few_images(
    name: str, form: str, answer_once: Answer, scores: "NDArray[np.float32]"
) -> None:
    run = answer_once(name, form)
    software = re.search("swiftshader|llvmpipe", str(run.environment).lower()) is not None
    assert run.environment["software_gpu"] == software
    assert (run.image_indices is None) == (len(run.scores) == len(scores))
    assert software or run.image_indices is None
    assert len(run.scores) >= FEWEST


@pytest.mark.browser
def test_the_memory_of_webassembly_holds_the_tensors(answer_once: Answer) -> None:
    environment = answer_once("chromium-wasm", "tfjs-float32").environment
    assert environment["wasm_bytes"] > environment["peak_bytes"] > 0


@pytest.mark.browser
def test_an_int8_file_has_the_same_scores_in_a_browser_as_in_python(answer_once: Answer) -> None:
    here, there = answer_once("litert", "tflite-int8"), answer_once("chromium-litert-wasm", "tflite-int8")
    assert there.labels == here.labels
    assert (there.scores == here.scores).all()


@pytest.mark.parametrize("name", BOTH)
def test_truncated_weights_fail(name: str, build: Path, tmp_path: Path, answer: Answer) -> None:
    folder = Path(shutil.copytree(build / "tfjs-float32", tmp_path / "cut"))
    (weights,) = folder.glob("*.bin")
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    with pytest.raises(ChildError):
        answer(name, folder)


@pytest.mark.parametrize("name", BOTH)
def test_an_absent_weight_file_is_named_in_the_error(name: str, build: Path, tmp_path: Path, answer: Answer) -> None:
    folder = Path(shutil.copytree(build / "tfjs-float32", tmp_path / "bare"))
    (weights,) = folder.glob("*.bin")
    weights.unlink()
    with pytest.raises(ChildError, match=weights.name):
        answer(name, folder)


@pytest.mark.parametrize("target", BOTH)
def test_timing_begins_after_settling(target: str, answer: Answer) -> None:
    begun = time.perf_counter()
    run = answer(target, "tfjs-float32", settle_s=1.5)
    assert time.perf_counter() - begun > 1.5
    assert len(run.latencies_ms) == 5
