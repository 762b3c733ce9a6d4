# SPDX-License-Identifier: Apache-2.0
"""The one error a user is meant to read, and the codes it is known by."""

from typing import Final

# Which extra of the edgeferry distribution brings a module; what none names is of the base installation.
EXTRAS: Final = {
    "ai_edge_litert": "check",
    "onnxruntime": "check",
    "coremltools": "export",
    "flatbuffers": "export",
    "keras": "export",
    "onnx": "export",
    "sklearn": "export",
    "tensorflow": "export",
    "tf2onnx": "export",
    "altair": "bench",
    "pynvml": "bench",
    "vl_convert": "bench",
    "playwright": "web",
    "starlette": "serve",
    "urllib3": "serve",
    "uvicorn": "serve",
}


class EdgeError(Exception):
    """Something the user can fix: says what was found, what was expected and what to do.

    ``code`` is stable, such as ``EF-calibration-missing``; docs/errors.md lists them all. The message may be reworded.
    """

    def __init__(self, code: str, message: str = "") -> None:
        """Hold a code and a message; both travel when the error is sent from one process to another."""
        super().__init__(code, message)
        self.code = code if message else "EF-unnamed"
        self.message = message or code

    def __str__(self) -> str:
        """Return the message alone."""
        return self.message


def missing_package(error: ModuleNotFoundError) -> EdgeError:
    """Return in one sentence which package is missing and the command that installs it."""
    module = (error.name or str(error)).partition(".")[0]
    extra = f"[{EXTRAS[module]}]" if module in EXTRAS else ""
    return EdgeError(
        "EF-package-missing", f"the Python package {module} is not installed: `pip install 'edgeferry{extra}'` installs it."
    )
