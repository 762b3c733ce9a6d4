# SPDX-License-Identifier: Apache-2.0
"""What a TF Lite file computes between its input and its output, by LiteRT's own kernels: XNNPACK shows only what it returns."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from edgeferry.targets.litert.tflite_file import dequantized, quantized
from edgeferry.targets.target import Job, Tensors
from edgeferry.targets.timing import normalised_images

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# The target whose kernels these are.
KERNELS: Final = "litert-builtin"


def tensors(job: Job) -> Tensors:
    """Return the tensors of a .tflite file, and the ranges of those that are quantized with one scale."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_path=str(job.main_file),
        num_threads=job.threads,
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    takes = interpreter.get_input_details()[0]
    computed = {takes["index"], *(int(at) for each in _operations(interpreter) for at in each["outputs"])}
    details = [each for each in interpreter.get_tensor_details() if each["index"] in computed and _is_number(each)]
    return Tensors(
        _values(interpreter, takes, details, job),
        {each["name"]: found for each in details if (found := _range_of(each)) is not None},
        KERNELS,
    )


def _values(interpreter: Any, takes: Any, details: list[Any], job: Job) -> "Iterator[Mapping[str, NDArray[np.float32]]]":
    for image in normalised_images(job):
        interpreter.set_tensor(takes["index"], quantized(image, takes))
        interpreter.invoke()
        yield {each["name"]: dequantized(interpreter.get_tensor(each["index"]), each) for each in details}


def _operations(interpreter: Any) -> list[Any]:
    # There is no public function for it.
    found: list[Any] = interpreter._get_ops_details()  # noqa: SLF001
    return found


def _is_number(tensor: Mapping[str, Any]) -> bool:
    import numpy as np

    is_float = np.issubdtype(tensor["dtype"], np.floating)
    return bool(is_float or (np.issubdtype(tensor["dtype"], np.integer) and tensor["quantization"][0]))


def _range_of(tensor: Mapping[str, Any]) -> tuple[float, float] | None:
    import numpy as np

    scale, zero_point = tensor["quantization"]
    if not scale or not np.issubdtype(tensor["dtype"], np.integer):
        return None
    limits = np.iinfo(tensor["dtype"])
    return float(scale * (limits.min - zero_point)), float(scale * (limits.max - zero_point))
