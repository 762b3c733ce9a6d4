# SPDX-License-Identifier: Apache-2.0
"""The manifests of a served classifier, by file name, and the texts that are written."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from edgeferry.exporters.deployment.description import DRAIN_S, GRACE_S, MOST_REPLICAS, PORT, REPLICAS, RPC_PORT, Served
from edgeferry.models.system.files import write_whole

Manifest = dict[str, Any]
FOLDER: Final = "deploy"
# Until a server that is asked to end is killed: more than it needs.
END_S: Final = DRAIN_S + GRACE_S + 5
PROXY: Final = "nginx.conf"
# An image with an unprivileged user; a digest may be put in its place.
PROXY_IMAGE: Final = "nginxinc/nginx-unprivileged:stable"


def kubernetes(served: Served) -> list[Manifest]:
    """Return Deployment, Service, HorizontalPodAutoscaler and PodDisruptionBudget."""
    labels, metadata = {"app": served.name}, {"name": served.name, "labels": {"app": served.name}}
    container = served.container()
    container["ports"] = [{"name": "http", "containerPort": PORT}, {"name": "grpc", "containerPort": RPC_PORT}]
    pod = {"containers": [container], "terminationGracePeriodSeconds": END_S, "automountServiceAccountToken": False}
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": served.name}
    cpu = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}}
    return [
        _manifest(
            "apps/v1",
            "Deployment",
            metadata,
            selector={"matchLabels": labels},
            strategy=rolling,
            template={"metadata": {"labels": labels}, "spec": pod},
        ),
        _manifest(
            "v1",
            "Service",
            metadata,
            selector=labels,
            ports=[{"name": "http", "port": 80, "targetPort": "http"}, {"name": "grpc", "port": RPC_PORT, "targetPort": "grpc"}],
        ),
        _manifest(
            "autoscaling/v2",
            "HorizontalPodAutoscaler",
            metadata,
            scaleTargetRef=target,
            minReplicas=REPLICAS,
            maxReplicas=MOST_REPLICAS,
            metrics=[cpu],
        ),
        _manifest("policy/v1", "PodDisruptionBudget", metadata, maxUnavailable=1, selector={"matchLabels": labels}),
    ]


def kserve(served: Served) -> list[Manifest]:
    """Return KServe's InferenceService, around the container."""
    predictor = {
        "containers": [{**served.container(), "name": "kserve-container"}],
        "minReplicas": REPLICAS,
        "maxReplicas": MOST_REPLICAS,
        "terminationGracePeriodSeconds": END_S,
    }
    return [_manifest("serving.kserve.io/v1beta1", "InferenceService", {"name": served.name}, predictor=predictor)]


def knative(served: Served) -> list[Manifest]:
    """Return Knative's Service, which Cloud Run takes too."""
    scale = {"autoscaling.knative.dev/minScale": "1", "autoscaling.knative.dev/maxScale": str(MOST_REPLICAS)}
    spec = {"containers": [served.container()], "containerConcurrency": 64, "timeoutSeconds": 60}
    template = {"metadata": {"annotations": scale}, "spec": spec}
    return [_manifest("serving.knative.dev/v1", "Service", {"name": served.name}, template=template)]


def compose(served: Served) -> list[Manifest]:
    """Return Docker Compose's file: some servers behind nginx."""
    servers = {
        "image": served.image,
        "build": "..",
        "environment": served.environment(),
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "stop_grace_period": f"{END_S}s",
        "deploy": {
            "replicas": REPLICAS + 1,
            "resources": {"limits": {"cpus": str(served.cpu), "memory": f"{served.memory_mib}M"}},
        },
    }
    proxy = {
        "image": PROXY_IMAGE,
        "volumes": [f"./{PROXY}:/etc/nginx/nginx.conf:ro"],
        "ports": [f"{PORT}:{PORT}"],
        "depends_on": ["classifier"],
    }
    return [{"services": {"classifier": servers, "proxy": proxy}}]


MANIFESTS: Final[Mapping[str, Callable[[Served], Sequence[Manifest]]]] = {
    "kubernetes.yaml": kubernetes,
    "kserve.yaml": kserve,
    "knative.yaml": knative,
    "compose.yaml": compose,
}


def proxy(servers: Sequence[str], port: int = PORT, most_bytes: str = "16m") -> str:
    """Return nginx's settings in front of servers: one that is full or gone is passed over, since a request may be repeated."""
    lines = "".join(f"        server {server} max_fails=0;\n" for server in servers)
    return f"""\
worker_processes auto;
pid /tmp/nginx.pid;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_max_body_size {most_bytes};
    client_body_temp_path /tmp/body;
    proxy_temp_path /tmp/proxy;
    fastcgi_temp_path /tmp/fastcgi;
    uwsgi_temp_path /tmp/uwsgi;
    scgi_temp_path /tmp/scgi;
    upstream servers {{
        least_conn;
        keepalive 32;
{lines}    }}
    server {{
        listen {port};
        location / {{
            proxy_pass http://servers;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_connect_timeout 2s;
            proxy_next_upstream error timeout http_503 non_idempotent;
            proxy_next_upstream_tries 3;
        }}
    }}
}}
"""


def write_manifests(served: Served, folder: Path) -> None:
    """Write all manifests, and the settings of the proxy, into a folder."""
    import yaml

    folder.mkdir()
    for name, manifests in MANIFESTS.items():
        write_whole(folder / name, yaml.safe_dump_all(manifests(served), sort_keys=False))
    write_whole(folder / PROXY, proxy([f"classifier:{PORT}"]))


def _manifest(version: str, kind: str, metadata: Manifest, **spec: Any) -> Manifest:
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}
