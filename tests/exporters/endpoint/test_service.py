# SPDX-License-Identifier: Apache-2.0
"""The container's server, run as the container runs it: real requests to real servers."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx
import pytest
from endpoint_server import SMALL, Served
from onnx import numpy_helper
from PIL import Image

from edgeferry.exporters.endpoint.classifier import load
from edgeferry.models.decision import ONE_LABEL, Decision
from edgeferry.models.preprocessing import normalise, pixels_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT: Final = "container-float32"
Start = Callable[..., Any]


def _file(image: Image.Image, kind: str = "PNG", **how: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


def _noise(*shape: int) -> "NDArray[np.uint8]":
    return np.random.default_rng(5).integers(0, 256, shape, np.uint8)


def _expected(image: Image.Image, exported: Any) -> "NDArray[np.float32]":
    """Return ONNX Runtime's scores for an image preprocessed like the reference's."""
    from onnxruntime import InferenceSession

    how = exported.spec.preprocessing
    session = InferenceSession(exported.build / "onnx-float32" / "model.onnx", providers=["CPUExecutionProvider"])
    return session.run(None, {"image": normalise(pixels_of(image, how)[None], how)})[0][0]


def test_an_image_s_most_probable_classes_are_returned_first(colours_served: Served, exported_colours: Any) -> None:
    red = Image.new("RGB", (40, 40), (250, 20, 20))
    status, data = colours_served.request("/classify?top=2", _file(red))
    expected = _expected(red, exported_colours)
    assert status == 200
    assert data["model"] == "colours"
    assert data["answer"] == [exported_colours.spec.labels[expected.argmax()]]
    assert [each["class"] for each in data["classes"]] == (-expected).argsort()[:2].tolist()
    assert [each["label"] for each in data["classes"]] == [
        exported_colours.spec.labels[each] for each in (-expected).argsort()[:2]
    ]
    assert [each["probability"] for each in data["classes"]] == pytest.approx(np.sort(expected)[::-1][:2], abs=1e-6)


def test_all_classes_are_returned_where_there_are_fewer_than_five(colours_served: Served) -> None:
    assert len(colours_served.request("/classify", _file(Image.fromarray(_noise(32, 32))))[1]["classes"]) == 4


def test_five_classes_are_returned_by_default(served: Start, exported_digits: Any) -> None:
    with served(exported_digits.build / FORMAT, "digits.onnx") as digits:
        assert len(digits.request("/classify", _file(Image.fromarray(_noise(32, 32))))[1]["classes"]) == 5


@pytest.mark.parametrize(
    ("image", "kind", "how"),
    [
        (Image.fromarray(_noise(33, 57, 3)), "PNG", {}),
        (Image.fromarray(_noise(64, 30, 4)), "PNG", {}),
        (Image.fromarray(_noise(50, 50)), "PNG", {}),
        (Image.fromarray(_noise(50, 90, 3)), "JPEG", {"quality": 90}),
        (
            Image.fromarray(_noise(50, 90, 3)),
            "JPEG",
            {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"},
        ),
        (Image.fromarray(_noise(40, 40, 4), "CMYK"), "JPEG", {}),
        (Image.fromarray(_noise(40, 40, 3)).quantize(16), "GIF", {}),
    ],
    ids=["odd size", "alpha", "gray", "jpeg", "turned by exif", "cmyk", "palette"],
)
def test_an_image_is_preprocessed_as_the_config_says(
    colours_served: Served, exported_colours: Any, image: Image.Image, kind: str, how: dict[str, Any]
) -> None:
    file = _file(image, kind, **how)
    expected = _expected(Image.open(io.BytesIO(file)), exported_colours)
    data = colours_served.request("/classify?top=4", file)[1]["classes"]
    assert [each["probability"] for each in sorted(data, key=lambda each: each["class"])] == pytest.approx(expected, abs=1e-6)


def test_tensors_are_run_by_the_open_inference_protocol(colours_served: Served, exported_colours: Any) -> None:
    images = normalise(_noise(3, 24, 20, 3), exported_colours.spec.preprocessing)
    request = {
        "id": "7",
        "inputs": [{"name": "image", "shape": [3, 24, 20, 3], "datatype": "FP32", "data": images.ravel().tolist()}],
    }
    status, data = colours_served.request("/v2/models/colours/infer", json.dumps(request).encode())
    from onnxruntime import InferenceSession

    session = InferenceSession(exported_colours.build / "onnx-float32" / "model.onnx", providers=["CPUExecutionProvider"])
    assert status == 200
    assert (data["model_name"], data["id"]) == ("colours", "7")
    assert data["outputs"][0] | {"data": None} == {"name": "probabilities", "shape": [3, 4], "datatype": "FP32", "data": None}
    assert data["outputs"][0]["data"] == pytest.approx(session.run(None, {"image": images})[0].ravel(), abs=1e-6)


def test_data_may_be_nested(colours_served: Served) -> None:
    flat = colours_served.infer(name="image", shape=[1, 24, 20, 3], datatype="FP32", data=[0.5] * 1440)
    nested = colours_served.infer(name="image", shape=[1, 24, 20, 3], datatype="FP32", data=np.full((1, 24, 20, 3), 0.5).tolist())
    assert flat == nested
    assert flat[0] == 200


def test_it_describes_the_classifier(colours_served: Served, exported_colours: Any) -> None:
    status, data = colours_served.request("/v2/models/colours")
    assert status == 200
    assert data["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, 24, 20, 3]}]
    assert data["outputs"] == [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 4]}]
    assert data["parameters"]["labels"] == list(exported_colours.spec.labels)
    assert data["parameters"]["preprocessing"]["colour"] == "bgr"


@pytest.mark.parametrize("path", ["/", "/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/colours/ready"])
def test_it_reports_that_it_is_ready(colours_served: Served, path: str) -> None:
    assert colours_served.request(path)[0] == 200


@pytest.mark.parametrize(
    ("body", "path", "status", "fact"),
    [
        (b"not an image", "/classify", 400, "the image"),
        (_file(Image.fromarray(_noise(64, 64, 3)))[:2000], "/classify", 400, "the image"),
        (b"", "/classify", 400, "empty"),
        (_file(Image.fromarray(np.zeros((4, 4), np.uint16))), "/classify", 400, "I;16"),
        (_file(Image.new("1", (9000, 9000))), "/classify", 400, "9000 x 9000 pixels; expected at most 25000000"),
        (b" " * (SMALL + 1), "/classify", 413, str(SMALL)),
        (b"x", "/classify?top=5", 400, "from 1 to 4"),
        (b"x", "/classify?top=-1", 400, "'-1'"),
        (b"x", "/classify?top=%D9%A3", 400, "'\N{ARABIC-INDIC DIGIT THREE}'"),
        (b"{", "/v2/models/colours/infer", 400, "JSON: "),
        (b"[" * 100_000, "/v2/models/colours/infer", 400, "JSON: "),
        (b"\xff\xfe\x00", "/v2/models/colours/infer", 400, "JSON: "),
        (b"[]", "/v2/models/colours/infer", 400, "JSON object"),
        (b"{}", "/v2/models/colours/infer", 400, "'image' of FP32 [count, 24, 20, 3]"),
        (b'{"inputs": [3]}', "/v2/models/colours/infer", 400, "'image' of FP32 [count, 24, 20, 3]"),
        (b"x", "/v2/models/digits/infer", 404, "expected colours, version "),
        (b"x", "/v2/models/colours", 405, "Method Not Allowed"),
    ],
    ids=[
        *("text", "cut short", "empty", "16 bits", "bomb", "large", "top", "negative", "other digits", "half", "deep", "no text"),
        *("list", "no inputs", "no tensor", "other model", "other method"),
    ],
)
def test_a_request_that_cannot_be_served_gets_a_status_and_an_error(
    colours_served: Served, body: bytes, path: str, status: int, fact: str
) -> None:
    returned, data = colours_served.request(path, body)
    assert returned == status
    assert fact in data["error"]
    assert colours_served.request("/v2/health/ready")[0] == 200


@pytest.mark.parametrize(
    ("tensor", "fact"),
    [
        ({"name": "input"}, "'input' of 'FP32'; expected 'image' of FP32"),
        ({"datatype": "INT64"}, "'INT64'; expected"),
        ({"shape": [1, 3, 24, 20]}, "[1, 3, 24, 20]; expected 'image' of FP32 [count, 24, 20, 3]"),
        ({"shape": [0, 24, 20, 3]}, "0 images; expected 1 to 32"),
        ({"shape": [True, 24, 20, 3]}, "shape is [True,"),
        ({"shape": "all"}, "shape is 'all'"),
        ({"data": [1.0] * 3}, "3 numbers; its shape [1, 24, 20, 3] expects 1440"),
        ({"data": ["a"] * 1440}, "array of numbers"),
        ({"data": [[1, 2], [3]]}, "array of numbers"),
        ({"data": None}, "array of numbers"),
        ({"data": ["1.5"] * 1440}, "array of numbers"),
        ({"data": [True] * 1440}, "array of numbers"),
        ({"data": [10**50] * 1440}, "array of numbers"),
        ({"data": [1e39] * 1440}, "numbers that float32 has not"),
        ({"data": [float("nan")] * 1440}, "NaN"),
        ({"shape": [1, 24.0, 20, 3]}, "[1, 24.0, 20, 3]; expected"),
        ({"shape": [1, 24, 20, True]}, "True]; expected"),
        ({"shape": [33, 24, 20, 3]}, "33 images; expected 1 to 32"),
        ({"parameters": 3}, "'parameters' is not a JSON object"),
        ({"parameters": {"binary_data_size": 4}}, "binary_data_size is 4"),
    ],
)
def test_a_tensor_that_does_not_fit_is_refused(colours_served: Served, tensor: dict[str, Any], fact: str) -> None:
    status, data = colours_served.infer(
        **({"name": "image", "shape": [1, 24, 20, 3], "datatype": "FP32", "data": [0.0] * 1440} | tensor)
    )
    assert status == 400
    assert fact in data["error"]


def test_outputs_with_nan_are_an_error(served: Start, exported_colours: Any, tmp_path: Path) -> None:
    folder = _spoiled(exported_colours, tmp_path, lambda model: _fill(model, np.nan))
    picture = _file(Image.new("RGB", (9, 9)))
    with served(folder, "colours.onnx") as spoiled:
        status, data = spoiled.request("/classify", picture)
    assert status == 500
    assert data.keys() == {"error"}
    assert "NaN" in data["error"]


def test_logits_are_returned_as_probabilities(served: Start, exported_colours: Any, tmp_path: Path) -> None:
    folder = _spoiled(exported_colours, tmp_path, lambda model: _set_metadata(model, "output", '"logits"'))
    picture = Image.fromarray(_noise(24, 20, 3))
    with served(folder, "colours.onnx") as spoiled:
        data = spoiled.request("/classify?top=4", _file(picture))[1]["classes"]
    scores = np.exp(_expected(picture, exported_colours))
    assert [each["probability"] for each in sorted(data, key=lambda each: each["class"])] == pytest.approx(
        scores / scores.sum(), abs=1e-6
    )


def _spoiled(exported: Any, tmp_path: Path, spoil: Any) -> Path:
    folder = tmp_path / FORMAT
    shutil.copytree(exported.build / FORMAT, folder)
    model = onnx.load(folder / "colours.onnx")
    spoil(model)
    onnx.save(model, folder / "colours.onnx")
    return folder


def _fill(model: Any, value: float) -> None:
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32:
            tensor.CopyFrom(numpy_helper.from_array(np.full_like(values, value), tensor.name))


def _set_metadata(model: Any, key: str, value: str) -> None:
    next(entry for entry in model.metadata_props if entry.key == key).value = value


def test_a_file_s_metadata_say_how_its_probabilities_become_an_answer(exported_colours: Any, tmp_path: Path) -> None:
    model = onnx.load(exported_colours.build / "onnx-float32" / "model.onnx")
    assert load(exported_colours.build / "onnx-float32" / "model.onnx").decision == ONE_LABEL
    kept = {each.key: each.value for each in model.metadata_props}
    onnx.helper.set_model_props(model, kept | {"output": '"multilabel"', "threshold": "0.3"})
    onnx.save(model, tmp_path / "several.onnx")
    assert load(tmp_path / "several.onnx").decision == Decision(is_multilabel=True, threshold=0.3)
