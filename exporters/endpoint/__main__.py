# SPDX-License-Identifier: Apache-2.0
"""``python -m edgeferry.exporters.endpoint digits.onnx``: serve one classifier, configured by the environment."""

import asyncio
import sys
from contextlib import suppress
from pathlib import Path

from edgeferry.exporters.endpoint.classifier import load
from edgeferry.exporters.endpoint.server import listening, serve
from edgeferry.exporters.endpoint.service import Service
from edgeferry.exporters.endpoint.settings import VARIABLES, read_settings
from edgeferry.models.system.errors import EdgeError


def main(arguments: list[str]) -> str | None:
    """Serve until stopped by a signal; return an error message where it cannot start."""
    if len(arguments) != 1:
        return f"usage: python -m edgeferry.exporters.endpoint MODEL.onnx; {', '.join(VARIABLES)} are read from the environment"
    try:
        settings = read_settings()
        key, taken = settings.key(), listening(settings.host, settings.port)
        classifier = load(Path(arguments[0]), max(settings.threads, 1), settings.model_sha256)
        # uvicorn shuts down in order, and then raises the signal that stopped it again.
        with suppress(KeyboardInterrupt):
            asyncio.run(serve(Service(classifier, settings), key, taken))
    except EdgeError as error:
        return f"{error} [{error.code}]"
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
