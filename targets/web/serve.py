# SPDX-License-Identifier: Apache-2.0
"""A demo page: a TensorFlow.js artifact runs in the browser, next to the reference scores of the Keras model."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

from edgeferry.models.artifact import MANIFEST, Artifact, read_artifact, what_changed
from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.reference import REFERENCE, read_reference
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.terminal import model_build
from edgeferry.targets.web.javascript import TFJS, WEB
from edgeferry.targets.web.page_server import page_server

FORMAT: Final = "tfjs-float32"
KIND: Final = "tfjs"
PAGE: Final = "web/demo/index.html"


@contextmanager
def demo(spec: ModelSpec, build: Path, form: str = FORMAT, port: int = 0) -> Iterator[str]:
    """Yield the address of a page that runs a model's artifact; its server ends with the block.

    Raises:
        EdgeError: there is no such artifact, it does not match config and reference, or the port is in use.
    """
    if missing := TFJS.missing():
        raise EdgeError("EF-npm-package-missing", f"{missing}.")
    place = model_build(build, spec.name)
    _check(_artifact(place, form, spec), place, spec)
    folders = {"web": WEB, "artifact": place / form, "reference": place / REFERENCE}
    with ExitStack() as stack:
        try:
            server = stack.enter_context(page_server(folders, largest_post=0, port=port))
        except OSError as error:
            raise EdgeError(
                "EF-port-unavailable", f"port {port}: {error.strerror}; choose another with --port, or leave it out."
            ) from None
        yield f"{server.address}{PAGE}?model={quote(spec.name)}"


def _artifact(place: Path, form: str, spec: ModelSpec) -> Artifact:
    exported = sorted(path.parent.name for path in place.glob(f"*/{MANIFEST}"))
    shown = [name for name in exported if name.startswith(KIND)]
    if not shown:
        named = "" if spec.formats is None else f", with {FORMAT} among its export.formats"
        raise EdgeError(
            "EF-artifact-missing",
            f"{place} has no TensorFlow.js artifact: export one with `edgeferry export-all {spec.path}`{named}.",
        )
    if form not in exported:
        raise EdgeError(
            "EF-artifact-missing",
            f"{place} has no {form}; --format can be {', '.join(shown)}. `edgeferry export-all {spec.path}` exports formats.",
        )
    artifact = read_artifact(place / form)
    if artifact.kind != KIND:
        raise EdgeError("EF-artifact-kind", f"{form} does not run in TensorFlow.js; --format can be {', '.join(shown)}.")
    return artifact


def _check(artifact: Artifact, place: Path, spec: ModelSpec) -> None:
    """Refuse changed files, and an artifact that does not match the reference or the config."""
    again = f"export it again with `edgeferry export-all {spec.path}`"
    if changed := what_changed(artifact, place / artifact.format):
        raise EdgeError("EF-artifact-changed", f"{place / artifact.format}: {changed}; {again}.")
    reference = read_reference(place / REFERENCE)
    if reference is None:
        raise EdgeError("EF-reference-missing", f"{place / REFERENCE} has no complete reference; {again}.")
    if artifact.source_sha256 != reference.source_sha256:
        raise EdgeError(
            "EF-artifact-stale",
            f"{place / artifact.format} was exported from another model than {place / REFERENCE}; {again}.",
        )
    if (artifact.preprocessing, artifact.labels) != (spec.preprocessing, spec.labels):
        raise EdgeError("EF-config-changed", f"{spec.path}: input or model.labels changed since the export; {again}.")
