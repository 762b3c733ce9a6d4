# SPDX-License-Identifier: Apache-2.0
"""A run of TensorFlow's converter, with its dumps turned into a refusal that names the layer."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

from edgeferry.exporters.graph.layers import lacks_operation
from edgeferry.exporters.graph.source import Source
from edgeferry.models.system.errors import EdgeError

CODE: Final = "EF-tflite-operation"

Converted = TypeVar("Converted")


def converted(converter: Any, source: Source) -> bytes:
    """Return the file that a converter writes.

    Raises:
        EdgeError: TF Lite lacks an operation of the model; names it and its layer.
    """
    return bytes(refusing(converter.convert, source))


def refusing(convert: Callable[[], Converted], source: Source) -> Converted:
    """Return what a conversion writes.

    Raises:
        EdgeError: TF Lite lacks an operation of the model; names it and its layer.
    """
    from tensorflow.lite.python.convert_phase import ConverterError

    try:
        return convert()
    except ConverterError as error:
        raise _refusal(error, source) from error


def _refusal(error: Any, source: Source) -> EdgeError:
    """Return what the converter's first report of an operation says, or the first line of its message."""
    for report in error.errors:
        if report.operator.name:
            called = report.location.call
            node = called[0].name if called else report.location.name
            operation = report.operator.name.removeprefix("tf.")
            return lacks_operation(source, CODE, "TF Lite does not have", operation, node or operation)
    return EdgeError(CODE, f"{source.spec.model}: TensorFlow's converter cannot convert it: {str(error).splitlines()[0]}")
