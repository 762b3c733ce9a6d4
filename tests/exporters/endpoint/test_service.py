# SPDX-License-Identifier: Apache-2.0
"""The container's program, run as the container runs it: real requests to real servers."""

import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx
import pytest
import urllib3
from onnx import numpy_helper
from PIL import Image

from edgeferry.models.preprocessing import normalise, pixels_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT: Final = "container-float32"
SMALL: Final = 200_000


class Served:
    """A server that runs: its address and how it is asked."""

    def __init__(self, address: str, folder: Path) -> None:
        self.address, self.folder, self._pool = address, folder, urllib3.PoolManager(retries=False, timeout=30)

    def ask(self, path: str, body: bytes | None = None, method: str | None = None) -> tuple[int, Any]:
        answer = self._pool.request(method or ("GET" if body is None else "POST"), f"{self.address}{path}", body=body)
        return answer.status, answer.json()

    def infer(self, **tensor: Any) -> tuple[int, Any]:
        return self.ask("/v2/models/colours/infer", json.dumps({"inputs": [tensor]}).encode())


def _start(folder: Path, model: str, **settings: str) -> "subprocess.Popen[str]":
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-m", "edgeferry.exporters.endpoint", model]
    return subprocess.Popen(
        command,
        cwd=folder,
        env={**environment, "PORT": "0", "PYTHONDONTWRITEBYTECODE": "1", **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Python ignores what whoever started it ignored: background jobs of a shell are started without Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no lock is taken in it
    )


@contextmanager
def _served(folder: Path, model: str, **settings: str) -> Iterator[Served]:
    with _start(folder, model, **settings) as process:
        try:
            yield Served(process.stdout.readline().split()[-1], folder)
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def colours_served(exported_colours: Any) -> Iterator[Served]:
    """Return the colour classifier served as exported, which takes small bodies only."""
    with _served(exported_colours.build / FORMAT, "colours.onnx", MOST_BYTES=str(SMALL)) as served:
        yield served


def _file(image: Image.Image, kind: str = "PNG", **how: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


def _noise(*shape: int) -> "NDArray[np.uint8]":
    return np.random.default_rng(5).integers(0, 256, shape, np.uint8)


def _expected(image: Image.Image, exported: Any) -> "NDArray[np.float32]":
    """Return what ONNX Runtime answers to an image that went the way of the reference's."""
    from onnxruntime import InferenceSession

    how = exported.spec.preprocessing
    session = InferenceSession(exported.build / "onnx-float32" / "model.onnx", providers=["CPUExecutionProvider"])
    return session.run(None, {"image": normalise(pixels_of(image, how)[None], how)})[0][0]


def test_an_image_is_answered_with_its_most_probable_classes_first(colours_served: Served, exported_colours: Any) -> None:
    red = Image.new("RGB", (40, 40), (250, 20, 20))
    status, told = colours_served.ask("/classify?top=2", _file(red))
    expected = _expected(red, exported_colours)
    assert status == 200
    assert told["model"] == "colours"
    assert [each["class"] for each in told["classes"]] == (-expected).argsort()[:2].tolist()
    assert [each["label"] for each in told["classes"]] == [
        exported_colours.spec.labels[each] for each in (-expected).argsort()[:2]
    ]
    assert [each["probability"] for each in told["classes"]] == pytest.approx(np.sort(expected)[::-1][:2], abs=1e-6)


def test_all_classes_are_told_where_there_are_fewer_than_five(colours_served: Served) -> None:
    assert len(colours_served.ask("/classify", _file(Image.fromarray(_noise(32, 32))))[1]["classes"]) == 4


def test_five_classes_are_told_where_nothing_is_asked(exported_digits: Any) -> None:
    with _served(exported_digits.build / FORMAT, "digits.onnx") as served:
        assert len(served.ask("/classify", _file(Image.fromarray(_noise(32, 32))))[1]["classes"]) == 5


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
def test_an_image_becomes_what_the_contract_says(
    colours_served: Served, exported_colours: Any, image: Image.Image, kind: str, how: dict[str, Any]
) -> None:
    file = _file(image, kind, **how)
    expected = _expected(Image.open(io.BytesIO(file)), exported_colours)
    told = colours_served.ask("/classify?top=4", file)[1]["classes"]
    assert [each["probability"] for each in sorted(told, key=lambda each: each["class"])] == pytest.approx(expected, abs=1e-6)


def test_tensors_are_answered_by_the_open_inference_protocol(colours_served: Served, exported_colours: Any) -> None:
    images = normalise(_noise(3, 24, 20, 3), exported_colours.spec.preprocessing)
    request = {
        "id": "7",
        "inputs": [{"name": "image", "shape": [3, 24, 20, 3], "datatype": "FP32", "data": images.ravel().tolist()}],
    }
    status, told = colours_served.ask("/v2/models/colours/infer", json.dumps(request).encode())
    from onnxruntime import InferenceSession

    session = InferenceSession(exported_colours.build / "onnx-float32" / "model.onnx", providers=["CPUExecutionProvider"])
    assert status == 200
    assert (told["model_name"], told["id"]) == ("colours", "7")
    assert told["outputs"][0] | {"data": None} == {"name": "probabilities", "shape": [3, 4], "datatype": "FP32", "data": None}
    assert told["outputs"][0]["data"] == pytest.approx(session.run(None, {"image": images})[0].ravel(), abs=1e-6)


def test_data_may_be_nested(colours_served: Served) -> None:
    flat = colours_served.infer(name="image", shape=[1, 24, 20, 3], datatype="FP32", data=[0.5] * 1440)
    nested = colours_served.infer(name="image", shape=[1, 24, 20, 3], datatype="FP32", data=np.full((1, 24, 20, 3), 0.5).tolist())
    assert flat == nested
    assert flat[0] == 200


def test_it_describes_the_classifier(colours_served: Served, exported_colours: Any) -> None:
    status, told = colours_served.ask("/v2/models/colours")
    assert status == 200
    assert told["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, 24, 20, 3]}]
    assert told["outputs"] == [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 4]}]
    assert told["parameters"]["labels"] == list(exported_colours.spec.labels)
    assert told["parameters"]["preprocessing"]["colour"] == "bgr"


@pytest.mark.parametrize("path", ["/", "/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/colours/ready"])
def test_it_says_that_it_is_there(colours_served: Served, path: str) -> None:
    assert colours_served.ask(path)[0] == 200


@pytest.mark.parametrize(
    ("body", "path", "status", "said"),
    [
        (b"not an image", "/classify", 400, "the image: not an image that can be read"),
        (_file(Image.fromarray(_noise(64, 64, 3)))[:2000], "/classify", 400, "the image: not an image that can be read"),
        (b"", "/classify", 400, "the body is empty"),
        (_file(Image.fromarray(np.zeros((4, 4), np.uint16))), "/classify", 400, "expected 8 bits per channel"),
        (_file(Image.new("1", (9000, 9000))), "/classify", 400, "has 9000 x 9000 pixels; expected at most 50000000. Shrink it"),
        (b" " * (SMALL + 1), "/classify", 413, f"the body has more than {SMALL} bytes"),
        (b"x", "/classify?top=5", 400, "top is '5'; expected a whole number from 1 to 4"),
        (b"x", "/classify?top=-1", 400, "top is '-1'"),
        (b"x", "/classify?top=%D9%A3", 400, "expected a whole number"),
        (b"{", "/v2/models/colours/infer", 400, "the body is not JSON"),
        (b"[" * 100_000, "/v2/models/colours/infer", 400, "the body is not JSON"),
        (b"\xff\xfe\x00", "/v2/models/colours/infer", 400, "the body is not JSON"),
        (b"[]", "/v2/models/colours/infer", 400, "not a JSON object"),
        (b"{}", "/v2/models/colours/infer", 400, "expected 'inputs' with one tensor, 'image' of FP32 [count, 24, 20, 3]"),
        (b'{"inputs": [3]}', "/v2/models/colours/infer", 400, "expected 'inputs' with one tensor"),
        (b"x", "/v2/models/digits/infer", 404, "Not Found"),
        (b"x", "/v2/models/colours", 405, "Method Not Allowed"),
    ],
    ids=[
        *("text", "cut short", "empty", "16 bits", "bomb", "large", "top", "negative", "other digits", "half", "deep", "no text"),
        *("list", "no inputs", "no tensor", "other model", "other method"),
    ],
)
def test_what_cannot_be_answered_is_refused_in_words(
    colours_served: Served, body: bytes, path: str, status: int, said: str
) -> None:
    answered, told = colours_served.ask(path, body)
    assert answered == status
    assert said in told["error"]
    assert colours_served.ask("/v2/health/ready")[0] == 200


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        ({"name": "input"}, "the input is 'input' of 'FP32'; expected 'image' of FP32"),
        ({"datatype": "INT64"}, "of 'INT64'; expected"),
        ({"shape": [1, 3, 24, 20]}, "the input's shape is [1, 3, 24, 20]; expected [count, 24, 20, 3]"),
        ({"shape": [0, 24, 20, 3]}, "the input's shape is [0,"),
        ({"shape": [True, 24, 20, 3]}, "the input's shape is [True,"),
        ({"shape": "all"}, "the input's shape is 'all'"),
        ({"data": [1.0] * 3}, "the input's data has 3 numbers; its shape [1, 24, 20, 3] expects 1440"),
        ({"data": ["a"] * 1440}, "not an array of numbers"),
        ({"data": [[1, 2], [3]]}, "not an array of numbers"),
        ({"data": None}, "the input's data has 1 numbers"),
    ],
)
def test_a_tensor_that_does_not_fit_is_refused(colours_served: Served, tensor: dict[str, Any], said: str) -> None:
    status, told = colours_served.infer(
        **({"name": "image", "shape": [1, 24, 20, 3], "datatype": "FP32", "data": [0.0] * 1440} | tensor)
    )
    assert status == 400
    assert said in told["error"]


def test_what_is_not_a_number_is_never_an_answer(exported_colours: Any, tmp_path: Path) -> None:
    folder = _spoiled(exported_colours, tmp_path, lambda model: _fill(model, np.nan))
    picture = _file(Image.new("RGB", (9, 9)))
    with _served(folder, "colours.onnx") as served:
        assert served.ask("/classify", picture) == (500, {"error": "the classifier answered NaN or Inf"})


def test_logits_are_answered_as_probabilities(exported_colours: Any, tmp_path: Path) -> None:
    folder = _spoiled(exported_colours, tmp_path, lambda model: _tell(model, "output", '"logits"'))
    picture = Image.fromarray(_noise(24, 20, 3))
    with _served(folder, "colours.onnx") as served:
        told = served.ask("/classify?top=4", _file(picture))[1]["classes"]
    scores = np.exp(_expected(picture, exported_colours))
    assert [each["probability"] for each in sorted(told, key=lambda each: each["class"])] == pytest.approx(
        scores / scores.sum(), abs=1e-6
    )


@pytest.mark.parametrize(
    ("model", "settings", "said"),
    [
        ("absent.onnx", {}, "absent.onnx: no such file; expected an ONNX file exported by edgeferry."),
        ("requirements.txt", {}, "requirements.txt: ONNX Runtime cannot load it"),
        ("strange.onnx", {}, "strange.onnx: not exported by edgeferry: its metadata lacks 'labels'"),
        ("colours.onnx", {"PORT": "http"}, "PORT is 'http'; expected a whole number."),
        ("colours.onnx", {"PORT": "70000"}, "cannot listen on 127.0.0.1:70000"),
        ("colours.onnx", {"HOST": "no.such.host.invalid"}, "cannot listen on no.such.host.invalid:0"),
    ],
)
def test_what_cannot_be_served_is_told_in_a_line(
    exported_colours: Any, tmp_path: Path, model: str, settings: dict[str, str], said: str
) -> None:
    folder = _spoiled(exported_colours, tmp_path, lambda model: None)
    strange = onnx.load(folder / "colours.onnx")
    del strange.metadata_props[:]
    onnx.save(strange, folder / "strange.onnx")
    with _start(folder, model, **settings) as process:
        printed, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said in told
    assert "Traceback" not in told
    assert printed == ""


def test_who_hangs_up_in_the_middle_leaves_no_word(exported_colours: Any) -> None:
    with _start(exported_colours.build / FORMAT, "colours.onnx") as process:
        address = urllib3.util.parse_url(process.stdout.readline().split()[-1])
        with socket.create_connection((address.host, address.port)) as half:
            half.sendall(b"POST /classify HTTP/1.1\r\nHost: here\r\nContent-Length: 1000\r\n\r\nhalf")
            # The server has begun to read once another one is answered.
            assert Served(str(address), exported_colours.build).ask("/v2/health/ready")[0] == 200
        assert Served(str(address), exported_colours.build).ask("/v2/health/ready")[0] == 200
        process.terminate()
        assert process.stderr.read() == ""


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_it_ends_in_order_when_it_is_told_to(exported_colours: Any, told: signal.Signals) -> None:
    with _start(exported_colours.build / FORMAT, "colours.onnx") as process:
        address = process.stdout.readline().split()[-1]
        # A signal before it serves would find nothing that handles it.
        assert Served(address, exported_colours.build).ask("/v2/health/ready")[0] == 200
        process.send_signal(told)
        assert process.wait(20) in {0, -told}
        assert process.stderr.read() == ""


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


def _tell(model: Any, key: str, value: str) -> None:
    next(entry for entry in model.metadata_props if entry.key == key).value = value
