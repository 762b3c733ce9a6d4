# SPDX-License-Identifier: Apache-2.0
"""The colour classifier repaired, with one channel so much larger than the others that 8 bits leave nothing of these."""

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from rich.console import Console

from edgeferry.benchmarks.fix.result import FIX, Fixed, Half
from edgeferry.benchmarks.fix.search import Plan, fix
from edgeferry.benchmarks.fix.trials import Trials, kept_in
from edgeferry.benchmarks.report.explained.repair import print_fixed, summary
from edgeferry.exporters.export import export_all
from edgeferry.models.config.spec import ModelSpec, read_spec
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.places import ROOT
from edgeferry.targets.target import targets

FORMAT: Final = "tflite-int8"
FACTOR: Final = 3000.0


@pytest.fixture(scope="module")
def lopsided(colours: ModelSpec, tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelSpec, Path]:
    """Return the classifier, in float the same as before, exported as integers."""
    import keras

    place = tmp_path_factory.mktemp("lopsided") / "colours"
    shutil.copytree(colours.path.parent, place)
    spec = read_spec(place / colours.path.name)
    model = keras.models.load_model(spec.model)
    convolution, dense = model.layers[3], model.layers[5]
    factors = np.ones(convolution.filters, np.float32)
    factors[0] = FACTOR
    convolution.set_weights([each * factors for each in convolution.get_weights()])
    weights, bias = dense.get_weights()
    dense.set_weights([weights / factors[:, None], bias])
    model.save(spec.model)
    build = place / "build"
    export_all(spec, build, (FORMAT,), lambda *_: None)
    return spec, build


def searched(lopsided: tuple[ModelSpec, Path]) -> Fixed:
    spec, build = lopsided
    return fix(build, Plan(spec, FORMAT, targets()["litert-builtin"], seconds=300), lambda *_: None)


@pytest.fixture(scope="module")
def found(lopsided: tuple[ModelSpec, Path]) -> Fixed:
    return searched(lopsided)


def test_what_fails_is_repaired_by_the_layers_around_the_large_channel(found: Fixed) -> None:
    assert found.trials[0].chosen is not None
    assert found.trials[0].chosen.outcome == "failed"
    assert found.best is not None
    assert set(found.change) == {"keep_float"}
    assert len(found.change["keep_float"]) < len(found.trials[-1].candidate.keep_float)


def test_it_is_proven_on_images_that_it_was_not_chosen_by(found: Fixed) -> None:
    best = found.trials[found.best or 0]
    assert best.chosen is not None
    assert best.proof is not None
    assert (best.chosen.images + best.proof.images, best.proof.outcome) == (160, "passed")


@pytest.fixture(scope="module")
def unproven(found: Fixed, lopsided: tuple[ModelSpec, Path]) -> Fixed:
    """Return a second search, of which nothing passes on the other half."""
    assert found.best is not None
    failed = Half("failed", "", 80, 0.5, 0.4, 0.3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trials, "proven", lambda _self, trial: replace(trial, proof=failed))
        return searched(lopsided)


def test_what_was_tried_is_not_tried_again(found: Fixed, unproven: Fixed, lopsided: tuple[ModelSpec, Path]) -> None:
    assert [each.key for each in unproven.trials] == [each.key for each in found.trials]
    assert kept_in(lopsided[1], FORMAT).read_text(encoding="utf-8").count("\n") == len(found.trials)


def test_what_fails_on_the_other_half_is_not_claimed(unproven: Fixed) -> None:
    assert (unproven.best, unproven.change) == (None, {})
    assert "Nothing is proven" in summary(unproven)


def test_what_is_kept_follows_its_schema(found: Fixed, lopsided: tuple[ModelSpec, Path]) -> None:
    schema = json.loads((ROOT / "benchmarks" / "fix" / "fix.schema.json").read_text(encoding="utf-8"))
    data: Any = json.loads((lopsided[1] / FIX / f"{FORMAT}.json").read_text(encoding="utf-8"))
    Draft202012Validator(schema).validate(data)
    assert data["best"] is None or data["frontier"]
    assert found.trials


def test_the_terminal_shows_the_change_in_80_columns(found: Fixed) -> None:
    out = io.StringIO()
    print_fixed(found, Console(file=out, width=80, force_terminal=True, color_system=None))
    text = out.getvalue()
    assert "Proven on images that it was not chosen by" in " ".join(text.split())
    assert f"[export.{FORMAT}]" in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_format_without_options_to_search_is_refused(lopsided: tuple[ModelSpec, Path]) -> None:
    with pytest.raises(EdgeError) as error:
        fix(lopsided[1], Plan(lopsided[0], "onnx-float32", targets()["onnxruntime-cpu"]), lambda *_: None)
    assert error.value.code == "EF-fix-format"
