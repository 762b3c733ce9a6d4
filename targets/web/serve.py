# SPDX-License-Identifier: Apache-2.0
"""A page a person can open: a TensorFlow.js artifact in the browser, and what the original said beside it."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

from edgeferry.models.artifact import MANIFEST, Artifact, read_artifact, what_changed
from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.reference import read_reference
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.terminal import model_build
from edgeferry.targets.web.javascript import TFJS, WEB
from edgeferry.targets.web.page_server import page_server

FORMAT: Final = "tfjs-float32"
KIND: Final = "tfjs"
PAGE: Final = "web/demo/index.html"


@contextmanager
def demo(spec: ModelSpec, build: Path, form: str = FORMAT, port: int = 0) -> Iterator[str]:
    """Yield the address of a page that runs a model's artifact; it is gone when the block ends.

    Raises:
        EdgeError: there is nothing to show, it is not what the contract and the reference say, or the port is taken.
    """
    if missing := TFJS.missing():
        raise EdgeError(f"{missing}.")
    place = model_build(build, spec.name)
    _check(_artifact(place, form, spec), place, spec)
    folders = {"web": WEB, "artifact": place / form, "reference": place / "reference"}
    with ExitStack() as stack:
        try:
            server = stack.enter_context(page_server(folders, largest_post=0, port=port))
        except OSError as error:
            raise EdgeError(f"port {port}: {error.strerror}; name another with --port, or leave it out.") from None
        yield f"{server.address}{PAGE}?model={quote(spec.name)}"


def _artifact(place: Path, form: str, spec: ModelSpec) -> Artifact:
    exported = sorted(path.parent.name for path in place.glob(f"*/{MANIFEST}"))
    shown = [name for name in exported if name.startswith(KIND)]
    if not shown:
        named = "" if spec.formats is None else f", with {FORMAT} among its export.formats"
        raise EdgeError(f"{place} holds no TensorFlow.js artifact: export one with `make export-all MODEL={spec.path}`{named}.")
    if form not in exported:
        raise EdgeError(
            f"{place} holds no {form}; --format may name {', '.join(shown)}. "
            f"Formats are exported with `make export-all MODEL={spec.path}`."
        )
    artifact = read_artifact(place / form)
    if artifact.kind != KIND:
        raise EdgeError(f"{form} is not for browsers; --format may name {', '.join(shown)}.")
    return artifact


def _check(artifact: Artifact, place: Path, spec: ModelSpec) -> None:
    """Refuse files that are not those exported, and an artifact that is not of this reference or contract."""
    again = f"export anew with `make export-all MODEL={spec.path}`"
    if changed := what_changed(artifact, place / artifact.format):
        raise EdgeError(f"{place / artifact.format}: {changed}; {again}.")
    reference = read_reference(place / "reference")
    if reference is None:
        raise EdgeError(f"{place / 'reference'} does not hold what the original answered, whole; {again}.")
    if artifact.source_sha256 != reference.source_sha256:
        raise EdgeError(f"{place / artifact.format} was exported from another model than {place / 'reference'}; {again}.")
    if (artifact.preprocessing, artifact.labels) != (spec.preprocessing, spec.labels):
        raise EdgeError(f"{spec.path}: input or model.labels changed since the export; {again}.")
