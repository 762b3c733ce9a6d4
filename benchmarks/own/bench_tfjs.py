# SPDX-License-Identifier: Apache-2.0
"""The CPU time of an inference in TensorFlow.js compared with the plain converter's artifact of the same model.

The plain one is what ``tensorflowjs_converter --input_format=tf_saved_model`` writes for ``model.export()``, with its defaults.
One Node process loads both and times them interleaved on the wasm backend: both see the same compiler and the same load.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
import pytest

from edgeferry.benchmarks.own.mobilenet import mobilenet
from edgeferry.exporters.graph.source import Source, read_source
from edgeferry.exporters.tfjs.formats import TfjsOptions, conversion, write
from edgeferry.models.config.spec import ModelSpec, read_spec
from edgeferry.models.digits import train
from edgeferry.models.golden.reference_writer import make_reference
from edgeferry.models.keras_loader import classifier
from edgeferry.models.preprocessing import normalise
from edgeferry.models.reference import PIXELS, REFERENCE
from edgeferry.models.system.places import ROOT

HERE: Final = Path(__file__).parent
WEB: Final = ROOT / "targets" / "web"
REPETITIONS: Final = 40
# About 100 ms each: an iteration is much longer than a garbage collection, a run much longer than a burst of other load.
INFERENCES: Final = {"MobileNetV2": 80, "digits": 400}
# The project's own limit, as a ratio within one run.
LEAST_RATIO: Final = 1.2
# Both have the same outputs but for float32 noise of a folded network.
MOST_DIFFERENCE: Final = 1e-4

pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or not (WEB / "node_modules" / "@tensorflow").is_dir(),
    reason="needs node and the npm packages of targets/web: `make install`",
)


@pytest.mark.benchmark(group="TensorFlow.js in Node, wasm: plain against edgeferry")
def bench_mobilenet(benchmark: Any, tmp_path: Path) -> None:
    """MobileNetV2 0.35 at 96 x 96: at least 1.2 times less CPU time."""
    found = _compared(benchmark, mobilenet(tmp_path), "MobileNetV2")
    assert found["ratio"] >= LEAST_RATIO


@pytest.mark.benchmark(group="TensorFlow.js in Node, wasm: plain against edgeferry")
def bench_digits(benchmark: Any, tmp_path: Path) -> None:
    """The default classifier, whose operations are so small that calling them dominates; printed, not checked."""
    config = (ROOT / "models" / "digits.toml").read_text(encoding="utf-8")
    toml = tmp_path / "digits.toml"
    toml.write_text(config.replace("../build/digits/source/", "source/"), encoding="utf-8")
    spec = read_spec(toml)
    train(spec)
    _compared(benchmark, spec, "digits")


def _compared(benchmark: Any, spec: ModelSpec, name: str) -> dict[str, float]:
    """Return the ratio of CPU times, plain to ours, and its spread; printed on stderr and stored with the benchmark."""
    place = spec.model.parent
    make_reference(spec, place / REFERENCE)
    source = read_source(spec, place / REFERENCE)
    folders = {"plain": place / "plain", "edgeferry": place / "edgeferry"}
    _write_both(source, folders, place)
    image = normalise(np.load(source.folder / PIXELS)[:1], spec.preprocessing)
    request = {
        "shape": image.shape,
        "image": image.reshape(-1).tolist(),
        "folders": {key: str(folder) for key, folder in folders.items()},
        "repetitions": REPETITIONS,
        "inferences": INFERENCES[name],
    }
    results = benchmark.pedantic(_in_node, args=(request,), rounds=1, iterations=1)
    moved = np.abs(np.subtract(results["plain"]["scores"], results["edgeferry"]["scores"])).max()
    assert moved <= MOST_DIFFERENCE
    found = _ratio(results["plain"]["cpu_ms"], results["edgeferry"]["cpu_ms"])
    benchmark.extra_info.update(found)
    sys.stderr.write(
        f"\n{name}: {found['plain_ms']:.3f} ms plain, {found['edgeferry_ms']:.3f} ms edgeferry, {found['ratio']:.2f}x "
        f"({found['ratio_p10']:.2f} to {found['ratio_p90']:.2f} from p10 to p90 of {REPETITIONS} pairs)\n"
    )
    return found


def _write_both(source: Source, folders: dict[str, Path], place: Path) -> None:
    classifier(source.spec).export(place / "saved", verbose=False)
    conversion().convert_tf_saved_model(str(place / "saved"), str(folders["plain"]))
    folders["edgeferry"].mkdir()
    write(source, folders["edgeferry"], TfjsOptions(), "float32")


def _in_node(request: dict[str, Any]) -> dict[str, Any]:
    command = [shutil.which("node") or "node", str(HERE / "bench_tfjs.js")]
    done = subprocess.run(command, input=json.dumps(request), capture_output=True, text=True, check=True, cwd=WEB)
    results: dict[str, Any] = json.loads(done.stdout)
    return results


def _ratio(plain: list[float], ours: list[float]) -> dict[str, float]:
    """Return medians, and of the ratios of neighbouring iterations the median, 10th and 90th percentile."""
    low, middle, high = map(float, np.quantile(np.divide(plain, ours), [0.1, 0.5, 0.9]))
    return {"plain_ms": median(plain), "edgeferry_ms": median(ours), "ratio": middle, "ratio_p10": low, "ratio_p90": high}
