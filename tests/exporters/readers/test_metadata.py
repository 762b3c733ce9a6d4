# SPDX-License-Identifier: Apache-2.0
"""What files say of themselves, read by their bytes alone: written by the real writers, and cut short or changed at random."""

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from edgeferry.exporters.readers.reader import reader_of, readers
from edgeferry.exporters.readers.record import FileMetadata
from edgeferry.exporters.readers.tflite_schema import tflite_schema
from edgeferry.exporters.tflite.metadata import with_metadata
from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.coreml_messages import messages
from edgeferry.models.preprocessing import Preprocessing
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.places import ROOT

HOW = Preprocessing(24, 20, "rgb", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375), "bicubic", "crop")
SPEC = ModelSpec("pets", Path("pets.toml"), Path("pets.keras"), ("cat", "d\u00f6g", "neither"), HOW, Path("golden"))


def _tflite(folder: Path) -> Path:
    import flatbuffers

    schema = tflite_schema()
    model = schema.ModelT()
    model.version, model.buffers, model.subgraphs, model.operatorCodes = 3, [schema.BufferT()], [schema.SubGraphT()], []
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    (folder / "model.tflite").write_bytes(with_metadata(bytes(builder.Output()), SPEC))
    return folder / "model.tflite"


def _onnx(folder: Path) -> Path:
    import onnx

    model = onnx.helper.make_model(onnx.helper.make_graph([], "graph", [], []))
    fields = {"labels": list(SPEC.labels), "preprocessing": asdict(HOW), "output": "logits"}
    onnx.helper.set_model_props(model, {name: json.dumps(value) for name, value in fields.items()} | {"author": "A."})
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx"


def _tfjs(folder: Path) -> Path:
    fields = {"labels": list(SPEC.labels), "preprocessing": asdict(HOW), "output": "logits"}
    (folder / "model.json").write_text(json.dumps({"userDefinedMetadata": fields}), encoding="utf-8")
    return folder / "model.json"


def _coreml(folder: Path) -> Path:
    model = messages().Model()
    model.specificationVersion = 7
    model.description.metadata.userDefined["preprocessing"] = json.dumps(asdict(HOW))
    (folder / "model.mlmodel").write_bytes(model.SerializeToString())
    return folder / "model.mlmodel"


WRITERS = {"tflite": _tflite, "onnx": _onnx, "tfjs": _tfjs, "coreml": _coreml}


def _read(path: Path) -> FileMetadata:
    reader = reader_of(path)
    assert reader is not None
    assert reader.metadata is not None
    return reader.metadata(path)


@pytest.mark.parametrize("kind", WRITERS)
def test_what_was_written_is_read_and_all_that_is_expected_is_named(kind: str, tmp_path: Path) -> None:
    found = _read(WRITERS[kind](tmp_path)).values()
    expected = {"labels": SPEC.labels, "output": "logits", **asdict(HOW)}
    assert readers()[kind].named <= set(found)
    for key, value in found.items():
        if isinstance(value, list | tuple) and key != "labels":
            assert np.allclose(value, expected[key], rtol=1e-7)
        else:
            assert value == expected[key]


@pytest.mark.parametrize(("colour", "found"), [("rgb", "rgb"), ("gray", "gray"), ("bgr", None)])
def test_tflite_metadata_names_the_colour_where_it_has_a_word_for_it(
    colour: str, found: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "SPEC", replace(SPEC, preprocessing=replace(HOW, colour=colour)))
    assert _read(_tflite(tmp_path)).preprocessing.get("colour") == found


@pytest.mark.parametrize("kind", WRITERS)
def test_a_file_without_metadata_names_nothing(kind: str, tmp_path: Path) -> None:
    path = WRITERS[kind](tmp_path)
    data = path.read_bytes()
    for name in (b"TFLITE_METADATA", b"labels", b"output", b"preprocessing"):
        data = data.replace(name, name[::-1])
    path.write_bytes(data)
    assert _read(path).values() == {}


@pytest.mark.parametrize("kind", WRITERS)
def test_a_damaged_file_is_read_or_refused(kind: str, tmp_path: Path) -> None:
    path = WRITERS[kind](tmp_path)
    whole, rng = path.read_bytes(), np.random.default_rng(3)
    read, refused = readers()[kind].metadata, set()
    assert read is not None
    for _ in range(300):
        data = bytearray(whole[: rng.integers(8, len(whole))])
        for place in rng.integers(0, len(data), rng.integers(0, 4)):
            data[place] = rng.integers(256)
        path.write_bytes(data)
        try:
            read(path)
        except EdgeError as error:
            refused.add(error.code)
    assert refused == {"EF-file-damaged"}


def test_reading_imports_no_framework(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from edgeferry.exporters.readers.reader import reader_of\n"
        "for path in map(Path, sys.argv[1:]): reader_of(path).metadata(path)\n"
        "sys.exit(bool({'onnx', 'tensorflow', 'coremltools', 'google', 'flatbuffers'} & set(sys.modules)))"
    )
    paths = [str(writer(tmp_path)) for writer in WRITERS.values()]
    subprocess.run([sys.executable, "-c", code, *paths], check=True, timeout=60, cwd=ROOT)
