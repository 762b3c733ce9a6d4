# SPDX-License-Identifier: Apache-2.0
"""The CPU time of an export compared with the converters' own public recipes, in one process and one run, without imports.

The model is MobileNetV2 0.35 at 96 x 96; the time of a conversion does not depend on its outputs.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from edgeferry.benchmarks.own.mobilenet import SIDE, mobilenet
from edgeferry.exporters.format import formats, write_format
from edgeferry.exporters.graph.source import Source, read_source
from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.golden.reference_writer import make_reference
from edgeferry.models.reference import REFERENCE, read_reference
from edgeferry.models.system.files import whole_folder

CONVERSIONS: Final = (
    "tflite-float32",
    "tflite-float16",
    "tflite-dynamic",
    "tflite-int8",
    "onnx-float32",
    "coreml-float16",
    "tfjs-float32",
)
# The project's own limits, as ratios within one run.
LEAST_TFLITE_RATIO: Final = 8.0
LEAST_ALL_RATIO: Final = 4.0
MOST_NOTHING_S: Final = 0.5
# Python with the imports that every command makes.
START: Final = [sys.executable, "-c", "import typer, rich, numpy"]


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    """Return the config of a MobileNetV2 that classifies photographs."""
    return mobilenet(tmp_path_factory.mktemp("mobilenet"))


@pytest.fixture(scope="module")
def source(spec: ModelSpec) -> Source:
    """Return the frozen model; every framework is imported and warm afterwards."""
    import coremltools  # noqa: F401 - imported here so that no figure holds its import
    import tf2onnx  # noqa: F401 - likewise

    from edgeferry.exporters.tfjs.formats import conversion

    conversion()
    folder = spec.model.parent / REFERENCE
    make_reference(spec, folder)
    frozen = read_source(spec, folder)
    assert read_reference(folder) is not None
    _ours(frozen, ("tflite-float32",), spec.model.parent / "warm")
    return frozen


@pytest.fixture(scope="module")
def seconds() -> dict[str, float]:
    """Return the median CPU seconds by case, filled as the cases run."""
    return {}


def _run(benchmark: Any, call: Callable[[], None], seconds: dict[str, float], name: str, rounds: int = 1) -> None:
    benchmark.pedantic(call, rounds=rounds, iterations=1)
    seconds[name] = benchmark.stats.stats.median


@pytest.mark.benchmark(group="TF Lite float32, conversion alone", timer=time.process_time)
def bench_tflite_float32_public(benchmark: Any, source: Source, seconds: dict[str, float]) -> None:
    """``TFLiteConverter.from_keras_model``."""
    import tensorflow as tf

    from edgeferry.models.keras_loader import classifier

    model = classifier(source.spec)
    _run(benchmark, lambda: tf.lite.TFLiteConverter.from_keras_model(model).convert(), seconds, "one, public", 3)


@pytest.mark.benchmark(group="TF Lite float32, conversion alone", timer=time.process_time)
def bench_tflite_float32_edgeferry(benchmark: Any, source: Source, seconds: dict[str, float], tmp_path: Path) -> None:
    """From the frozen graph, labels and checks included."""
    _run(benchmark, lambda: _ours(source, ("tflite-float32",), tmp_path), seconds, "one, edgeferry", 3)
    if "one, public" in seconds:
        assert seconds["one, public"] / seconds["one, edgeferry"] >= LEAST_TFLITE_RATIO


@pytest.mark.benchmark(group="four TF Lite, ONNX, Core ML, TF.js", timer=time.process_time)
def bench_all_public(benchmark: Any, source: Source, seconds: dict[str, float], tmp_path: Path) -> None:
    """Each converter's public recipe, one after another."""
    _run(benchmark, lambda: _public_recipes(source, tmp_path), seconds, "all, public")


@pytest.mark.benchmark(group="four TF Lite, ONNX, Core ML, TF.js", timer=time.process_time)
def bench_all_edgeferry(benchmark: Any, source: Source, seconds: dict[str, float], tmp_path: Path) -> None:
    """Traced, folded, frozen and checked again, then passed to every converter."""

    def export() -> None:
        _ours(read_source(source.spec, source.folder), CONVERSIONS, tmp_path)

    _run(benchmark, export, seconds, "all, edgeferry")
    if "all, public" in seconds:
        assert seconds["all, public"] / seconds["all, edgeferry"] >= LEAST_ALL_RATIO


@pytest.mark.benchmark(group="a second `make export-all`, nothing changed")
@pytest.mark.usefixtures("source")
def bench_nothing_changed(benchmark: Any, spec: ModelSpec) -> None:
    """The whole command; its CPU time, with its children's, and how often that of starting Python it is, is in extra_info."""
    toml = _as_toml(spec)
    command = [
        sys.executable,
        "-m",
        "edgeferry",
        "export-all",
        str(toml),
        "--build",
        str(toml.parent / "build"),
        "--target",
        "litert",
    ]
    subprocess.run(command, check=False, capture_output=True)
    used: list[float] = []
    started: list[float] = []

    def again() -> None:
        used.append(_cpu_s(command))
        started.append(_cpu_s(START))

    benchmark.pedantic(again, rounds=5, iterations=1)
    ratio = statistics.median(used) / statistics.median(started)
    benchmark.extra_info |= {"cpu_s": used, "start_cpu_s": started, "ratio_to_start": ratio}
    assert statistics.median(used) <= MOST_NOTHING_S


def _cpu_s(command: list[str]) -> float:
    """Return the CPU time of a command and its children; its modules are compiled and kept, as a user's are."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before = _children_s()
    subprocess.run(command, check=False, capture_output=True, env=environment)
    return _children_s() - before


def _ours(source: Source, names: tuple[str, ...], place: Path) -> None:
    for name in names:
        with whole_folder(place / name) as folder:
            write_format(formats()[name], source, folder)


def _public_recipes(source: Source, place: Path) -> None:
    import coremltools as ct
    import tensorflow as tf
    import tf2onnx

    from edgeferry.exporters.tfjs.formats import conversion
    from edgeferry.models.keras_loader import classifier
    from edgeferry.models.preprocessing import normalise

    model, images = classifier(source.spec), normalise(source.calibration, source.spec.preprocessing)
    for kind in ("float32", "float16", "dynamic", "int8"):
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        if kind != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if kind == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if kind == "int8":
            converter.representative_dataset = lambda: ([image[None]] for image in images)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = converter.inference_output_type = tf.uint8
        (place / f"{kind}.tflite").write_bytes(converter.convert())
    signature = [tf.TensorSpec((None, SIDE, SIDE, 3), tf.float32, name="image")]
    predict = tf.function(lambda image: model(image, training=False), input_signature=signature)
    tf2onnx.convert.from_function(predict, input_signature=signature, opset=17, output_path=str(place / "model.onnx"))
    ct.convert(model, source="tensorflow", convert_to="mlprogram", skip_model_load=True).save(str(place / "model.mlpackage"))
    model.export(place / "saved", verbose=False)
    conversion().convert_tf_saved_model(str(place / "saved"), str(place / "tfjs"))


def _as_toml(spec: ModelSpec) -> Path:
    labels = ", ".join(f'"{label}"' for label in spec.labels)
    path = spec.path
    path.write_text(
        f'[model]\nfile = "model.keras"\nlabels = [{labels}]\n[input]\nshape = [{SIDE}, {SIDE}, 3]\nrange = [-1, 1]\n'
        '[data]\ngolden = "golden.npz"\ncalibration = "calibration.npz"\n'
        '[export]\nformats = ["tflite-float32", "tflite-int8", "onnx-float32"]\n'
    )
    return path


def _children_s() -> float:
    import resource

    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
