# SPDX-License-Identifier: Apache-2.0
"""The HTTP interface of a classifier: image files to labels, and the Open Inference Protocol for tensors.

The protocol is version 2, as in KServe, Triton and others: github.com/kserve/open-inference-protocol.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from edgeferry.exporters.endpoint.classifier import Classifier, NotANumber
from edgeferry.models.system.errors import EdgeError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TOP: Final = 5
DATATYPE: Final = "FP32"


def service(classifier: Classifier, workers: int, most_bytes: int) -> Starlette:
    """Return the application that serves a classifier: ``workers`` requests at once, bodies of up to ``most_bytes``."""
    endpoint = _Endpoint(classifier, CapacityLimiter(workers), most_bytes)
    name = f"/v2/models/{classifier.name}"
    return Starlette(
        routes=[
            Route("/", endpoint.about),
            Route("/classify", endpoint.classify, methods=["POST"]),
            Route("/v2", endpoint.server),
            Route("/v2/health/live", endpoint.ready),
            Route("/v2/health/ready", endpoint.ready),
            Route(name, endpoint.model),
            Route(f"{name}/ready", endpoint.ready),
            Route(f"{name}/infer", endpoint.infer, methods=["POST"]),
        ],
        exception_handlers={HTTPException: _refused, EdgeError: _bad_request, NotANumber: _broken, ClientDisconnect: _gone},
    )


class _Endpoint:
    """The request handlers of one classifier."""

    def __init__(self, classifier: Classifier, limiter: CapacityLimiter, most_bytes: int) -> None:
        self._classifier, self._limiter, self._most_bytes = classifier, limiter, most_bytes

    async def about(self, _: Request) -> Response:
        """List the requests that this server supports."""
        model = f"/v2/models/{self._classifier.name}"
        requests = {
            "POST /classify": "classify an image file, sent as the body; ?top=5 sets the number of classes returned",
            f"GET {model}": "inputs, outputs, labels and preprocessing",
            f"POST {model}/infer": "run tensors, by the Open Inference Protocol",
            "GET /v2/health/ready": "status 200 when the server is ready",
        }
        return JSONResponse({"model": self._classifier.name, "requests": requests})

    async def ready(self, _: Request) -> Response:
        """Report ready: the model is loaded before the first connection is accepted."""
        return JSONResponse({"ready": True})

    async def server(self, _: Request) -> Response:
        """Describe the server."""
        from onnxruntime import __version__

        return JSONResponse({"name": "edgeferry", "version": f"onnxruntime {__version__}", "extensions": []})

    async def model(self, _: Request) -> Response:
        """Describe the classifier, with the preprocessing that turns an image into its input."""
        classifier = self._classifier
        return JSONResponse(
            {
                "name": classifier.name,
                "versions": [classifier.sha256[:12]],
                "platform": "onnxruntime_onnx",
                "inputs": [_described(tensor) for tensor in classifier.session.get_inputs()],
                "outputs": [_described(tensor) for tensor in classifier.session.get_outputs()],
                "parameters": {
                    "labels": classifier.labels,
                    "preprocessing": asdict(classifier.preprocessing),
                    "output": classifier.output,
                    "sha256": classifier.sha256,
                    "threads": classifier.threads,
                    "load_ms": classifier.load_ms,
                },
            }
        )

    async def classify(self, request: Request) -> Response:
        """Return an image file's most probable classes; the header ``Server-Timing`` has the milliseconds of each stage."""
        labels = self._classifier.labels
        top = _whole(request.query_params.get("top", str(min(TOP, len(labels)))), len(labels))
        image = await self._body(request)
        result = await to_thread.run_sync(self._classifier.classify, image, limiter=self._limiter)
        best = (-result.probabilities).argsort(kind="stable")[:top].tolist()
        classes = [{"class": at, "label": labels[at], "probability": float(result.probabilities[at])} for at in best]
        timing = ", ".join(f"{stage};dur={took_ms:.6f}" for stage, took_ms in result.took_ms.items())
        return JSONResponse({"model": self._classifier.name, "classes": classes}, headers={"Server-Timing": timing})

    async def infer(self, request: Request) -> Response:
        """Return the classifier's outputs for normalised images, [count, height, width, channels]."""
        body = await self._body(request)
        return JSONResponse(await to_thread.run_sync(_inferred, body, self._classifier, limiter=self._limiter))

    async def _body(self, request: Request) -> bytes:
        """Return a request's body; never holds much more than the allowed number of bytes."""
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > self._most_bytes:
                raise HTTPException(413, f"the body has more than {self._most_bytes} bytes; send less, or set MOST_BYTES")
        if not body:
            raise HTTPException(400, "the body is empty; expected an image file for /classify, JSON for /infer")
        return bytes(body)


def _whole(text: str, most: int) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= most:
        raise HTTPException(400, f"top is {text[:40]!r}; expected a whole number from 1 to {most}, the number of classes")
    return int(text)


def _inferred(body: bytes, classifier: Classifier) -> dict[str, Any]:
    request = _parsed(body)
    scores = classifier.infer(_images(request, classifier))
    output = {
        "name": classifier.session.get_outputs()[0].name,
        "shape": list(scores.shape),
        "datatype": DATATYPE,
        "data": scores.ravel().tolist(),
    }
    return {"model_name": classifier.name, **({"id": request["id"]} if "id" in request else {}), "outputs": [output]}


def _parsed(body: bytes) -> Mapping[str, Any]:
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"the body is not JSON: {error}") from None
    if not isinstance(request, dict):
        raise HTTPException(400, "the body is not a JSON object; expected one with 'inputs'")
    return request


def _images(request: Mapping[str, Any], classifier: Classifier) -> "NDArray[np.float32]":
    """Return the one input of a request as the array that the classifier expects."""
    import numpy as np

    how, name = classifier.preprocessing, classifier.session.get_inputs()[0].name
    expected = f"[count, {how.height}, {how.width}, {how.channels}]"
    inputs = request.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise HTTPException(400, f"expected 'inputs' with one tensor, {name!r} of {DATATYPE} {expected}")
    tensor = inputs[0]
    if (tensor.get("name"), tensor.get("datatype")) != (name, DATATYPE):
        found = f"{tensor.get('name')!r:.40} of {tensor.get('datatype')!r:.40}"
        raise HTTPException(400, f"the input is {found}; expected {name!r} of {DATATYPE} {expected}")
    shape = tensor.get("shape")
    if not isinstance(shape, list) or shape[1:] != [how.height, how.width, how.channels] or not _is_count(shape[0]):
        raise HTTPException(400, f"the input's shape is {shape!r:.80}; expected {expected}")
    try:
        images = np.asarray(tensor.get("data"), dtype=np.float32)
    except (TypeError, ValueError, OverflowError):
        raise HTTPException(400, "the input's data is not an array of numbers; expected float32 values, flat or nested") from None
    if images.size != math.prod(shape):
        raise HTTPException(400, f"the input's data has {images.size} numbers; its shape {shape} expects {math.prod(shape)}")
    return images.reshape(shape)


def _is_count(size: object) -> bool:
    return isinstance(size, int) and not isinstance(size, bool) and size > 0


def _described(tensor: Any) -> dict[str, Any]:
    shape = [size if isinstance(size, int) else -1 for size in tensor.shape]
    return {"name": tensor.name, "datatype": DATATYPE, "shape": shape}


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - Starlette's handlers take any Exception by type
    return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)


async def _bad_request(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 400)


async def _gone(_: Request, error: Exception) -> Response:
    del error  # the client has closed the connection; nobody reads this
    return Response(status_code=400)


async def _broken(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 500)
