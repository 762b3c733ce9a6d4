# SPDX-License-Identifier: Apache-2.0
"""What a child process keeps between calls, and what the timing loop leaves behind."""

from pathlib import Path

import numpy as np

from edgeferry.benchmarks.latency.loaded import KEY, LoadedArtifact, gpu_clocks, last_scores, on_cpu, time_iteration
from edgeferry.models.system.child import Child
from edgeferry.targets.target import Session


def test_state_lives_as_long_as_the_process_and_is_not_shared(tmp_path: Path) -> None:
    with Child() as one, Child() as other:
        assert one.call(dict.setdefault, "loaded", 1, log=tmp_path / "log", with_state=True) == 1
        assert one.call(dict.setdefault, "loaded", 2, log=tmp_path / "log", with_state=True) == 1
        assert other.call(dict.setdefault, "loaded", 3, log=tmp_path / "log", with_state=True) == 3
        one.stop()
        assert one.call(dict.setdefault, "loaded", 4, log=tmp_path / "log", with_state=True) == 4


def test_a_call_without_state_is_passed_its_arguments_alone(tmp_path: Path) -> None:
    with Child() as child:
        assert child.call(max, 1, 2, log=tmp_path / "log") == 2


def test_an_iteration_keeps_the_output_of_its_last_call() -> None:
    outputs = iter(range(1, 1000))
    session = Session(lambda _: lambda: np.zeros(1), lambda raw: raw.astype(np.float32), None, 0.0, {})
    state = {KEY: LoadedArtifact(session, lambda: np.full((1, 3), next(outputs)), 1.0, (2, 3), 0.0)}
    wall_ms, cpu_ms = time_iteration(state)
    assert wall_ms > 0
    assert cpu_ms >= 0
    # One untimed call, then two and three timed ones.
    assert last_scores(state).tolist() == [[6.0] * 3]
    assert gpu_clocks(state) == {}


def test_an_environment_without_a_device_is_a_cpu() -> None:
    assert on_cpu({"provider": "CPUExecutionProvider"})
    assert on_cpu({})
    assert not on_cpu({"provider": "CUDAExecutionProvider"})
