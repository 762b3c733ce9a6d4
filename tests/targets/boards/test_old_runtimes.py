# SPDX-License-Identifier: Apache-2.0
"""Facts about the runtimes that boards have, measured on them: TF Lite 2.5 (Coral) and 2.7."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeferry.benchmarks.parity.judging.expected import images_to_run, read_expected
from edgeferry.benchmarks.parity.judging.verdict import judge
from edgeferry.exporters import worker
from edgeferry.exporters.graph.source import Source, read_source
from edgeferry.models.artifact import read_artifact
from edgeferry.targets.target import Job, Run, targets

OLD = ("tflite-2.5", "tflite-2.7")


@pytest.fixture(scope="module")
def source(exported_digits: Any) -> Source:
    """Return the frozen default classifier."""
    return read_source(exported_digits.spec, exported_digits.build / "reference")


@pytest.fixture(scope="module")
def per_channel(exported_digits: Any, source: Source, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a full-integer artifact whose Dense weights are quantized per-channel, TensorFlow's default."""
    build = tmp_path_factory.mktemp("per-channel")
    spec = replace(exported_digits.spec, format_options=(("tflite-int8", '{"dense": "per-channel"}'),))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(worker, "source_of", lambda spec, build: replace(source, spec=spec))
        worker.write(spec, build, "tflite-int8", {"tools": {}, "options": {}})
    return build / "tflite-int8"


def _run(target: str, folder: Path, exported: Any, work: Path) -> Run:
    if why := targets()[target].missing():
        pytest.skip(why)
    return targets()[target].run(Job(folder, images_to_run(exported.build), work, rounds=5))


@pytest.mark.parametrize("target", OLD)
def test_the_integer_artifact_passes_on_it(target: str, exported_digits: Any, tmp_path: Path) -> None:
    folder = exported_digits.build / "tflite-int8"
    run = _run(target, folder, exported_digits, tmp_path)
    answers = read_expected(exported_digits.build / "reference", exported_digits.spec.labels)
    verdict = judge(run.scores, run.labels, read_artifact(folder), answers)
    assert verdict.passed, verdict.reason
    assert run.environment["version"].startswith(target.removeprefix("tflite-"))


@pytest.mark.parametrize("target", OLD)
def test_a_dense_layer_quantized_per_channel_outputs_a_constant_without_an_error_and_fails(
    target: str, per_channel: Path, exported_digits: Any, tmp_path: Path
) -> None:
    run = _run(target, per_channel, exported_digits, tmp_path)
    answers = read_expected(exported_digits.build / "reference", exported_digits.spec.labels)
    verdict = judge(run.scores, run.labels, read_artifact(per_channel), answers)
    assert np.ptp(run.scores, axis=0).max() == 0
    assert not verdict.passed


@pytest.mark.parametrize("target", ["litert", "tflite-runtime"])
def test_newer_runtimes_run_that_file_correctly(target: str, per_channel: Path, exported_digits: Any, tmp_path: Path) -> None:
    run = _run(target, per_channel, exported_digits, tmp_path)
    answers = read_expected(exported_digits.build / "reference", exported_digits.spec.labels)
    assert judge(run.scores, run.labels, read_artifact(per_channel), answers).passed


@pytest.mark.parametrize("target", OLD)
def test_it_reads_only_the_full_integer_format(target: str, exported_digits: Any) -> None:
    taken = {name for name in exported_digits.exports if (exported_digits.build / name / "manifest.json").is_file()}
    taken = {name for name in taken if targets()[target].takes(read_artifact(exported_digits.build / name))}
    assert taken == {"tflite-int8"}
