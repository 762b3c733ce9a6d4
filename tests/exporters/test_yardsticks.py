# SPDX-License-Identifier: Apache-2.0
import shutil
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil
import pytest

from edgeferry.exporters import baselines, export
from edgeferry.exporters.export import export_all
from edgeferry.exporters.format import formats
from edgeferry.models.artifact import read_artifact
from edgeferry.models.reference import REFERENCE, SCORES, read_reference
from edgeferry.models.yardstick import YARDSTICK, read_yardstick

WRITTEN: Final = tuple(name for name, form in formats().items() if form.missing() is None)


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize("classifier", ["exported_digits", "exported_colours"])
def test_each_artifact_has_a_yardstick_that_differs_from_the_keras_model(
    name: str, classifier: str, request: pytest.FixtureRequest
) -> None:
    build = request.getfixturevalue(classifier).build
    reference, precision = read_reference(build / REFERENCE), read_artifact(build / name).precision
    assert reference is not None
    assert precision is not None
    found = read_yardstick(build, precision, reference)
    assert found is not None
    assert 0 < np.abs(found[: reference.images] - np.load(build / REFERENCE / SCORES)).max(axis=1).mean() < 0.1


@pytest.mark.parametrize("least_bytes", [0, 2**40], ids=["by a process of its own", "after the formats"])
def test_a_spoiled_yardstick_is_computed_again_and_is_the_same(
    exported_digits: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, least_bytes: int
) -> None:
    monkeypatch.setattr(baselines, "LEAST_BYTES", least_bytes)
    build = tmp_path / "build"
    shutil.copytree(exported_digits.build, build)
    file, steps = build / YARDSTICK / "int8.npy", []
    before = file.read_bytes()
    file.write_bytes(before[:-1])
    exports = export_all(exported_digits.spec, build, ("tflite-int8",), lambda text, *_: steps.append(text))
    assert [each.state for each in exports] == ["kept"]
    assert steps == ["simulating what each precision alone should change"]
    assert file.read_bytes() == before


def test_an_interruption_ends_the_process_that_simulates(
    exported_digits: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = shutil.copytree(exported_digits.build, tmp_path / "build")
    (build / YARDSTICK / "int8.npy").unlink()
    monkeypatch.setattr(baselines, "LEAST_BYTES", 0)
    before, during = set(psutil.Process().children()), set()

    def interrupted(*_: object) -> None:
        during.update(psutil.Process().children())
        raise KeyboardInterrupt

    monkeypatch.setattr(export, "_exports", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export_all(exported_digits.spec, build, ("tflite-int8",), lambda *_: None)
    assert during > before
    assert not any(each.is_running() for each in during - before)
