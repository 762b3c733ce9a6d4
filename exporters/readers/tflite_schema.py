# SPDX-License-Identifier: Apache-2.0
"""The generated classes for the flatbuffers in .tflite files, to read and to write them."""

from functools import cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, Final

from edgeferry.models.system.errors import package_error

# TensorFlow's file, else LiteRT's, which `edgeferry[check]` installs.
PLACES: Final = {"tensorflow": "lite/python/schema_py_generated.py", "ai_edge_litert": "schema_py_generated.py"}


@cache
def tflite_schema() -> Any:
    """Return the module of these classes without the rest of its package: all of TensorFlow takes seconds to import, and prints.

    Raises:
        EdgeError: neither TensorFlow nor LiteRT is installed.
    """
    place = next((place for place in map(_place, PLACES) if place is not None), None)
    spec = None if place is None else spec_from_file_location("tflite_schema", place)
    if spec is None or spec.loader is None:
        raise package_error("ai_edge_litert")
    schema = module_from_spec(spec)
    spec.loader.exec_module(schema)
    return schema


def _place(package: str) -> Path | None:
    spec = find_spec(package)
    folders = [] if spec is None else [Path(folder) for folder in spec.submodule_search_locations or ()]
    return next((place for folder in folders if (place := folder / PLACES[package]).is_file()), None)
