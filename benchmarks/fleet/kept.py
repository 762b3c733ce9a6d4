# SPDX-License-Identifier: Apache-2.0
"""What a shard returns of a job, as bytes and back: the raw scores of its images, with times and environment, or why it has none.

Scores are kept, not what was computed from them: put one after another they are those of one machine, and are judged once.
"""

import io
import json
import zipfile
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from edgeferry.benchmarks.fleet.store import opened, sealed
from edgeferry.benchmarks.parity.one_run import Attempt
from edgeferry.benchmarks.parity.outcome import Verdict
from edgeferry.benchmarks.parity.rows import cleaned
from edgeferry.targets.target import BatchedScores, Run

if TYPE_CHECKING:
    from numpy.typing import NDArray

FACTS: Final = "facts"
ARRAYS: Final = ("scores", "stored", "batched", "uploads")
# Of a run, what JSON gives back as it was.
PLAIN: Final = ("first_ms", "load_ms", "environment")


@dataclass(frozen=True)
class Kept:
    """An attempt of a job, the machine that made it, and the digest of the runtime and the code that it follows from."""

    attempt: Attempt
    machine: dict[str, str]
    follows_from: str


def as_bytes(kept: Kept) -> bytes:
    """Return what was found as the bytes of an object."""
    import numpy as np

    run = kept.attempt.run
    facts = {
        "machine": kept.machine,
        "follows_from": kept.follows_from,
        "attempt": asdict(replace(kept.attempt, run=None)),
        "run": None if run is None else _facts(run),
    }
    arrays = {} if run is None else {"scores": run.scores, "stored": run.stored, "uploads": run.uploads}
    if run is not None and run.batched is not None:
        arrays["batched"] = run.batched.scores
    file = io.BytesIO()
    text = np.frombuffer(json.dumps(cleaned(facts)).encode(), np.uint8)
    np.savez(file, facts=text, **{name: each for name, each in arrays.items() if each is not None})  # type: ignore[arg-type]
    return sealed(file.getvalue())


def _facts(run: Run) -> dict[str, Any]:
    return {
        "first_ms": run.first_ms,
        "load_ms": run.load_ms,
        "environment": dict(run.environment),
        "labels": run.labels,
        "latencies_ms": [float(each) for each in run.latencies_ms],
        "image_indices": None if run.image_indices is None else [int(each) for each in run.image_indices],
        "batches": None if run.batched is None else [[int(each) for each in batch] for batch in run.batched.batches],
    }


def kept_of(data: bytes) -> Kept | None:
    """Return what the bytes of an object hold, or None where they are damaged."""
    payload = opened(data)
    try:
        return None if payload is None else _kept(payload)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, zipfile.BadZipFile, OSError):
        return None


def _kept(payload: bytes) -> Kept:
    import numpy as np

    with zipfile.ZipFile(io.BytesIO(payload)) as archive:
        # What is stored as it is cannot be larger than the file.
        if any(each.compress_type != zipfile.ZIP_STORED for each in archive.infolist()):
            raise ValueError("compressed")
    with np.load(io.BytesIO(payload), allow_pickle=False) as arrays:
        facts = json.loads(arrays[FACTS].tobytes())
        found = {name: arrays[name] for name in ARRAYS if name in arrays}
    run = None if facts["run"] is None else _run(facts["run"], found)
    # Before scores are judged a verdict has no images.
    verdict = None if run is not None else Verdict(**{**facts["attempt"]["verdict"], "flips": ()})
    attempt = Attempt(**{**facts["attempt"], "run": run, "verdict": verdict})
    return Kept(attempt, dict(facts["machine"]), str(facts["follows_from"]))


def _run(facts: dict[str, Any], arrays: "dict[str, NDArray[Any]]") -> Run:
    def several(name: str) -> "tuple[Any, ...] | None":
        return None if facts[name] is None else tuple(facts[name])

    batches = facts["batches"]
    batched = None if batches is None else BatchedScores(tuple(map(tuple, batches)), arrays["batched"])
    return Run(
        scores=arrays["scores"],
        labels=several("labels"),
        latencies_ms=tuple(facts["latencies_ms"]),
        image_indices=several("image_indices"),
        stored=arrays.get("stored"),
        batched=batched,
        uploads=arrays.get("uploads"),
        **{name: facts[name] for name in PLAIN},
    )
