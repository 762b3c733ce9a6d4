# SPDX-License-Identifier: Apache-2.0
"""Graph models run by TensorFlow.js in Node."""

import json
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from edgeferry.models.system.places import ROOT

WEB: Final = ROOT / "targets" / "web"
# The benchmark's program; without a number of repetitions it predicts once and times nothing.
PROGRAM: Final = ROOT / "benchmarks" / "own" / "bench_tfjs.js"


@pytest.fixture(scope="session")
def run_in_node() -> Callable[[Any, Mapping[str, Path]], dict[str, Any]]:
    """Return a function that runs models (folders by name) on one image: scores and metadata, or an error, by name."""
    if shutil.which("node") is None or not (WEB / "node_modules" / "@tensorflow").is_dir():
        pytest.skip("needs node and the npm packages of targets/web: `make install`")

    def run(image: Any, folders: Mapping[str, Path]) -> dict[str, Any]:
        named = {name: str(folder) for name, folder in folders.items()}
        request = json.dumps({"shape": image.shape, "image": image.reshape(-1).tolist(), "folders": named})
        done = subprocess.run(["node", PROGRAM], input=request, capture_output=True, text=True, check=True, cwd=WEB, timeout=300)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return run
