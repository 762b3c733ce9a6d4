# SPDX-License-Identifier: Apache-2.0
"""The one error a user is meant to read."""

from typing import Final

# Which extra of the edgeferry distribution brings a module; what none names is of the base installation.
EXTRAS: Final = {
    "ai_edge_litert": "check",
    "onnxruntime": "check",
    "playwright": "check",
    "coremltools": "export",
    "flatbuffers": "export",
    "keras": "export",
    "onnx": "export",
    "sklearn": "export",
    "tensorflow": "export",
    "tf2onnx": "export",
    "altair": "report",
    "vl_convert": "report",
    "starlette": "serve",
    "uvicorn": "serve",
}


class EdgeError(Exception):
    """Something the user can fix: says what was found, what was expected and what to do."""


def missing_package(error: ModuleNotFoundError) -> str:
    """Return in one sentence which package is missing and the command that installs it."""
    module = (error.name or str(error)).partition(".")[0]
    extra = f"[{EXTRAS[module]}]" if module in EXTRAS else ""
    return f"the Python package {module} is not installed: `pip install 'edgeferry{extra}'` installs it."
