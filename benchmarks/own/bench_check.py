# SPDX-License-Identifier: Apache-2.0
"""What checking costs next to bare inference: CPU time of whole processes, on 1,000 images of 224 x 224.

The check is `edgeferry check` of one format on one target: digests, weights, metadata, scores, evidence, report. Bare inference
is LiteRT's interpreter on the same images, one after another. The yardstick was computed by the export.
"""

import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from edgeferry.benchmarks.own.mobilenet import Size, mobilenet
from edgeferry.exporters.export import export_all
from edgeferry.models.reference import PIXELS, REFERENCE
from edgeferry.models.system.places import ROOT

FORMAT: Final = "tflite-float32"
SIZE: Final = Size(side=224, alpha=1.0, images=1000)
ROUNDS: Final = int(os.environ.get("EDGEFERRY_ROUNDS", "5"))
MOST_ADDED: Final = 0.15
# As many threads as the target takes.
BARE: Final = """
import sys
import numpy
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(model_path=sys.argv[1], num_threads=1)
interpreter.allocate_tensors()
takes, gives = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
for pixels in numpy.load(sys.argv[2], mmap_mode="r"):
    interpreter.set_tensor(takes, ((pixels - numpy.float32(127.5)) / numpy.float32(127.5))[None])
    interpreter.invoke()
    interpreter.get_tensor(gives)
"""


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the build folder of a MobileNetV2 with 1,000 golden images."""
    place = tmp_path_factory.mktemp("mobilenet")
    exports = export_all(mobilenet(place, SIZE), place / "build", (FORMAT,), lambda *_: None)
    assert {each.state for each in exports} == {"written"}
    return place / "build"


def bench_checking_next_to_bare_inference(benchmark: Any, build: Path) -> None:
    """How much CPU time a check takes more than inference alone, in turns."""
    file = next((build / FORMAT).glob("*.tflite"))
    bare = [sys.executable, "-c", BARE, str(file), str(build / REFERENCE / PIXELS)]
    check = [sys.executable, "-m", "edgeferry", "check", str(build), "--format", FORMAT, "--target", "litert"]
    # The first check keeps bytecode and what is known of the weights.
    _cpu_seconds(check)
    pairs = benchmark.pedantic(lambda: [(_cpu_seconds(bare), _cpu_seconds(check)) for _ in range(ROUNDS)], rounds=1)
    added = [checking / alone - 1 for alone, checking in pairs]
    alone, checking = (statistics.median(each) for each in zip(*pairs, strict=True))
    spread = f"{min(added):+.1%} to {max(added):+.1%}"
    sys.stderr.write(
        f"\n{SIZE.images} images: bare inference {alone:.1f} s of CPU time, a check {checking:.1f} s: "
        f"{statistics.median(added):+.1%} ({spread}, {ROUNDS} pairs)\n"
    )
    benchmark.extra_info.update(bare=alone, check=checking)
    assert statistics.median(added) <= MOST_ADDED


def _cpu_seconds(command: list[str]) -> float:
    """Return the CPU time of a process and of those it started and waited for."""
    # With bytecode kept, as installed.
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=kept | {"PYTHONPATH": str(ROOT)}) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return used.ru_utime + used.ru_stime
