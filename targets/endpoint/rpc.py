# SPDX-License-Identifier: Apache-2.0
"""The container's program here, sent tensors over gRPC."""

from typing import TYPE_CHECKING, Any, Final

from edgeferry.targets.endpoint.client import endpoint
from edgeferry.targets.endpoint.program import VERSIONS, missing_program, program
from edgeferry.targets.endpoint.rest import KNOWN
from edgeferry.targets.endpoint.tensors import DATATYPE, TIMEOUT_S, RestModel, run_tensors
from edgeferry.targets.host.installed import needs, versions
from edgeferry.targets.target import Job, Run, Target

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

METHOD: Final = "/inference.GRPCInferenceService/ModelInfer"


def _missing() -> str | None:
    return missing_program() or needs("grpc")()


def _run(job: Job) -> Run:
    import grpc

    with program(job, GRPC_PORT="0") as started, grpc.insecure_channel(started.rpc_address) as channel:
        facts = endpoint(started.address, 1).about(job)
        model, (runtime, version) = job.main_file.stem, endpoint(started.address, 1).runtime()
        about = {"runtime": runtime, "version": version, "start_ms": started.start_ms, **{each: facts[each] for each in KNOWN}}
        name = RestModel(f"{started.address}/v2/models/{model}").input()
        return run_tensors(job, lambda images: _infer(channel, (model, name), images), str(facts["output"]), about)


def _infer(channel: Any, names: tuple[str, str], images: "NDArray[np.float32]") -> "NDArray[np.float32]":
    import numpy as np

    from edgeferry.models.protocol import open_inference_pb2 as messages

    tensor = messages.ModelInferRequest.InferInputTensor(name=names[1], datatype=DATATYPE, shape=images.shape)
    request = messages.ModelInferRequest(
        model_name=names[0], inputs=[tensor], raw_input_contents=[images.astype("<f4").tobytes()]
    )
    call = channel.unary_unary(
        METHOD,
        request_serializer=messages.ModelInferRequest.SerializeToString,
        response_deserializer=messages.ModelInferResponse.FromString,
    )
    reply = call(request, timeout=TIMEOUT_S)
    return np.frombuffer(reply.raw_output_contents[0], "<f4").reshape(list(reply.outputs[0].shape))


TARGETS = (
    Target(
        name="endpoint-grpc",
        summary="the container's program, run on this machine and sent tensors over gRPC",
        reads=frozenset({"container"}),
        missing=_missing,
        run=_run,
        versions=versions(*VERSIONS, "grpcio"),
        by_default=False,
    ),
)
