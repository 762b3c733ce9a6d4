# SPDX-License-Identifier: Apache-2.0
"""The yardsticks of a model: which precisions its formats need, what they follow from, and how they are written."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from edgeferry.exporters.format import Format, precision_of
from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.reference import PIXELS, PROBES, Reference
from edgeferry.models.system.closure import CodeDigests
from edgeferry.models.system.files import Sha256
from edgeferry.models.system.packages import installed_version
from edgeferry.models.yardstick import is_current, write_problem, write_yardstick

CODE: Final = "edgeferry.exporters.graph.simulation.simulation"
TOOLS: Final = ("tensorflow-cpu", "tensorflow", "keras", "numpy")


def stale_yardsticks(
    spec: ModelSpec, build: Path, formats: Iterable[Format], reference: Reference, sha256: Sha256
) -> dict[str, dict[str, Any]]:
    """Return what each yardstick that must be computed follows from, by precision; those that are still right are left out."""
    wanted = sorted({name for form in formats if (name := precision_of(form, spec)) is not None})
    code = CodeDigests(sha256).of(CODE) if wanted else ""
    made_from = {name: _made_from(name, spec, reference, code) for name in wanted}
    return {name: fields for name, fields in made_from.items() if not is_current(build, name, fields, sha256)}


def _made_from(precision: str, spec: ModelSpec, reference: Reference, code: str) -> dict[str, Any]:
    return {
        "precision": precision,
        "model.file": reference.source_sha256,
        # Its digest is also that of the golden and calibration pixels.
        "reference": reference.sha256,
        "input": reference.config_digests["input"],
        "fold_batchnorm": spec.options.fold_batchnorm,
        "tools": {name: found for name in TOOLS if (found := installed_version(name))},
        "code": code,
    }


def write_yardsticks(spec: ModelSpec, build: Path, made_from: dict[str, dict[str, Any]]) -> None:
    """Write the yardsticks of some precisions, or why one cannot be simulated: no export fails for want of it.

    Called in the child process that exports. ``made_from`` is what each follows from.
    """
    from edgeferry.exporters.worker import quieten, source_of

    quieten()
    import numpy as np

    from edgeferry.exporters.graph.simulation.simulation import simulate

    source = source_of(spec, build)
    pixels = np.concatenate([np.load(source.folder / name, mmap_mode="r") for name in (PIXELS, PROBES)])
    for precision, fields in made_from.items():
        try:
            probabilities = simulate(source, precision, pixels)
        except Exception as error:  # noqa: BLE001 - TensorFlow's are of many classes; each is written down as the reason
            write_problem(build, precision, fields, f"{type(error).__name__}: {error}")
            continue
        if np.isfinite(probabilities).all():
            write_yardstick(build, precision, fields, probabilities)
        else:
            write_problem(build, precision, fields, "some of its probabilities are NaN or Inf: results exceed its range")
