# SPDX-License-Identifier: Apache-2.0
"""What the server says of itself: its requests, the server, the classifier, and all of it as an OpenAPI document."""

from dataclasses import asdict
from typing import Any, Final

from edgeferry.exporters.endpoint.classifier import Classifier
from edgeferry.exporters.endpoint.settings import Settings
from edgeferry.exporters.endpoint.tensors import DATATYPE

NAME: Final = "edgeferry"
EXTENSIONS: Final = ("binary_tensor_data",)
PLATFORM: Final = "onnxruntime_onnx"
ERROR: Final = {"$ref": "#/components/schemas/Error"}
STATUSES: Final = {
    "400": "the request is malformed",
    "401": "the key is missing or wrong, where there is one",
    "408": "the body did not arrive in time",
    "413": "the body is too large",
    "503": "too many requests wait: try again after Retry-After",
}


def about(classifier: Classifier) -> dict[str, Any]:
    """Return the requests that the server supports."""
    model = f"/v2/models/{classifier.name}"
    requests = {
        "POST /classify": "classify an image file, sent as the body; ?top=5 sets the number of classes returned",
        f"GET {model}": "inputs, outputs, labels and preprocessing",
        f"POST {model}/infer": "run tensors, by the Open Inference Protocol",
        "GET /v2/health/ready": "status 200 when the server is ready",
        "GET /metrics": "figures for Prometheus",
        "GET /openapi.json": "all requests, by OpenAPI",
    }
    return {"model": classifier.name, "requests": requests}


def about_server() -> dict[str, Any]:
    """Return the server's name, version and the extensions of the protocol that it has."""
    from onnxruntime import __version__

    return {"name": NAME, "version": f"onnxruntime {__version__}", "extensions": list(EXTENSIONS)}


def about_model(classifier: Classifier) -> dict[str, Any]:
    """Return the classifier's inputs and outputs, with the preprocessing that turns an image into its input."""
    return {
        "name": classifier.name,
        "versions": [classifier.version],
        "platform": PLATFORM,
        "inputs": [described(tensor) for tensor in classifier.session.get_inputs()],
        "outputs": [described(tensor) for tensor in classifier.session.get_outputs()],
        "parameters": {
            "labels": classifier.labels,
            "preprocessing": asdict(classifier.preprocessing),
            "output": classifier.output,
            "sha256": classifier.sha256,
            "threads": classifier.threads,
            "load_ms": classifier.load_ms,
        },
    }


def described(tensor: Any) -> dict[str, Any]:
    """Return name, type and shape of one of ONNX Runtime's inputs or outputs, -1 for any size."""
    shape = [size if isinstance(size, int) else -1 for size in tensor.shape]
    return {"name": tensor.name, "datatype": DATATYPE, "shape": shape}


def openapi(classifier: Classifier, settings: Settings) -> dict[str, Any]:
    """Return the description of all requests."""
    model = f"/v2/models/{classifier.name}"
    classes = {"type": "array", "items": {"$ref": "#/components/schemas/Class"}}
    top = {"name": "top", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": len(classifier.labels)}}
    image = {"content": {"image/*": {"schema": {"type": "string", "format": "binary"}}}, "required": True}
    tensors = {"content": _json({"$ref": "#/components/schemas/InferRequest"}), "required": True}
    answer = {"type": "array", "items": {"type": "string"}}
    classified = _object(model={"type": "string"}, answer=answer, classes=classes)
    paths: dict[str, Any] = {
        "/classify": {
            "post": _operation("classify", "the answer to an image file and its most probable classes", classified)
            | {"parameters": [top], "requestBody": image}
        },
        f"{model}/infer": {
            "post": _operation("infer", "outputs for normalised images", {"$ref": "#/components/schemas/InferReply"})
            | {"requestBody": tensors}
        },
        **{
            path: {"get": _operation(name, summary, {"type": "object"})}
            for path, name, summary in (
                (model, "model", "inputs, outputs, labels, preprocessing and the file's sha256"),
                (f"{model}/ready", "modelReady", "whether the model is ready"),
                ("/v2", "server", "the server's name, version and extensions"),
                ("/v2/health/live", "live", "whether the process runs"),
                ("/v2/health/ready", "ready", "whether requests are served"),
            )
        },
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": classifier.name, "version": classifier.version},
        "paths": paths,
        "components": {"schemas": _schemas(classifier, settings)},
    }


def _operation(name: str, summary: str, reply: dict[str, Any]) -> dict[str, Any]:
    replies = {status: {"description": why, "content": _json(ERROR)} for status, why in STATUSES.items()}
    return {
        "operationId": name,
        "summary": summary,
        "responses": {"200": {"description": summary, "content": _json(reply)}, **replies},
    }


def _schemas(classifier: Classifier, settings: Settings) -> dict[str, Any]:
    how, text = classifier.preprocessing, {"type": "string"}
    count = {"type": "integer", "minimum": 1, "maximum": settings.most_batch}
    sizes = [count, *({"const": size} for size in (how.height, how.width, how.channels))]
    tensor = _object(
        name={"const": classifier.input_name},
        datatype={"const": DATATYPE},
        shape={"type": "array", "prefixItems": sizes, "minItems": 4, "maxItems": 4},
        data={"type": "array"},
    )
    output = _object(
        name={"const": classifier.output_name},
        datatype={"const": DATATYPE},
        shape={"type": "array", "items": {"type": "integer"}},
        data={"type": "array", "items": {"type": "number"}},
    )
    one = {"type": "array", "minItems": 1, "maxItems": 1}
    return {
        "Error": _object(error=text),
        "Class": _object(**{"class": {"type": "integer"}, "label": text, "probability": {"type": "number"}}),
        "InferRequest": {"type": "object", "properties": {"id": text, "inputs": one | {"items": tensor}}, "required": ["inputs"]},
        "InferReply": _object(model_name=text, model_version=text, outputs=one | {"items": output}),
    }


def _object(**properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
