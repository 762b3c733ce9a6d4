# SPDX-License-Identifier: Apache-2.0
"""Requests and replies of the Open Inference Protocol, version 2: JSON, with tensors as JSON or as bytes after it.

github.com/kserve/open-inference-protocol and Triton's extension for binary tensors, the default of `tritonclient`.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn

from edgeferry.exporters.endpoint.admission import Refusal
from edgeferry.exporters.endpoint.classifier import Classifier

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DATATYPE: Final = "FP32"
BYTES: Final = 4
HEADER_LENGTH: Final = "Inference-Header-Content-Length"
LONGEST_ID: Final = 256
# The longest text of a float64 has 24 characters; a comma and brackets around each number make 32.
MOST_CHARACTERS: Final = 32
# What a request has beside its numbers.
MOST_OTHERS: Final = 64 * 1024


@dataclass(frozen=True)
class InferRequest:
    """A request: its images, normalised, and whether the reply's tensor is sent as bytes."""

    id: str
    images: "NDArray[np.float32]"
    is_binary: bool = False


def read_request(body: bytes, header_length: str | None, classifier: Classifier, most_batch: int) -> InferRequest:
    """Return the request in a body; ``header_length`` says where its JSON ends and its tensor begins, None that all is JSON.

    Raises:
        Refusal: it is not a request of the protocol, or not one that this classifier answers.
    """
    text, rest = _divided(body, header_length)
    _refuse_many_values(text, classifier, most_batch)
    request = _parsed(text)
    inputs, parameters = request.get("inputs"), _mapping(request, "parameters")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise Refusal(400, f"expected 'inputs' with one tensor, {_expected(classifier)}")
    shape = checked_shape(inputs[0].get("name"), inputs[0].get("datatype"), inputs[0].get("shape"), classifier, most_batch)
    is_binary = _wants_binary(request.get("outputs"), parameters, classifier)
    size = _mapping(inputs[0], "parameters").get("binary_data_size")
    if size is None:
        if rest:
            raise Refusal(400, f"{len(rest)} bytes follow the JSON, but the input has no binary_data_size")
        return InferRequest(checked_id(request.get("id", "")), _from_json(inputs[0].get("data"), shape), is_binary)
    if type(size) is not int or size != len(rest) or "data" in inputs[0]:
        raise Refusal(400, f"binary_data_size is {size!r:.40}, without 'data'; expected the {len(rest)} bytes after the JSON")
    return InferRequest(checked_id(request.get("id", "")), from_bytes(rest, shape), is_binary)


def write_reply(request: InferRequest, scores: "NDArray[np.float32]", classifier: Classifier) -> tuple[bytes, dict[str, str]]:
    """Return the reply to a request, and its headers."""
    output: dict[str, Any] = {"name": classifier.output_name, "shape": list(scores.shape), "datatype": DATATYPE}
    data = b""
    if request.is_binary:
        data = scores.astype("<f4", copy=False).tobytes()
        output["parameters"] = {"binary_data_size": len(data)}
    else:
        output["data"] = scores.ravel().tolist()
    reply = {
        "model_name": classifier.name,
        "model_version": classifier.version,
        **({"id": request.id} if request.id else {}),
        "outputs": [output],
    }
    text = json.dumps(reply, separators=(",", ":")).encode()
    if not data:
        return text, {"Content-Type": "application/json"}
    return text + data, {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(text))}


def checked_shape(name: object, datatype: object, shape: object, classifier: Classifier, most_batch: int) -> Sequence[int]:
    """Return a tensor's shape, [count, height, width, channels].

    Raises:
        Refusal: it is not the classifier's input, or has too many images.
    """
    if (name, datatype) != (classifier.input_name, DATATYPE):
        raise Refusal(400, f"the input is {name!r:.40} of {datatype!r:.40}; expected {_expected(classifier)}")
    if not isinstance(shape, list) or not all(type(size) is int for size in shape) or shape[1:] != image_shape(classifier):
        raise Refusal(400, f"the input's shape is {shape!r:.80}; expected {_expected(classifier)}")
    if not 1 <= shape[0] <= most_batch:
        raise Refusal(400, f"the input has {shape[0]!r:.20} images; expected 1 to {most_batch}: send them in several requests")
    return shape


def checked_id(found: object) -> str:
    """Return a request's id.

    Raises:
        Refusal: it is not a text, or too long.
    """
    if not isinstance(found, str) or len(found) > LONGEST_ID or not _is_unicode(found):
        raise Refusal(400, f"the id is not a text of at most {LONGEST_ID} characters")
    return found


def from_bytes(data: bytes, shape: Sequence[int]) -> "NDArray[np.float32]":
    """Return little-endian float32 values as an array of a shape.

    Raises:
        Refusal: they are too many or too few, or one is NaN or infinite.
    """
    import numpy as np

    if len(data) != math.prod(shape) * BYTES:
        raise Refusal(400, f"the input's data has {len(data)} bytes; its shape {list(shape)} expects {math.prod(shape) * BYTES}")
    return _finite(np.frombuffer(data, "<f4").astype(np.float32, copy=False).reshape(shape))


def checked_outputs(names: Sequence[object], classifier: Classifier) -> None:
    """Refuse outputs that the classifier does not have."""
    for name in names:
        if name != classifier.output_name:
            raise Refusal(400, f"there is no output {name!r:.40}; expected {classifier.output_name!r}")


def image_shape(classifier: Classifier) -> list[int]:
    """Return height, width and channels of the classifier's input."""
    how = classifier.preprocessing
    return [how.height, how.width, how.channels]


def _divided(body: bytes, header_length: str | None) -> tuple[bytes, bytes]:
    if header_length is None:
        return body, b""
    if not header_length.isascii() or not header_length.isdigit() or int(header_length[:18]) > len(body):
        raise Refusal(400, f"{HEADER_LENGTH} is {header_length[:40]!r}; expected at most the body's {len(body)} bytes")
    length = int(header_length)
    return body[:length], body[length:]


def _refuse_many_values(text: bytes, classifier: Classifier, most_batch: int) -> None:
    """Refuse JSON with more values than a batch has before it is parsed: parsed, each takes up to 30 times its characters."""
    most = most_batch * math.prod(image_shape(classifier))
    if len(text) > most * MOST_CHARACTERS + MOST_OTHERS or text.count(b",") > most + MOST_OTHERS // BYTES:
        raise Refusal(400, f"the JSON has more values than {most_batch} images of {most // most_batch} have; send them as bytes")


def _parsed(text: bytes) -> Mapping[str, Any]:
    try:
        request = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise Refusal(400, f"the body is not JSON: {error}") from None
    if not isinstance(request, dict):
        raise Refusal(400, "the body is not a JSON object; expected one with 'inputs'")
    return request


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"it holds {name}")


def _mapping(container: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = container.get(name, {})
    if not isinstance(found, dict):
        raise Refusal(400, f"{name!r} is not a JSON object")
    return found


def _wants_binary(outputs: object, parameters: Mapping[str, Any], classifier: Classifier) -> bool:
    """Return whether the one output is sent as bytes, as the request says for it or for all."""
    wanted = _flag(parameters, "binary_data_output")
    if outputs is None:
        return wanted
    if not isinstance(outputs, list) or len(outputs) != 1 or not isinstance(outputs[0], dict):
        raise Refusal(400, f"expected 'outputs' with one tensor, {classifier.output_name!r}, or none")
    checked_outputs([outputs[0].get("name")], classifier)
    about = _mapping(outputs[0], "parameters")
    if "classification" in about:
        raise Refusal(400, "the parameter 'classification' is not supported; POST /classify returns labels")
    return _flag(about, "binary_data") if "binary_data" in about else wanted


def _flag(parameters: Mapping[str, Any], name: str) -> bool:
    found = parameters.get(name, False)
    if not isinstance(found, bool):
        raise Refusal(400, f"the parameter {name!r} is {found!r:.40}; expected true or false")
    return found


def _from_json(data: object, shape: Sequence[int]) -> "NDArray[np.float32]":
    import numpy as np

    try:
        found = np.asarray(data)
    except (TypeError, ValueError, OverflowError):
        found = np.empty(0, object)
    if found.dtype.kind not in "fiu":
        raise Refusal(400, "the input's data is not an array of numbers; expected float32 values, flat or nested")
    if found.size != math.prod(shape) or found.ndim not in {1, len(shape)}:
        raise Refusal(400, f"the input's data has {found.size} numbers; its shape {list(shape)} expects {math.prod(shape)}")
    with np.errstate(over="ignore"):
        return _finite(found.astype(np.float32).reshape(shape))


def _finite(images: "NDArray[np.float32]") -> "NDArray[np.float32]":
    import numpy as np

    if not np.isfinite(images).all():
        raise Refusal(400, "the input's data holds numbers that float32 has not: NaN, or larger than 3.4e38")
    return images


def _expected(classifier: Classifier) -> str:
    height, width, channels = image_shape(classifier)
    return f"{classifier.input_name!r} of {DATATYPE} [count, {height}, {width}, {channels}]"


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
