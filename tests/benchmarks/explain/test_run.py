# SPDX-License-Identifier: Apache-2.0
"""The colour classifier's files explained, as they are and with one fault planted."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from rich.console import Console

from edgeferry.benchmarks.explain.result import SCHEMA, Explained, Explanation, read_explanation, write_explanation
from edgeferry.benchmarks.explain.run import Subject, Workshop, explained
from edgeferry.benchmarks.explain.subjects import subjects_in
from edgeferry.benchmarks.parity.bench import open_bench
from edgeferry.benchmarks.parity.rows import cleaned
from edgeferry.benchmarks.report.explained.page import explain_section
from edgeferry.benchmarks.report.explained.text import print_explanation
from edgeferry.benchmarks.selftest.planting import link_build, plant
from edgeferry.models.system.child import Child
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.places import ROOT
from edgeferry.targets.target import targets

TARGETS: Final = {
    "tflite-int8": "litert-builtin",
    "onnx-float32": "onnxruntime-cpu",
    "coreml-float16": "coreml-reference",
    "savedmodel": "keras",
    "tfjs-float32": "node-wasm",
}


@pytest.fixture(scope="module")
def workshop(exported_colours: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    bench = open_bench(exported_colours.build, (), lambda *_: None, reuse=False)
    work = tmp_path_factory.mktemp("explain")
    with Child() as runner, Child(with_keras=True) as examiner:
        yield Workshop(bench, exported_colours.spec, "", runner, examiner, work)


@pytest.fixture(scope="module")
def found_in(workshop: Workshop, exported_colours: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Explained]:
    """Return what explains a format, with a fault planted where one is named."""
    scratch = tmp_path_factory.mktemp("scratch") / "colours"
    link_build(exported_colours.build, scratch)

    def explain(form: str, fault: str = "") -> Explained:
        places = (exported_colours.build, scratch)
        if fault:
            workshop.examiner.call(plant, exported_colours.spec, places, form, fault, log=workshop.log)
        return explained(workshop, Subject((scratch if fault else places[0]) / form, targets()[TARGETS[form]]))

    return explain


@pytest.fixture(scope="module")
def honest(found_in: Callable[..., Explained]) -> Explained:
    return found_in("tflite-int8")


def test_a_sound_int8_file_differs_by_its_rounding(honest: Explained) -> None:
    assert honest.stage == "quantization"
    assert all(each.error_added < 0.1 for each in honest.layers)


def test_the_errors_of_all_layers_make_the_whole_difference(honest: Explained) -> None:
    assert honest.residual is not None
    assert honest.residual < 1e-5


def test_layers_have_the_names_that_keras_gives_them(honest: Explained, exported_colours: Any) -> None:
    import keras

    own = {layer.name for layer in keras.models.load_model(exported_colours.spec.model).layers}
    assert {layer for each in honest.layers for layer in each.layers} <= own
    assert any(len(each.layers) > 1 for each in honest.layers)


@pytest.mark.parametrize("form", ["onnx-float32", "coreml-float16", "savedmodel", "tfjs-float32"])
def test_a_sound_file_of_each_kind_shows_its_layers(found_in: Callable[..., Explained], form: str) -> None:
    if why := targets()[TARGETS[form]].missing():
        pytest.skip(why)
    found = found_in(form)
    assert found.problem == ""
    assert max(each.error_out for each in found.layers) < 0.01


@pytest.mark.parametrize("form", ["tflite-int8", "onnx-float32"])
def test_a_layer_with_other_weights_is_named_first(found_in: Callable[..., Explained], exported_colours: Any, form: str) -> None:
    import keras

    found = found_in(form, "noise of 30%, middle layer")
    linear = [
        each.name
        for each in keras.models.load_model(exported_colours.spec.model).layers
        if isinstance(each, keras.layers.Conv2D | keras.layers.Dense)
    ]
    assert found.suspects[0].stage == "layer"
    assert linear[round(0.5 * (len(linear) - 1))] in found.suspects[0].layers


@pytest.mark.parametrize(
    ("fault", "stage"),
    [("red and blue exchanged", "preprocessing"), ("labels shifted by one", "labels"), ("softmax twice", "output head")],
)
def test_a_stage_is_named_before_layers(found_in: Callable[..., Explained], fault: str, stage: str) -> None:
    assert found_in("onnx-float32", fault).stage == stage


def test_without_the_model_scores_alone_speak(workshop: Workshop, exported_colours: Any) -> None:
    alone = Workshop(workshop.bench, None, "the model is not there", workshop.runner, workshop.examiner, workshop.work)
    found = explained(alone, Subject(exported_colours.build / "onnx-float32", targets()["onnxruntime-cpu"]))
    assert (found.layers, found.problem) == ((), "the model is not there")


def test_without_the_model_rounding_is_known_from_the_export(workshop: Workshop, exported_colours: Any) -> None:
    alone = Workshop(workshop.bench, None, "the model is not there", workshop.runner, workshop.examiner, workshop.work)
    found = explained(alone, Subject(exported_colours.build / "tflite-int8", targets()["litert-builtin"]))
    assert found.stage == "quantization"


def explanation(*results: Explained) -> Explanation:
    return cleaned(Explanation("colours", "0" * 64, "2026-11-28T00:00:00+00:00", 1.0, results))


def test_what_is_written_is_read_again_and_follows_its_schema(honest: Explained, tmp_path: Path) -> None:
    file = write_explanation(explanation(honest), tmp_path)
    schema = json.loads((ROOT / "benchmarks" / "explain" / "explain.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator(schema).validate(json.loads(file.read_text(encoding="utf-8")))
    assert schema["properties"]["schema"]["const"] == SCHEMA
    assert read_explanation(tmp_path) == explanation(honest)


def test_the_terminal_shows_the_stage_and_every_layer_in_80_columns(honest: Explained) -> None:
    out = io.StringIO()
    print_explanation(explanation(honest), Console(file=out, width=80, force_terminal=True, color_system=None))
    text = out.getvalue()
    assert "tflite-int8 on litert-builtin: quantization" in text
    assert all(each.layers[0].split(" ")[0][:12] in text for each in honest.layers if each.layers)
    assert max(map(len, text.splitlines())) <= 80


def test_the_page_draws_the_network(honest: Explained, tmp_path: Path) -> None:
    write_explanation(explanation(honest), tmp_path)
    section = explain_section(tmp_path, ())
    assert section is not None
    (result,) = section["results"]
    assert result["plot"].startswith("<svg")
    assert all(name in result["plot"] for each in honest.layers for name in [each.name[:12]])


def test_a_format_that_was_not_exported_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EdgeError) as error:
        subjects_in(tmp_path, ("tflite-int8",), ())
    assert error.value.code == "EF-explain-not-exported"


def test_where_nothing_was_checked_there_is_nothing_to_explain(tmp_path: Path) -> None:
    with pytest.raises(EdgeError) as error:
        subjects_in(tmp_path, (), ())
    assert error.value.code == "EF-explain-nothing"


def test_scores_that_are_not_numbers_are_said(honest: Explained) -> None:
    assert np.isfinite([each.effect for each in honest.layers]).all()
