# SPDX-License-Identifier: Apache-2.0
"""The time of the evaluator of Core ML packages compared with LiteRT, on one thread, in one process, interleaved.

The model is MobileNetV2 1.0 at 224 x 224 with random weights: neither side's time depends on its outputs.
"""

import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from edgeferry.benchmarks.latency.ratio import interval_text, paired_ratio, speed_text

SIDE: Final = 224
CLASSES: Final = 1000
ROUNDS: Final = 60


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that ``export`` wrote, in a process of its own: no target runs amid TensorFlow's memory."""
    place = tmp_path_factory.mktemp("mobilenet")
    program = (
        "import sys; from pathlib import Path; "
        "from edgeferry.benchmarks.own.bench_coreml import export; export(Path(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", program, str(place)], check=True, capture_output=True)
    return place


def export(place: Path) -> None:
    """Write model.tflite, float32, and model.mlpackage, float32, of one network."""
    import coremltools as ct
    import keras
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    keras.utils.set_random_seed(1)
    model = keras.applications.MobileNetV2((SIDE, SIDE, 3), weights=None, classes=CLASSES)
    signature = [tf.TensorSpec((1, SIDE, SIDE, 3), tf.float32, name="image")]
    traced = tf.function(lambda image: model(image, training=False), input_signature=signature).get_concrete_function()
    # Frozen: with variables left in it LiteRT folds nothing, runs 53 parts instead of one and takes six times as long.
    frozen = convert_variables_to_constants_v2(traced)
    (place / "model.tflite").write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([frozen]).convert())
    ct.convert(
        [frozen],
        source="tensorflow",
        convert_to="mlprogram",
        inputs=[ct.ImageType(name="image", shape=(1, SIDE, SIDE, 3), scale=1 / 127.5, bias=[-1, -1, -1])],
        classifier_config=ct.ClassifierConfig(list(map(str, range(CLASSES)))),
        compute_precision=ct.precision.FLOAT32,
        minimum_deployment_target=ct.target.iOS16,
        skip_model_load=True,
    ).save(str(place / "model.mlpackage"))


@pytest.mark.benchmark(group="MobileNetV2 1.0 at 224, float32, one thread", timer=time.process_time)
def bench_evaluator_against_litert(benchmark: Any, exported: Path) -> None:
    """The evaluator in exact mode, preprocessing and class labels included, interleaved with LiteRT's XNNPACK; CPU time."""
    calls = {"litert": _litert(exported), "evaluator": _evaluator(exported)}
    order, times = random.Random(0), {name: np.empty((1, ROUNDS)) for name in calls}
    for call in [*calls.values()] * 5:
        call()
    for number in range(ROUNDS):
        for name in order.sample(list(calls), len(calls)):
            start = time.process_time_ns()
            calls[name]()
            times[name][0, number] = (time.process_time_ns() - start) / 1e6
    found = paired_ratio(times["litert"], times["evaluator"])
    medians = ", ".join(f"{np.median(each):.2f} ms {name}" for name, each in times.items())
    # The goal is 5; the result is printed, not checked.
    sys.stderr.write(f"\nMobileNetV2: {medians}, {speed_text(found)} {interval_text(found)}\n")
    benchmark.extra_info["times_litert"] = [found.ratio, found.low, found.high]
    benchmark.pedantic(calls["evaluator"], rounds=5, iterations=1)


def _litert(exported: Path) -> Callable[[], Any]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(exported / "model.tflite"), num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], _pixels() / np.float32(127.5) - 1)
    interpreter.invoke()
    # What it is compared with must be LiteRT at its best: one XNNPACK part that holds the whole network, and numbers.
    assert sum(operation["op_name"] == "DELEGATE" for operation in interpreter._get_ops_details()) == 1  # noqa: SLF001
    assert np.isfinite(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])).all()
    invoke: Callable[[], Any] = interpreter.invoke
    return invoke


def _evaluator(exported: Path) -> Callable[[], Any]:
    from edgeferry.targets.mil.memory import keep_memory
    from edgeferry.targets.mil.package import open_package
    from edgeferry.targets.mil.program import read_program
    from edgeferry.targets.mil.threads import blas_threads

    assert blas_threads(1) in {1, "unknown"}
    keep_memory()
    package = open_package(exported / "model.mlpackage")
    program = read_program(package, rounds_to_float16=False)
    picture = np.ascontiguousarray(_pixels().transpose(0, 3, 1, 2))
    assert np.isfinite(list(program.evaluated({package.image.name: picture})[package.probabilities].values())).all()
    return lambda: program.evaluated({package.image.name: picture})


def _pixels() -> "np.ndarray[Any, np.dtype[np.float32]]":
    return np.random.default_rng(0).integers(0, 256, (1, SIDE, SIDE, 3)).astype(np.float32)
