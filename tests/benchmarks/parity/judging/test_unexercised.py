# SPDX-License-Identifier: Apache-2.0
"""What golden images one by one do not show: each fault is planted in a real artifact whose digests are in order, and fails."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgeferry.benchmarks.parity.bench import open_bench
from edgeferry.benchmarks.parity.lanes import SideBySide
from edgeferry.benchmarks.parity.rows import Row
from edgeferry.benchmarks.parity.run import run_all
from edgeferry.models.artifact import files_of, read_artifact, write_manifest
from edgeferry.models.exports import record_manifest
from edgeferry.models.system.child import Child
from edgeferry.targets.target import choose


@pytest.fixture(autouse=True)
def _share_child(child: Child, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeferry.benchmarks.parity.run.SideBySide", lambda *how: SideBySide(*how[:3], child))


@pytest.fixture
def build(exported_colours: Any, tmp_path: Path) -> Path:
    """Return the exported colour classifier in a folder of this test's own."""
    return Path(shutil.copytree(exported_colours.build, tmp_path / "colours"))


def _row(build: Path, name: str, on: str) -> Row:
    target = choose((on,))
    if why := target[0].missing():
        pytest.skip(why)
    return next(row for row in run_all(open_bench(build, target, lambda *_: None, reuse=False)) if row.format == name)


def _sign(folder: Path, **changes: Any) -> None:
    """Put manifest and digests in order, as a build that wrote the wrong thing would have."""
    write_manifest(replace(read_artifact(folder), files=files_of(folder), **changes), folder)
    record_manifest(folder.parent, folder.name)


# The endpoint's own reading of files.

TURNED = "ImageOps.exif_transpose(picture)"
UPRIGHT = "!= 1 else picture"
PIL = '__import__("PIL.Image").Image'
ON_WHITE = f'{PIL}.alpha_composite({PIL}.new("RGBA", picture.size, "white"), picture) if picture.mode == "RGBA" else picture'
NUMBERS = f'{PIL}.fromarray(__import__("numpy").asarray(picture)) if picture.mode == "P" else picture'


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ("Image.Resampling[how.resize.upper()]", "Image.Resampling.NEAREST", "a PNG of another size and aspect"),
        (TURNED, "picture", "a JPEG with EXIF rotation"),
        (UPRIGHT, f"!= 1 else ({ON_WHITE})", "a PNG with an alpha channel"),
        (UPRIGHT, f"!= 1 else ({NUMBERS})", "a palette PNG"),
    ],
    ids=["resize", "orientation", "alpha", "palette"],
)
def test_a_container_that_reads_files_otherwise_fails(old: str, new: str, kind: str, build: Path) -> None:
    folder = build / "container-float32"
    program = folder / "edgeferry" / "models" / "preprocessing.py"
    text = program.read_text(encoding="utf-8")
    assert text.count(old) == 1
    program.write_text(text.replace(old, new), encoding="utf-8")
    _sign(folder)
    row = _row(build, "container-float32", "endpoint")
    assert row.outcome == "failed"
    assert kind in row.reason
    assert row.metric("top1_agreement") == 1


def test_a_container_that_refuses_a_kind_of_file_fails(build: Path) -> None:
    folder = build / "container-float32"
    program = folder / "edgeferry" / "models" / "preprocessing.py"
    text = program.read_text(encoding="utf-8")
    program.write_text(text.replace('"P", "PA", ', ""), encoding="utf-8")
    _sign(folder)
    row = _row(build, "container-float32", "endpoint")
    assert row.outcome == "failed"
    assert "it gives no probabilities for a palette PNG" in row.reason


# Batches.


def _repeat_the_first(model: Any) -> None:
    """Make a graph output the first image's scores for every image of a batch."""
    output = model.graph.output[0].name
    for node in model.graph.node:
        node.output[:] = ["each" if name == output else name for name in node.output]
    constants = {"zero": np.array([0], np.int64), "one": np.array([1], np.int64), "axis": np.array([0], np.int64)}
    model.graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in constants.items())
    nodes = [
        onnx.helper.make_node("Slice", ["each", "zero", "one", "axis"], ["first"]),
        onnx.helper.make_node("Shape", ["each"], ["shape"]),
        onnx.helper.make_node("Expand", ["first", "shape"], [output]),
    ]
    model.graph.node.extend(nodes)


@pytest.mark.parametrize(
    ("name", "file", "on"),
    [("onnx-float32", "model.onnx", "onnxruntime-cpu"), ("container-float32", "colours.onnx", "endpoint")],
)
def test_an_onnx_graph_that_repeats_the_first_image_of_a_batch_fails(name: str, file: str, on: str, build: Path) -> None:
    model = onnx.load(build / name / file)
    _repeat_the_first(model)
    onnx.save(model, build / name / file)
    _sign(build / name)
    row = _row(build, name, on)
    assert row.outcome == "failed"
    assert "each gets the scores of the batch's first image" in row.reason
    assert row.metric("top1_agreement") == 1


def _first(scores: Any) -> Any:
    return scores * 0 + scores[:1]


def test_a_savedmodel_that_repeats_the_first_image_of_a_batch_fails(build: Path) -> None:
    import tensorflow as tf

    folder = build / "savedmodel"
    honest = tf.saved_model.load(str(folder)).signatures["serving_default"]
    (output,) = honest.structured_outputs
    module = tf.Module()
    module.honest = honest
    shape = honest.structured_input_signature[1]["image"]
    module.serve = tf.function(lambda image: {output: _first(honest(image=image)[output])}, input_signature=[shape])
    tf.saved_model.save(module, str(folder / "again"), signatures={"serving_default": module.serve})
    shutil.copytree(folder / "again", folder, dirs_exist_ok=True)
    shutil.rmtree(folder / "again")
    _sign(folder)
    row = _row(build, "savedmodel", "keras")
    assert row.outcome == "failed"
    assert "each gets the scores of the batch's first image" in row.reason


def test_a_tfjs_graph_that_mixes_up_the_images_of_a_batch_fails(build: Path) -> None:
    file = build / "tfjs-float32" / "model.json"
    model = json.loads(file.read_text(encoding="utf-8"))
    nodes = model["modelTopology"]["node"]
    (output,) = (node for node in nodes if node["name"] == "probabilities")
    output["name"] = "each"
    kind, number = {"T": {"type": "DT_FLOAT"}}, {"dtype": {"type": "DT_INT32"}}
    nodes += [
        {"name": "axis", "op": "Const", "attr": number | {"value": {"tensor": {"dtype": "DT_INT32", "tensorShape": {}}}}},
        {"name": "highest", "op": "Max", "input": ["each", "axis"], "attr": kind | {"keep_dims": {"b": True}}},
        {"name": "nothing", "op": "Sub", "input": ["each", "each"], "attr": kind},
        {"name": "probabilities", "op": "AddV2", "input": ["nothing", "highest"], "attr": kind},
    ]
    model["weightsManifest"][0]["weights"].append({"name": "axis", "shape": [], "dtype": "int32"})
    shard = file.with_name(model["weightsManifest"][0]["paths"][-1])
    shard.write_bytes(shard.read_bytes() + bytes(4))
    file.write_text(json.dumps(model), encoding="utf-8")
    _sign(file.parent)
    row = _row(build, "tfjs-float32", "node-wasm")
    assert row.outcome == "failed"
    assert "in a batch" in row.reason
    assert row.metric("top1_agreement") == 1


# What a file and its manifest say of themselves.


def _onnx(folder: Path, key: str, change: Callable[[Any], Any]) -> None:
    model = onnx.load(folder / "model.onnx")
    (entry,) = (each for each in model.metadata_props if each.key == key)
    entry.value = json.dumps(change(json.loads(entry.value)))
    onnx.save(model, folder / "model.onnx")


def _tfjs(folder: Path, key: str, change: Callable[[Any], Any]) -> None:
    model = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    model["userDefinedMetadata"][key] = change(model["userDefinedMetadata"][key])
    (folder / "model.json").write_text(json.dumps(model), encoding="utf-8")


def _coreml(folder: Path, key: str, change: Callable[[Any], Any]) -> None:
    from edgeferry.models.coreml_messages import messages

    (file,) = folder.rglob("*.mlmodel")
    model = messages().Model.FromString(file.read_bytes())
    held = model.description.metadata.userDefined
    held[key] = json.dumps(change(json.loads(held[key])))
    file.write_bytes(model.SerializeToString())


FILES = {"onnx-float32": _onnx, "tfjs-float32": _tfjs, "coreml-float16": _coreml}
DOUBLED = "names [120, 140, 160] as its std; the config's is [60, 70, 80]"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"std": [120.0, 140.0, 160.0]}, DOUBLED),
        ({"mean": [0.0, 45.0, 50.0]}, "names [0, 45, 50] as its mean; the config's is [40, 45, 50]"),
        ({"resize": "nearest"}, "names 'nearest' as its resize; the config's is 'bicubic'"),
        ({"fit": "stretch"}, "names 'stretch' as its fit; the config's is 'crop'"),
        ({"colour": "rgb"}, "names 'rgb' as its colour; the config's is 'bgr'"),
    ],
)
@pytest.mark.parametrize("name", sorted(FILES))
def test_a_file_with_other_preprocessing_fails(name: str, changed: dict[str, Any], reason: str, build: Path) -> None:
    FILES[name](build / name, "preprocessing", lambda found: found | changed)
    _sign(build / name)
    row = _row(build, name, "null")
    assert (row.outcome, row.verdict.code, row.reason) == ("failed", "EF-metadata-differs", f"the file {reason}")


@pytest.mark.parametrize("name", ["onnx-float32", "tfjs-float32"])
def test_a_file_that_calls_probabilities_logits_fails(name: str, build: Path) -> None:
    FILES[name](build / name, "output", lambda _: "logits")
    _sign(build / name)
    assert _row(build, name, "null").reason == "the file names 'logits' as its output; the config's is 'probabilities'"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"std": (120.0, 140.0, 160.0)}, DOUBLED),
        ({"mean": (50.0, 45.0, 40.0)}, "names [50, 45, 40] as its mean; the config's is [40, 45, 50]"),
        ({"colour": "rgb"}, "names 'rgb' as its colour; the config's is 'bgr'"),
    ],
)
def test_tflite_metadata_with_other_preprocessing_fails(changed: Any, reason: str, build: Path, exported_colours: Any) -> None:
    from edgeferry.exporters.tflite.metadata import with_metadata

    file, spec = build / "tflite-float32" / "model.tflite", exported_colours.spec
    file.write_bytes(with_metadata(file.read_bytes(), replace(spec, preprocessing=replace(spec.preprocessing, **changed))))
    _sign(file.parent)
    row = _row(build, "tflite-float32", "null")
    assert (row.outcome, row.verdict.code, row.reason) == ("failed", "EF-metadata-differs", f"the file {reason}")


def test_a_file_without_its_metadata_fails(build: Path) -> None:
    model = onnx.load(build / "onnx-float32" / "model.onnx")
    del model.metadata_props[:]
    onnx.save(model, build / "onnx-float32" / "model.onnx")
    _sign(build / "onnx-float32")
    row = _row(build, "onnx-float32", "null")
    assert (row.outcome, row.verdict.code) == ("failed", "EF-metadata-missing")


def test_a_manifest_with_other_preprocessing_fails(build: Path) -> None:
    how = read_artifact(build / "savedmodel").preprocessing
    _sign(build / "savedmodel", preprocessing=replace(how, resize="nearest"))
    row = _row(build, "savedmodel", "null")
    assert row.reason == "its manifest names 'nearest' as its resize; the config's is 'bicubic'"


# The manifest itself.


def test_a_manifest_edited_after_the_export_fails(build: Path) -> None:
    manifest = build / "onnx-float32" / "manifest.json"
    fields = json.loads(manifest.read_text(encoding="utf-8"))
    fields["notes"] = ["nothing to see here"]
    manifest.write_text(json.dumps(fields), encoding="utf-8")
    row = _row(build, "onnx-float32", "onnxruntime-cpu")
    assert (row.outcome, row.verdict.code) == ("failed", "EF-manifest-changed")
    assert "export again" in row.reason


def test_a_tolerance_widened_in_the_manifest_changes_nothing(build: Path) -> None:
    folder = build / "onnx-float32"
    tolerance = read_artifact(folder).tolerance
    model = onnx.load(folder / "model.onnx")
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.size > 100:
            tensor.CopyFrom(onnx.numpy_helper.from_array(values * np.float32(0.5), tensor.name))
    onnx.save(model, folder / "model.onnx")
    _sign(folder, tolerance=replace(tolerance, top1_agreement=0.0, p99_difference=1.0, mean_difference=1.0))
    row = _row(build, "onnx-float32", "onnxruntime-cpu")
    assert row.outcome == "failed"
    assert row.tolerance == tolerance
