# SPDX-License-Identifier: Apache-2.0
"""The HTTP interface of a classifier: image files to labels, and the Open Inference Protocol for tensors."""

import asyncio
import zlib
from collections.abc import Callable
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from edgeferry.exporters.endpoint.about import about, about_model, about_server, openapi
from edgeferry.exporters.endpoint.admission import RETRY_AFTER_S, Admission, Refusal
from edgeferry.exporters.endpoint.classifier import Classifier, NotANumber, timed
from edgeferry.exporters.endpoint.metrics import MEDIA_TYPE, Metrics
from edgeferry.exporters.endpoint.observed import TOOK_MS
from edgeferry.exporters.endpoint.settings import Settings
from edgeferry.exporters.endpoint.tensors import BYTES, HEADER_LENGTH, read_request, write_reply
from edgeferry.models.system.errors import EdgeError

TOP: Final = 5
# JSON is unpacked alone from this size on: it takes up to 30 times as much in memory.
LARGE_JSON: Final = 1024 * 1024
# A reply that is smaller takes longer to compress than to send.
LEAST_COMPRESSED: Final = 4096
# Tensors whose inference takes no longer than this are run by the event loop itself; image files never are.
QUICK_MS: Final = 1.0
# The JSON before a binary tensor, without one's own parameters.
JSON_BYTES: Final = 1024
ENCODINGS: Final = ("gzip", "deflate")


class Service:
    """The request handlers of one classifier. ``is_ready`` becomes false where the server is about to end."""

    def __init__(self, classifier: Classifier, settings: Settings) -> None:
        """Take the classifier, which is warmed up, and the limits."""
        how = classifier.preprocessing
        images = int(QUICK_MS / classifier.warm_up()) if settings.threads <= 1 else 0
        self.quick_bytes = images and images * how.height * how.width * how.channels * BYTES + JSON_BYTES
        self.classifier, self.settings, self.is_ready = classifier, settings, True
        self.admission = Admission(settings.at_once(), settings.waiting, settings.most_bytes_held)
        self.metrics = Metrics(classifier, self.admission.load)

    async def live(self, _: Request) -> Response:
        """Report that the process runs."""
        return JSONResponse({"live": True})

    async def ready(self, _: Request) -> Response:
        """Report ready: the model is loaded before the first connection is accepted."""
        return JSONResponse({"ready": self.is_ready}, 200 if self.is_ready else 503)

    async def model_ready(self, request: Request) -> Response:
        """Report whether a model is ready, with its name."""
        self._named(request)
        status = 200 if self.is_ready else 503
        return JSONResponse({"name": self.classifier.name, "ready": self.is_ready}, status)

    async def about(self, _: Request) -> Response:
        """List the requests that this server supports."""
        return JSONResponse(about(self.classifier))

    async def server(self, _: Request) -> Response:
        """Describe the server."""
        return JSONResponse(about_server())

    async def model(self, request: Request) -> Response:
        """Describe the classifier, with the preprocessing that turns an image into its input."""
        self._named(request)
        return JSONResponse(about_model(self.classifier))

    async def openapi(self, _: Request) -> Response:
        """Return the description of all requests, by OpenAPI."""
        return JSONResponse(openapi(self.classifier, self.settings))

    async def figures(self, _: Request) -> Response:
        """Return the figures for Prometheus."""
        return Response(self.metrics.text(), media_type=MEDIA_TYPE)

    async def classify(self, request: Request) -> Response:
        """Return the answer to an image file, its most probable classes, and each stage's milliseconds in ``Server-Timing``."""
        classifier, settings, took_ms = self.classifier, self.settings, request.scope[TOOK_MS]
        labels = classifier.labels
        top = _whole(request.query_params.get("top", str(min(TOP, len(labels)))), len(labels))

        def classified(image: bytes) -> tuple[bytes, dict[str, str]]:
            result = classifier.classify(image, settings.most_pixels, self.admission.alone, took_ms)
            self.metrics.images(result.image, result.probabilities[None])
            best = (-result.probabilities).argsort(kind="stable")[:top].tolist()
            classes = [{"class": at, "label": labels[at], "probability": float(result.probabilities[at])} for at in best]
            held = classifier.decision.answers(result.probabilities[None])[0].nonzero()[0].tolist()
            reply = JSONResponse({"model": classifier.name, "answer": [labels[at] for at in held], "classes": classes})
            return bytes(reply.body), {"Content-Type": "application/json"}

        return await self._computed(request, classified, 0)

    async def infer(self, request: Request) -> Response:
        """Return the classifier's outputs for normalised images, [count, height, width, channels]."""
        self._named(request)
        classifier, most_batch, took_ms = self.classifier, self.settings.most_batch, request.scope[TOOK_MS]
        header_length = request.headers.get(HEADER_LENGTH)

        def inferred(body: bytes) -> tuple[bytes, dict[str, str]]:
            with self.admission.alone(large=len(body) > LARGE_JSON and header_length is None):
                asked = read_request(body, header_length, classifier, most_batch)
            scores = classifier.infer(asked.images, took_ms)
            self.metrics.images(asked.images, scores)
            return write_reply(asked, scores, classifier)

        return await self._computed(request, inferred, self.quick_bytes)

    async def _computed(
        self, request: Request, call: Callable[[bytes], tuple[bytes, dict[str, str]]], quick_bytes: int
    ) -> Response:
        """Return the reply that a worker makes of a request's body, or the event loop where it has at most ``quick_bytes``."""
        took_ms = request.scope[TOOK_MS]
        self.admission.refuse_if_full()
        with self.admission.held() as take:
            with timed(took_ms, "read"):
                body = await self._body(request, take)
            (content, headers), waited_ms = await self.admission.run(lambda: call(body), is_quick=len(body) <= quick_bytes)
        took_ms["queue"] = waited_ms
        headers["Server-Timing"] = ", ".join(f"{stage};dur={took:.6f}" for stage, took in took_ms.items())
        if len(content) >= LEAST_COMPRESSED and "gzip" in request.headers.get("Accept-Encoding", ""):
            content, headers["Content-Encoding"] = _gzipped(content), "gzip"
        return Response(content, headers=headers)

    async def _body(self, request: Request, take: Callable[[int], None]) -> bytes:
        """Return a request's body, unpacked; never holds much more than the allowed number of bytes.

        Raises:
            HTTPException: it is empty, too large or too slow, or packed in an unknown or broken way.
        """
        most = self.settings.most_bytes
        declared = request.headers.get("Content-Length", "0")
        if declared.isascii() and declared.isdigit() and int(declared[:18]) > most:
            raise _too_large(most)
        unpacked, body = _unpacker(request.headers.get("Content-Encoding", "")), bytearray()
        try:
            async with asyncio.timeout(self.settings.body_s):
                async for part in request.stream():
                    plain = unpacked(part, most + 1 - len(body))
                    take(len(plain))
                    body += plain
                    if len(body) > most:
                        raise _too_large(most)
        except TimeoutError:
            raise HTTPException(408, f"the body did not arrive within {self.settings.body_s} s") from None
        except zlib.error as error:
            raise HTTPException(400, f"the body is not what Content-Encoding says: {error}") from None
        if not body:
            raise HTTPException(400, "the body is empty; expected an image file for /classify, JSON for /infer")
        return bytes(body)

    def refuse_unless_served(self, name: str, version: str | None) -> None:
        """Refuse a model or a version that is not served here; None is any version."""
        expected = self.classifier
        if name != expected.name or version not in {None, expected.version}:
            found = f"{name:.80} {version or '':.40}".strip()
            raise Refusal(404, f"{found} is not served here; expected {expected.name}, version {expected.version}")

    def _named(self, request: Request) -> None:
        self.refuse_unless_served(request.path_params["name"], request.path_params.get("version"))


def application(service: Service) -> Starlette:
    """Return the application of a service."""
    model = "/v2/models/{name}"
    models = (model, f"{model}/versions/{{version}}")
    made = Starlette(
        routes=[
            *(Route(f"{each}/infer", service.infer, methods=["POST"]) for each in models),
            Route("/classify", service.classify, methods=["POST"]),
            Route("/v2/health/live", service.live),
            Route("/v2/health/ready", service.ready),
            *(Route(f"{each}/ready", service.model_ready) for each in models),
            *(Route(each, service.model) for each in models),
            Route("/v2", service.server),
            Route("/metrics", service.figures),
            Route("/openapi.json", service.openapi),
            Route("/", service.about),
        ],
        exception_handlers={
            HTTPException: _refused,
            Refusal: _not_admitted,
            EdgeError: _bad_request,
            NotANumber: _broken,
            ClientDisconnect: _gone,
            Exception: _defect,
        },
    )
    # A redirect would name whatever host the request names.
    made.router.redirect_slashes = False
    return made


def _whole(text: str, most: int) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9 or not 1 <= int(text) <= most:
        raise HTTPException(400, f"top is {text[:40]!r}; expected a whole number from 1 to {most}, the number of classes")
    return int(text)


def _unpacker(encoding: str) -> Callable[[bytes, int], bytes]:
    """Return a function of a part of a body and a number of bytes, which returns the part unpacked, at most that long."""
    if encoding in {"", "identity"}:
        return lambda part, _: part
    if encoding not in ENCODINGS:
        raise HTTPException(415, f"Content-Encoding is {encoding[:40]!r}; expected {' or '.join(ENCODINGS)}, or none")
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)  # by its first bytes, either
    return unpacker.decompress


def _gzipped(content: bytes) -> bytes:
    packer = zlib.compressobj(1, wbits=zlib.MAX_WBITS | 16)
    return packer.compress(content) + packer.flush()


def _too_large(most: int) -> HTTPException:
    return HTTPException(413, f"the body has more than {most} bytes; send less, or set MOST_BYTES")


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - Starlette's handlers take any Exception by type
    # After 413 the connection takes the rest of the body, for some seconds, so that the client reads the reply.
    headers = {"Connection": "close"} if error.status_code == 408 else error.headers
    return JSONResponse({"error": error.detail}, error.status_code, headers=headers)


async def _not_admitted(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)  # noqa: S101 - likewise
    headers = {"Retry-After": str(RETRY_AFTER_S)} if error.status == 503 else None
    return JSONResponse({"error": error.reason}, error.status, headers=headers)


async def _bad_request(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 400)


async def _gone(_: Request, error: Exception) -> Response:
    del error  # the client has closed the connection; nobody reads this
    return Response(status_code=400)


async def _broken(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 500)


async def _defect(_: Request, error: Exception) -> Response:
    del error  # the server's log has it
    return JSONResponse({"error": "the server failed; its log has the reason"}, 500)
