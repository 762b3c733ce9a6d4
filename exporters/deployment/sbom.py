# SPDX-License-Identifier: Apache-2.0
"""What is in a container, as a bill of materials: the model and every pinned package, by CycloneDX 1.6 in JSON."""

import json
import re
from typing import Any, Final

from edgeferry.exporters.deployment.description import Served

PIN: Final = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\\\]+)", re.MULTILINE)


def sbom(served: Served, requirements: str) -> str:
    """Return the bill of materials of a container with these pinned requirements; the base image has its own."""
    model = {
        "type": "machine-learning-model",
        "bom-ref": served.image,
        "name": served.model,
        "version": served.sha256[:12],
        "hashes": [{"alg": "SHA-256", "content": served.sha256}],
    }
    packages = [_package(name, version) for name, version in PIN.findall(requirements)]
    document: dict[str, Any] = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": model},
        "components": packages,
    }
    return json.dumps(document, indent=1) + "\n"


def _package(name: str, version: str) -> dict[str, str]:
    purl = f"pkg:pypi/{re.sub(r'[-_.]+', '-', name).lower()}@{version}"
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
