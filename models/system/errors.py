# SPDX-License-Identifier: Apache-2.0
"""The one error class whose messages are for the user, and its codes."""

from typing import Final

# The extra of the edgeferry distribution that installs a module.
EXTRAS: Final = {
    "ai_edge_litert": "check",
    "onnxruntime": "check-onnx",
    "coremltools": "export",
    "flatbuffers": "export",
    "h5py": "export",
    "keras": "export",
    "onnx": "export",
    "PIL": "export",
    "sklearn": "export",
    "tensorflow": "export",
    "tf2onnx": "export",
    "yaml": "export",
    "altair": "bench",
    "scipy": "bench",
    "pynvml": "bench",
    "vl_convert": "bench",
    "model_signing": "sign",
    "OpenSSL": "sign",
    "dask": "fleet",
    "distributed": "fleet",
    "fsspec": "fleet",
    "playwright": "web",
    "starlette": "serve",
    "grpc": "serve",
    "httptools": "serve",
    "prometheus_client": "serve",
    "urllib3": "serve",
    "uvicorn": "serve",
}
# No extra can name tensorflowjs: its declared requirements exclude the supported TensorFlow, and a classifier needs none of them.
WITHOUT_EXTRA: Final = {"tensorflowjs": "--no-deps tensorflowjs==4.22.0"}


class EdgeError(Exception):
    """Something the user can fix: says what was found, what was expected and what to do.

    ``code`` is stable, such as ``EF-calibration-missing``; docs/errors.md lists them all. The message may be reworded.
    """

    def __init__(self, code: str, message: str = "") -> None:
        """Hold a code and a message; both are kept when the error is pickled and sent to another process."""
        super().__init__(code, message)
        self.code = code if message else "EF-unnamed"
        self.message = message or code

    def __str__(self) -> str:
        """Return the message alone."""
        return self.message


def missing_package(error: ModuleNotFoundError) -> EdgeError | None:
    """Return an error that names the missing package and how to install it; None for a module of edgeferry itself."""
    module = (error.name or str(error)).partition(".")[0]
    return None if module == "edgeferry" else package_error(module)


def package_error(module: str) -> EdgeError:
    """Return an error that names a package that is missing and how to install it."""
    return EdgeError(
        "EF-package-missing", f"the Python package {module} is not installed; install it with `{install_command(module)}`."
    )


def install_command(module: str) -> str:
    """Return the command that installs the package of a module, as an extra of edgeferry where one contains it."""
    extra = f"'edgeferry[{EXTRAS[module]}]'" if module in EXTRAS else module
    return f"pip install {WITHOUT_EXTRA.get(module, extra)}"
