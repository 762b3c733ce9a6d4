# SPDX-License-Identifier: Apache-2.0
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from edgeferry.exporters.container import BUILD
from edgeferry.exporters.deployment.description import PORT, RPC_PORT, USER, Served
from edgeferry.exporters.deployment.manifests import END_S, MANIFESTS, PROXY, write_manifests
from edgeferry.exporters.endpoint.settings import VARIABLES

SERVED: Final = Served("My Cats_1", "ab" * 32)


@pytest.fixture
def written(tmp_path: Path) -> dict[str, list[Any]]:
    write_manifests(SERVED, tmp_path / "deploy")
    return {name: list(yaml.safe_load_all((tmp_path / "deploy" / name).read_text())) for name in MANIFESTS}


def _found(manifest: object, key: str) -> list[Any]:
    """Return every value of a key in a manifest, at any depth."""
    if isinstance(manifest, list):
        return [value for each in manifest for value in _found(each, key)]
    if not isinstance(manifest, dict):
        return []
    return [value for name, each in manifest.items() for value in ([each] if name == key else _found(each, key))]


def test_every_manifest_names_the_one_image(written: dict[str, list[Any]]) -> None:
    for name, manifests in written.items():
        assert f"my-cats-1:{'ab' * 6}" in _found(manifests, "image"), name


def test_ports_and_user_are_those_of_the_dockerfile() -> None:
    dockerfile = (BUILD / "Dockerfile").read_text()
    assert f"EXPOSE {PORT} {RPC_PORT}\n" in dockerfile
    assert f"USER {USER}:{USER}\n" in dockerfile


def test_only_settings_that_exist_are_set(written: dict[str, list[Any]]) -> None:
    names = {each["name"] for env in _found(list(written.values()), "env") for each in env}
    names |= {name for each in _found(list(written.values()), "environment") for name in each}
    assert names
    assert names <= set(VARIABLES)


def test_a_server_has_more_time_to_end_than_it_takes(written: dict[str, list[Any]]) -> None:
    environment = _found(written["compose.yaml"], "environment")[0]
    assert int(environment["DRAIN_S"]) + int(environment["GRACE_S"]) < END_S
    assert set(_found([written["kubernetes.yaml"], written["kserve.yaml"]], "terminationGracePeriodSeconds")) == {END_S}


def test_every_container_is_unprivileged(written: dict[str, list[Any]]) -> None:
    for name in ("kubernetes.yaml", "kserve.yaml", "knative.yaml"):
        (context,) = _found(written[name], "securityContext")
        assert (context["readOnlyRootFilesystem"], context["runAsUser"]) == (True, USER)


def test_the_proxy_s_settings_stand_beside_them(tmp_path: Path) -> None:
    write_manifests(SERVED, tmp_path / "deploy")
    assert f"server classifier:{PORT} " in (tmp_path / "deploy" / PROXY).read_text()
