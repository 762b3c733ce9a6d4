# SPDX-License-Identifier: Apache-2.0
"""Are the weights of an artifact the model's? Every one within half a step of the constant it comes from, without images."""

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from edgeferry.benchmarks.parity.judging.provenance.candidates import (
    Candidate,
    candidates_of,
    merged_by_converter,
    preprocessing_of,
)
from edgeferry.benchmarks.parity.judging.provenance.matching import Altered, Matching, matched, settle
from edgeferry.benchmarks.parity.judging.provenance.weight_check import WeightCheck, of_no_reader
from edgeferry.exporters.readers.reader import reader_of
from edgeferry.exporters.weights.constants import WEIGHTS, Constants, read_constants
from edgeferry.exporters.weights.stored import StoredWeight
from edgeferry.models.artifact import Artifact, read_artifact
from edgeferry.models.system.errors import EdgeError, missing_package
from edgeferry.models.system.files import Sha256, sha256_of

# What damaged bytes raise in the readers; whether a file can be run at all, its runtime says.
DAMAGE: Final = (ArithmeticError, AttributeError, LookupError, MemoryError, OSError, TypeError, ValueError, struct.error)


def check_weights(build: Path, artifact: Artifact, sha256: Sha256 = sha256_of) -> WeightCheck:
    """Return how the weights of an artifact in a build folder compare with the model's constants that are kept there."""
    constants = read_constants(build / WEIGHTS, sha256)
    if constants is None:
        return WeightCheck(0, not_checked=f"{build / WEIGHTS} holds no constants of the model; `make export-all` writes them")
    if constants.source_sha256 != artifact.source_sha256:
        return WeightCheck(0, not_checked="the artifact was exported from another model than the constants kept")
    try:
        return _checked(build, artifact, constants)
    except EdgeError as error:
        return WeightCheck(0, not_checked=str(error))
    except ModuleNotFoundError as error:
        # A small install, edgeferry[check], reads no weights of ONNX files; their answers are judged all the same.
        if (missing := missing_package(error)) is None:
            raise
        return WeightCheck(0, not_checked=str(missing))


def _checked(build: Path, artifact: Artifact, constants: Constants) -> WeightCheck:
    stored = _stored(build / artifact.format / artifact.main_file)
    if stored is None:
        return of_no_reader(artifact.kind)
    candidates = [*candidates_of(constants), *preprocessing_of(artifact.preprocessing)]
    matching = matched(stored, candidates)
    unknown = tuple(matching.left)
    fixed: frozenset[str] = frozenset()
    if matching.left and (sibling := _sibling(build, artifact, candidates)) is not None:
        merged = [merged_by_converter(each) for each in sibling.left]
        fixed = frozenset({*sibling.found, *(each.content for each in merged)})
        candidates += merged
        again = matched(matching.left, candidates)
        _add(matching, again)
    settle(matching, candidates, fixed)
    dropped = _dropped(matching, candidates, unknown)
    altered = [each for each in matching.altered if each.difference is not None]
    zero = [each for each in matching.altered if each.difference is None]
    total = len(matching.origins) - len(matching.altered)
    return WeightCheck(
        total,
        tuple(map(_sentence, altered)),
        (*(f"the bias of layer {each.candidate.constant.layer} is all zero, and not the model's" for each in zero), *dropped),
        tuple(each.name for each in matching.left),
    )


def _stored(path: Path) -> Iterator[StoredWeight] | None:
    reader = reader_of(path)
    return None if reader is None or reader.weights is None else _undamaged(reader.weights, path)


def _undamaged(weights: Callable[[Path], Iterator[StoredWeight]], path: Path) -> Iterator[StoredWeight]:
    """Yield what a reader finds.

    Raises:
        EdgeError: the file is damaged.
    """
    try:
        yield from weights(path)
    except DAMAGE as error:
        raise EdgeError(
            "EF-file-damaged", f"{path} cannot be read ({type(error).__name__}: {error}); export or copy it again."
        ) from None


def _sibling(build: Path, artifact: Artifact, candidates: list[Candidate]) -> Matching | None:
    """Return what became of the weights of the float32 file of the same kind, where there is another one of the same model."""
    name = f"{artifact.kind}-float32"
    if name == artifact.format:
        return None
    try:
        sibling = read_artifact(build / name)
        stored = _stored(build / name / sibling.main_file)
        if stored is None or sibling.source_sha256 != artifact.source_sha256:
            return None
        matching = matched(stored, candidates)
    except EdgeError:
        return None
    settle(matching, candidates, frozenset())
    return matching


def _add(matching: Matching, again: Matching) -> None:
    for name, origin in again.origins.items():
        matching.take(name, origin)
    matching.altered += again.altered
    matching.left = again.left


def _dropped(matching: Matching, candidates: list[Candidate], unknown: tuple[StoredWeight, ...]) -> Iterator[str]:
    """Yield what the file must hold and does not, where nothing that the model alone does not explain can be it."""
    named = {each.constant.name: each for each in candidates}
    for each in candidates:
        if matching.is_found(each):
            biases = [named[name] for name in each.constant.biases]
            may_be = [other for other in unknown if biases and _could_be(other, biases[0])]
            if biases and not may_be and not any(bias.epsilon == 0 or matching.is_found(bias) for bias in biases):
                yield f"the bias of layer {each.constant.layer} is missing"
        elif each.constant.required and each.constant.role == "weight" and each.epsilon and not unknown:
            yield f"the weights of layer {each.constant.layer} are missing"


def _could_be(other: StoredWeight, each: Candidate) -> bool:
    return each.size % other.values.size == 0


def _sentence(altered: Altered) -> str:
    found, constant = altered.difference, altered.candidate.constant
    if found is None:
        return ""
    what = "bias" if constant.role == "bias" else "weights"
    where = ""
    if found.channels is not None and constant.role != "bias":
        where = f" in {int(found.channels.sum())} of {found.channels.size} channels"
    how = f"{found.steps:.3g} quantization steps" if found.steps is not None else f"{found.share:.2g} of the largest"
    return (
        f"layer {constant.layer}: {found.outside} of {found.count} {what}{where} differ from the model's by more than half a "
        f"step, by up to {how}"
    )
