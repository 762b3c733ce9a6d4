# SPDX-License-Identifier: Apache-2.0
"""The gRPC interface of the Open Inference Protocol, in the same process and with the same limits as HTTP.

A request's message is read by its handler, not before: so a server that is full refuses it unread, and its time is limited.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from edgeferry.exporters.endpoint.about import PLATFORM, about_server, described
from edgeferry.exporters.endpoint.admission import Refusal
from edgeferry.exporters.endpoint.classifier import NotANumber
from edgeferry.exporters.endpoint.observed import is_allowed
from edgeferry.exporters.endpoint.service import Service
from edgeferry.exporters.endpoint.tensors import (
    BYTES,
    DATATYPE,
    MOST_OTHERS,
    InferRequest,
    checked_id,
    checked_outputs,
    checked_shape,
    from_bytes,
    image_shape,
)
from edgeferry.models.protocol import open_inference_pb2 as messages
from edgeferry.models.system.errors import EdgeError

SERVICE: Final = "inference.GRPCInferenceService"
OPEN: Final = ("ServerLive", "ServerReady")
CODES: Final = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.UNAVAILABLE,
}
# How many messages may arrive at once however large they are.
LEAST_ARRIVING: Final = 8
Log = Callable[[Mapping[str, Any]], None]
Handler = Callable[[bytes], Awaitable[Any]]


class Rpc:
    """The gRPC handlers of one service."""

    def __init__(self, service: Service, key: bytes, log: Log) -> None:
        """Take the service, the key or nothing, and what writes a log line."""
        self._service, self._key, self._log = service, key, log
        settings = service.settings
        self.most_bytes = min(
            settings.most_bytes, settings.most_batch * math.prod(image_shape(service.classifier)) * BYTES + MOST_OTHERS
        )
        self._arriving = asyncio.Semaphore(max(settings.most_bytes_held // self.most_bytes, LEAST_ARRIVING))

    def handlers(self) -> grpc.GenericRpcHandler:
        """Return the handlers of all methods."""
        methods = {
            "ServerLive": self._live,
            "ServerReady": self._ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._server,
            "ModelMetadata": self._model,
            "ModelInfer": self._infer,
        }
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                name: grpc.stream_unary_rpc_method_handler(
                    self._handler(name, handler), response_serializer=lambda reply: reply.SerializeToString()
                )
                for name, handler in methods.items()
            },
        )

    def _handler(self, name: str, handler: Handler) -> Callable[[Any, Any], Awaitable[Any]]:
        async def handled(_: object, context: Any) -> Any:
            start, status = time.perf_counter_ns(), 200
            try:
                return await self._answered(name, handler, context)
            except Refusal as error:
                status = error.status
                await context.abort(CODES[status], error.reason)
            finally:
                took_ms = {"total": (time.perf_counter_ns() - start) / 1e6}
                self._service.metrics.reply(name, status, took_ms)
                self._log({"client": context.peer(), "method": "gRPC", "path": name, "status": status, "took_ms": took_ms})

        return handled

    async def _answered(self, name: str, handler: Handler, context: Any) -> Any:
        if name not in OPEN:
            named = dict(context.invocation_metadata() or ()).get("authorization")
            if not is_allowed(named, self._key):
                raise Refusal(401, "the metadata authorization does not name the server's key; expected Bearer KEY")
            self._service.admission.refuse_if_full()
            if self._arriving.locked():
                raise Refusal(503, "too many messages arrive already; try again later")
        with self._service.admission.held() as take:
            message = await self._message(context)
            take(len(message))
            try:
                return await handler(message)
            except NotANumber as error:
                raise Refusal(500, str(error)) from None

    async def _message(self, context: Any) -> bytes:
        body_s = self._service.settings.body_s
        try:
            async with self._arriving, asyncio.timeout(body_s):
                message = await context.read()
        except TimeoutError:
            raise Refusal(408, f"the message did not arrive within {body_s} s") from None
        return message if isinstance(message, bytes) else b""

    async def _live(self, _: bytes) -> messages.ServerLiveResponse:
        return messages.ServerLiveResponse(live=True)

    async def _ready(self, _: bytes) -> messages.ServerReadyResponse:
        return messages.ServerReadyResponse(ready=self._service.is_ready)

    async def _model_ready(self, message: bytes) -> messages.ModelReadyResponse:
        request = _parsed(messages.ModelReadyRequest, message)
        self._named(request.name, request.version)
        return messages.ModelReadyResponse(ready=self._service.is_ready)

    async def _server(self, _: bytes) -> messages.ServerMetadataResponse:
        return messages.ServerMetadataResponse(**about_server())

    async def _model(self, message: bytes) -> messages.ModelMetadataResponse:
        request, classifier = _parsed(messages.ModelMetadataRequest, message), self._service.classifier
        self._named(request.name, request.version)
        tensor = messages.ModelMetadataResponse.TensorMetadata
        return messages.ModelMetadataResponse(
            name=classifier.name,
            versions=[classifier.version],
            platform=PLATFORM,
            inputs=[tensor(**described(each)) for each in classifier.session.get_inputs()],
            outputs=[tensor(**described(each)) for each in classifier.session.get_outputs()],
        )

    async def _infer(self, message: bytes) -> messages.ModelInferResponse:
        service = self._service

        def inferred() -> messages.ModelInferResponse:
            request = _parsed(messages.ModelInferRequest, message)
            self._named(request.model_name, request.model_version)
            asked = _read(request, service)
            scores = service.classifier.infer(asked.images, {})
            service.metrics.images(asked.images, scores)
            return _reply(asked, scores, service)

        reply, _ = await service.admission.run(inferred, is_quick=len(message) <= service.quick_bytes)
        return reply

    def _named(self, name: str, version: str) -> None:
        self._service.refuse_unless_served(name, version or None)


async def start_rpc(service: Service, key: bytes, log: Log) -> tuple[Any, int]:
    """Return the started gRPC server and its port.

    Raises:
        EdgeError: the address cannot be used.
    """
    settings, rpc = service.settings, Rpc(service, key, log)
    server = grpc.aio.server(
        options=(
            ("grpc.max_receive_message_length", rpc.most_bytes),
            ("grpc.max_metadata_size", MOST_OTHERS),
            ("grpc.max_connection_idle_ms", settings.idle_s * 1000),
            ("grpc.server_handshake_timeout_ms", settings.header_s * 1000),
            ("grpc.max_concurrent_streams", settings.at_once() + settings.waiting),
            ("grpc.so_reuseport", 0),
        )
    )
    server.add_generic_rpc_handlers((rpc.handlers(),))
    try:
        port = server.add_insecure_port(f"{settings.host}:{settings.grpc_port}")
    except RuntimeError:
        raise EdgeError(
            "EF-endpoint-address", f"gRPC cannot listen on {settings.host}:{settings.grpc_port}; set HOST and GRPC_PORT."
        ) from None
    await server.start()
    return server, port


def _parsed(kind: Any, message: bytes) -> Any:
    try:
        return kind.FromString(message)
    except DecodeError:
        raise Refusal(400, f"the message is not a {kind.DESCRIPTOR.name}") from None


def _read(request: messages.ModelInferRequest, service: Service) -> InferRequest:
    import numpy as np

    classifier = service.classifier
    if len(request.inputs) != 1:
        raise Refusal(400, f"the request has {len(request.inputs)} inputs; expected one, {classifier.input_name!r}")
    tensor, checked = request.inputs[0], checked_id(request.id)
    shape = checked_shape(tensor.name, tensor.datatype, list(tensor.shape), classifier, service.settings.most_batch)
    checked_outputs([output.name for output in request.outputs], classifier)
    raw = request.raw_input_contents
    if not raw:
        values = np.array(tensor.contents.fp32_contents, "<f4")
        return InferRequest(checked, from_bytes(values.tobytes(), shape))
    if len(raw) != 1 or tensor.contents.ByteSize():
        raise Refusal(400, "expected the tensor's data once, in raw_input_contents or in contents")
    return InferRequest(checked, from_bytes(raw[0], shape), is_binary=True)


def _reply(asked: InferRequest, scores: Any, service: Service) -> messages.ModelInferResponse:
    classifier = service.classifier
    output = messages.ModelInferResponse.InferOutputTensor(
        name=classifier.output_name, datatype=DATATYPE, shape=list(scores.shape)
    )
    reply = messages.ModelInferResponse(
        model_name=classifier.name, model_version=classifier.version, id=asked.id, outputs=[output]
    )
    if asked.is_binary:
        reply.raw_output_contents.append(scores.astype("<f4", copy=False).tobytes())
    else:
        reply.outputs[0].contents.fp32_contents.extend(scores.ravel().tolist())
    return reply
