# SPDX-License-Identifier: Apache-2.0
import shutil
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

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


def test_a_spoiled_yardstick_is_computed_again_and_is_the_same(exported_digits: Any, tmp_path: Path) -> None:
    build = tmp_path / "build"
    shutil.copytree(exported_digits.build, build)
    file, steps = build / YARDSTICK / "int8.npy", []
    before = file.read_bytes()
    file.write_bytes(before[:-1])
    exports = export_all(exported_digits.spec, build, ("tflite-int8",), lambda text, *_: steps.append(text))
    assert [export.state for export in exports] == ["kept"]
    assert steps == ["simulating what each precision alone should change"]
    assert file.read_bytes() == before
