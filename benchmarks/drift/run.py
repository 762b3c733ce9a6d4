# SPDX-License-Identifier: Apache-2.0
"""New images against the golden images of a build: both answered by one of its artifacts, on this machine."""

import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeferry.benchmarks.drift.comparison import LEVEL, Comparison, compare
from edgeferry.benchmarks.drift.features import LABELS, MEANINGS, answer_features, image_features
from edgeferry.benchmarks.parity.one_run import JOB_TIMEOUT_S, run_job
from edgeferry.benchmarks.parity.sound import sound
from edgeferry.models.artifact import MANIFEST, Artifact
from edgeferry.models.decision import probabilities_of
from edgeferry.models.images import find_images, read_pixels
from edgeferry.models.reference import PIXELS, REFERENCE, Reference, read_reference
from edgeferry.models.system.child import Child, ChildError
from edgeferry.models.system.errors import EdgeError
from edgeferry.targets.target import Job, Target, choose

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Its JSON Schema is drift.schema.json.
SCHEMA: Final = 1
# With fewer, seven tests that together allow one false alarm in a hundred see next to nothing.
FEWEST: Final = 20


@dataclass(frozen=True)
class Drift:
    """What was compared, and every feature's comparison."""

    build: str
    images: str
    golden: int
    new: int
    format: str
    target: str
    labels: tuple[str, ...]
    comparisons: tuple[Comparison, ...]

    @property
    def drifted(self) -> tuple[Comparison, ...]:
        """Return what chance does not explain."""
        return tuple(each for each in self.comparisons if each.has_drifted)

    def as_json(self) -> str:
        """Return it as JSON, by drift.schema.json."""
        meanings = {each.feature: MEANINGS[each.feature] for each in self.comparisons}
        return json.dumps({"schema": SCHEMA, "level": LEVEL, "meanings": meanings, **asdict(self)}, indent=2, ensure_ascii=False)


def drift_of(build: Path, images: Path, form: str | None = None, target: str | None = None) -> Drift:
    """Return how new images differ from the golden images of a build folder.

    Raises:
        EdgeError: there are too few images, or no artifact of the build runs here.
    """
    import numpy as np

    reference = read_reference(build / REFERENCE)
    if reference is None:
        raise EdgeError("EF-drift-build", f"{build} has no reference of this release; export it again with `make export-all`.")
    golden = np.load(build / REFERENCE / PIXELS, mmap_mode="r")
    new = read_pixels(find_images(images), reference.preprocessing)
    if len(new) < FEWEST or len(golden) < FEWEST:
        raise EdgeError("EF-drift-few", f"{len(new)} new and {len(golden)} golden images; expected at least {FEWEST} of each.")
    artifact, place = _chosen(build, reference, form, target)
    probabilities = _answers(build / artifact.format, place, artifact, np.concatenate([golden, new]))
    before, now = probabilities[: len(golden)], probabilities[len(golden) :]
    comparisons = compare(
        image_features(golden) | answer_features(before),
        image_features(new) | answer_features(now),
        (reference.decision.answers(before), reference.decision.answers(now)),
    )
    where = (str(build), str(images), len(golden), len(new), artifact.format, place.name, reference.labels)
    return Drift(*where, _sorted(comparisons, reference))


def _sorted(comparisons: tuple[Comparison, ...], reference: Reference) -> tuple[Comparison, ...]:
    """Return the comparisons, the least probable first; without colour where images are gray."""
    kept = [each for each in comparisons if reference.preprocessing.channels > 1 or each.feature != "colour"]
    return tuple(sorted(kept, key=lambda each: (each.chance, each.feature == LABELS)))


def _chosen(build: Path, reference: Reference, form: str | None, target: str | None) -> tuple[Artifact, Target]:
    """Return the artifact that differs least from the Keras model among those that run here, and where."""
    names = [form] if form else sorted(path.parent.name for path in build.glob(f"*/{MANIFEST}"))
    looked = [sound(build, reference, name) for name in names]
    if form and (problem := looked[0][1]):
        raise problem
    whole = [each for each, problem in looked if each is not None and problem is None]
    artifacts = sorted(whole, key=lambda each: (each.tolerance.p99_difference, each.bytes))
    able = [each for each in choose((target,) if target else None) if each.judged and each.timed and each.missing() is None]
    for artifact in artifacts:
        # Those that may run side by side need no browser and no GPU.
        for each in sorted(able, key=lambda one: not one.side_by_side):
            if each.takes(artifact):
                return artifact, each
    where = f" on {target}" if target else ""
    raise EdgeError("EF-drift-none", f"{build}: no artifact of it that is whole runs here{where}; `edgeferry doctor` says why.")


def _answers(folder: Path, target: Target, artifact: Artifact, pixels: "NDArray[np.uint8]") -> "NDArray[np.float32]":
    import numpy as np

    with tempfile.TemporaryDirectory(prefix="edgeferry-drift-") as scratch, Child() as child:
        work = Path(scratch)
        np.save(work / "images.npy", pixels)
        job = Job(folder, work / "images.npy", work / "work", warmup=0, rounds=1)
        try:
            run: Any = child.call(run_job, target.name, job, log=work / "log", timeout_s=JOB_TIMEOUT_S)
        except ChildError as error:
            raise EdgeError("EF-drift-run", f"{artifact.format} did not run on {target.name}: {error}") from None
    if run.image_indices is not None or len(run.scores) != len(pixels):
        why = f"{target.name} runs only some images here, as a software-rendered GPU does; name another format"
        raise EdgeError("EF-drift-run", f"{artifact.format}: {why}.")
    return probabilities_of(run.scores, artifact.output)
