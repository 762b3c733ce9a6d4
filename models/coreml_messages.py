# SPDX-License-Identifier: Apache-2.0
"""Core ML's protobuf messages, without the package that contains them.

``import coremltools`` imports TensorFlow, scikit-learn and a native library; the messages need protobuf alone. They are loaded
under another name, so that a later ``import coremltools`` finds nothing half imported.
"""

import importlib
import importlib.util
import sys
import types
from pathlib import Path
from typing import Any, Final

from edgeferry.models.system.errors import package_error

CARRIER: Final = "coremltools"
NAME: Final = "edgeferry_coreml_messages"


def folder() -> Path | None:
    """Return where the messages' modules are installed, or None."""
    spec = importlib.util.find_spec(CARRIER)
    places = [] if spec is None else [Path(place) / "proto" for place in spec.submodule_search_locations or ()]
    return next((place for place in places if (place / "Model_pb2.py").is_file()), None)


def messages() -> Any:
    """Return the module that holds ``Model``, the message that a model file is.

    Raises:
        EdgeError: coremltools is not installed.
    """
    place = folder()
    if place is None:
        raise package_error(CARRIER)
    if NAME not in sys.modules:
        package = types.ModuleType(NAME)
        package.__path__ = [str(place)]
        sys.modules[NAME] = package
    return importlib.import_module(f"{NAME}.Model_pb2")


def enum_name(message: Any, field: str) -> str:
    """Return the name of a message's enumerated field's value, or its number where that has none."""
    number = getattr(message, field)
    value = message.DESCRIPTOR.fields_by_name[field].enum_type.values_by_number.get(number)
    return str(number) if value is None else str(value.name)
