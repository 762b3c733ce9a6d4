# SPDX-License-Identifier: Apache-2.0
"""The one description of a served classifier that all manifests follow from."""

import re
from dataclasses import dataclass
from typing import Any, Final

# As the Dockerfile has them: ports, and nobody.
PORT: Final = 8080
RPC_PORT: Final = 8081
USER: Final = 65534
READY: Final = "/v2/health/ready"
LIVE: Final = "/v2/health/live"
# How long a server serves on after it is asked to end, until no proxy sends to it; and how long requests then have to finish.
DRAIN_S: Final = 5
GRACE_S: Final = 20
MOST_REPLICAS: Final = 10
REPLICAS: Final = 2
# A name that Kubernetes allows (RFC 1123), at most 63 characters.
LONGEST_NAME: Final = 63


@dataclass(frozen=True)
class Served:
    """A classifier by its name and the digest of its file; ``cpu`` cores and ``memory_mib`` are what one server may use."""

    model: str
    sha256: str
    cpu: int = 1
    memory_mib: int = 512

    @property
    def name(self) -> str:
        """Return a name that platforms allow."""
        name = re.sub(r"[^a-z0-9]+", "-", self.model.lower())[:LONGEST_NAME].strip("-")
        return name or "classifier"

    @property
    def image(self) -> str:
        """Return the image's name and tag; a registry stands before it."""
        return f"{self.name}:{self.sha256[:12]}"

    def container(self) -> dict[str, Any]:
        """Return the container as Kubernetes, KServe and Knative describe it."""
        return {
            "name": "classifier",
            "image": self.image,
            "env": [{"name": name, "value": value} for name, value in self.environment().items()],
            "ports": [{"name": "http1", "containerPort": PORT}],
            "resources": {
                "requests": {"cpu": f"{self.cpu * 500}m", "memory": f"{self.memory_mib // 2}Mi"},
                "limits": {"cpu": str(self.cpu), "memory": f"{self.memory_mib}Mi"},
            },
            "readinessProbe": probe(READY, 5),
            "livenessProbe": probe(LIVE, 10),
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER,
                "readOnlyRootFilesystem": True,
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "seccompProfile": {"type": "RuntimeDefault"},
            },
        }

    def environment(self) -> dict[str, str]:
        """Return the settings of the server that differ from the image's."""
        return {"DRAIN_S": str(DRAIN_S), "GRACE_S": str(GRACE_S)}


def probe(path: str, period_s: int) -> dict[str, Any]:
    """Return a probe by HTTP."""
    return {"httpGet": {"path": path, "port": PORT}, "periodSeconds": period_s, "timeoutSeconds": 3, "failureThreshold": 3}
