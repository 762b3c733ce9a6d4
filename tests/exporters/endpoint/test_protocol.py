# SPDX-License-Identifier: Apache-2.0
"""The Open Inference Protocol over HTTP and gRPC, beyond what JSON requests show."""

import gzip
import json
from typing import TYPE_CHECKING, Any, Final

import grpc
import jsonschema
import numpy as np
import pytest
from endpoint_server import SMALL, Served

from edgeferry.models.protocol import open_inference_pb2 as messages

if TYPE_CHECKING:
    from numpy.typing import NDArray

INFER: Final = "/v2/models/colours/infer"
LENGTH: Final = "Inference_Header_Content_Length"
IMAGES: Final = np.random.default_rng(3).normal(size=(2, 24, 20, 3)).astype("<f4")


def _json(**also: Any) -> bytes:
    tensor = {"name": "image", "shape": list(IMAGES.shape), "datatype": "FP32", "data": IMAGES.ravel().tolist()}
    return json.dumps({"inputs": [tensor], **also}).encode()


def _binary(size: int = IMAGES.nbytes, **also: Any) -> bytes:
    tensor = {"name": "image", "shape": list(IMAGES.shape), "datatype": "FP32", "parameters": {"binary_data_size": size}}
    return json.dumps({"inputs": [tensor], **also}).encode()


@pytest.fixture(scope="module")
def expected(colours_served: Served) -> "NDArray[np.float32]":
    """Return the outputs of the images as a JSON request returns them."""
    output = colours_served.request(INFER, _json())[1]["outputs"][0]
    return np.array(output["data"], np.float32).reshape(output["shape"])


def test_bytes_after_the_json_are_the_tensor(colours_served: Served, expected: "NDArray[np.float32]") -> None:
    head = _binary()
    status, data = colours_served.request(INFER, head + IMAGES.tobytes(), **{LENGTH: str(len(head))})
    assert status == 200
    assert data["outputs"][0]["data"] == pytest.approx(expected.ravel(), abs=1e-6)


def test_the_reply_s_tensor_is_bytes_where_the_request_says_so(colours_served: Served, expected: "NDArray[np.float32]") -> None:
    head = _binary(parameters={"binary_data_output": True}, id="7")
    response = colours_served.send(INFER, head + IMAGES.tobytes(), **{LENGTH: str(len(head))})
    length = int(response.headers[LENGTH.replace("_", "-")])
    reply = json.loads(response.data[:length])
    assert (reply["id"], reply["outputs"][0]["parameters"]) == ("7", {"binary_data_size": expected.nbytes})
    assert np.frombuffer(response.data[length:], "<f4").reshape(expected.shape) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("head", "length", "fact"),
    [
        (_binary(4), None, "binary_data_size is 4"),
        (_binary(size=True), None, "binary_data_size is True"),
        (_json(), None, "follow the JSON"),
        (_binary(), "x", "Inference-Header-Content-Length is 'x'"),
        (_binary(), "9" * 5000, "Inference-Header-Content-Length is '99"),
    ],
)
def test_bytes_that_do_not_fit_their_json_are_refused(colours_served: Served, head: bytes, length: str | None, fact: str) -> None:
    status, data = colours_served.request(INFER, head + IMAGES.tobytes(), **{LENGTH: length or str(len(head))})
    assert (status, fact in data["error"]) == (400, True), data


def test_bytes_with_nan_are_refused(colours_served: Served) -> None:
    head, images = _binary(), IMAGES.copy()
    images[0, 0, 0, 0] = np.nan
    status, data = colours_served.request(INFER, head + images.tobytes(), **{LENGTH: str(len(head))})
    assert (status, "NaN" in data["error"]) == (400, True)


@pytest.mark.parametrize(
    ("also", "fact"),
    [
        ({"outputs": [{"name": "other"}]}, "no output 'other'; expected 'probabilities'"),
        ({"outputs": [{"name": "probabilities", "parameters": {"classification": 3}}]}, "classification"),
        ({"outputs": 3}, "'outputs'"),
        ({"parameters": {"binary_data_output": 1}}, "binary_data_output"),
        ({"id": 7}, "id is not a text"),
        ({"id": "\ud800"}, "id is not a text"),
        ({"id": "x" * 300}, "id is not a text"),
    ],
)
def test_what_a_request_asks_besides_is_checked(colours_served: Served, also: dict[str, Any], fact: str) -> None:
    status, data = colours_served.request(INFER, _json(**also))
    assert (status, fact in data["error"]) == (400, True), data


def test_a_packed_body_is_unpacked(colours_served: Served) -> None:
    assert colours_served.request(INFER, gzip.compress(_json()), Content_Encoding="gzip")[0] == 200


@pytest.mark.parametrize(
    ("body", "encoding", "status"),
    [(gzip.compress(bytes(SMALL * 100)), "gzip", 413), (b"no", "gzip", 400), (b"no", "br", 415)],
    ids=["bomb", "damaged", "unknown"],
)
def test_a_body_that_cannot_be_unpacked_is_refused(colours_served: Served, body: bytes, encoding: str, status: int) -> None:
    assert colours_served.request(INFER, body, Content_Encoding=encoding)[0] == status


def test_json_with_more_values_than_a_batch_is_refused_unread(colours_served: Served) -> None:
    status, data = colours_served.request(INFER, b"[" + b"0," * (SMALL // 2 - 1))
    assert (status, "more values than 32 images" in data["error"]) == (400, True)


def test_the_version_that_is_named_is_served_and_no_other(colours_served: Served) -> None:
    (version,) = colours_served.request("/v2/models/colours")[1]["versions"]
    assert colours_served.request(f"/v2/models/colours/versions/{version}/ready")[0] == 200
    assert colours_served.request(f"/v2/models/colours/versions/{version}/infer", _json())[0] == 200
    assert colours_served.request("/v2/models/colours/versions/1/infer", _json())[0] == 404


def test_no_path_redirects(colours_served: Served) -> None:
    assert colours_served.send("/v2/").status == 404


def test_the_openapi_document_describes_a_request_that_is_served(colours_served: Served) -> None:
    document = colours_served.request("/openapi.json")[1]
    validator = jsonschema.Draft202012Validator({"$ref": "#/components/schemas/InferRequest", **document})
    assert validator.is_valid(json.loads(_json()))
    assert not validator.is_valid({"inputs": [{"name": "other"}]})
    assert INFER in document["paths"]


def test_figures_count_predictions_by_class(colours_served: Served) -> None:
    def count() -> float:
        lines = colours_served.send("/metrics").data.decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith("edgeferry_predictions_total{"))

    before = count()
    colours_served.request(INFER, _json())
    assert count() == before + len(IMAGES)


def test_a_request_s_own_id_is_in_the_reply(colours_served: Served) -> None:
    assert colours_served.send("/v2", X_Request_Id="abc-1").headers["X-Request-Id"] == "abc-1"
    assert len(colours_served.send("/v2", X_Request_Id="x" * 999).headers["X-Request-Id"]) == 32


def _call(served: Served, method: str, request: Any, reply: Any) -> Any:
    with grpc.insecure_channel(served.rpc_address.removeprefix("grpc://")) as channel:
        name = f"/inference.GRPCInferenceService/{method}"
        message = request if isinstance(request, bytes) else request.SerializeToString()
        return channel.unary_unary(name, response_deserializer=reply.FromString)(message, timeout=30)


def _infer_request(**also: Any) -> messages.ModelInferRequest:
    tensor = messages.ModelInferRequest.InferInputTensor(name="image", datatype="FP32", shape=IMAGES.shape)
    return messages.ModelInferRequest(
        **{"model_name": "colours", "inputs": [tensor], "raw_input_contents": [IMAGES.tobytes()], **also}
    )


def test_tensors_are_run_over_grpc(colours_served: Served, expected: "NDArray[np.float32]") -> None:
    reply = _call(colours_served, "ModelInfer", _infer_request(id="9"), messages.ModelInferResponse)
    assert (reply.id, list(reply.outputs[0].shape)) == ("9", list(expected.shape))
    assert np.frombuffer(reply.raw_output_contents[0], "<f4") == pytest.approx(expected.ravel(), abs=1e-6)


def test_it_describes_itself_over_grpc(colours_served: Served) -> None:
    assert _call(colours_served, "ServerReady", b"", messages.ServerReadyResponse).ready
    reply = _call(colours_served, "ModelMetadata", messages.ModelMetadataRequest(name="colours"), messages.ModelMetadataResponse)
    assert list(reply.inputs[0].shape) == [-1, 24, 20, 3]


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (b"\xff\xff\xff", grpc.StatusCode.INVALID_ARGUMENT),
        (_infer_request(raw_input_contents=[b"1234"]), grpc.StatusCode.INVALID_ARGUMENT),
        (_infer_request(inputs=[]), grpc.StatusCode.INVALID_ARGUMENT),
        (_infer_request(model_name="other"), grpc.StatusCode.NOT_FOUND),
        (_infer_request(model_version="1"), grpc.StatusCode.NOT_FOUND),
        (_infer_request(raw_input_contents=[bytes(10**6)]), grpc.StatusCode.RESOURCE_EXHAUSTED),
    ],
    ids=["damaged", "short", "no input", "other model", "other version", "large"],
)
def test_a_grpc_request_that_cannot_be_served_gets_a_status(colours_served: Served, request_: Any, code: grpc.StatusCode) -> None:
    with pytest.raises(grpc.RpcError, check=lambda error: error.code() == code):
        _call(colours_served, "ModelInfer", request_, messages.ModelInferResponse)
