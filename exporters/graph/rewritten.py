# SPDX-License-Identifier: Apache-2.0
"""A classifier with operations rewritten as a format needs them, held against the Keras model."""

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from edgeferry.exporters.graph.rewrites.exponentials import BOUNDED
from edgeferry.exporters.graph.rewrites.integers import INTEGERS
from edgeferry.exporters.graph.rewrites.moving import MOVING
from edgeferry.exporters.graph.rewrites.products import PRODUCTS
from edgeferry.exporters.graph.rewrites.resizing import RESIZING
from edgeferry.exporters.graph.rewrites.rewrite import Rewrites, rewrite
from edgeferry.exporters.graph.rewrites.trigonometry import ARC, HYPERBOLIC
from edgeferry.exporters.graph.run import running
from edgeferry.exporters.graph.source import FOLD_TOLERANCE, Source
from edgeferry.models.decision import probabilities_of
from edgeferry.models.preprocessing import normalise
from edgeferry.models.reference import PIXELS, SCORES
from edgeferry.models.system.errors import EdgeError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# What no format loses by; what TF Lite lacks besides, and what it lacks in integers.
EVERYWHERE: Final = (PRODUCTS, RESIZING, MOVING)
TFLITE: Final = (*EVERYWHERE, ARC, HYPERBOLIC)
TFLITE_INTEGERS: Final = (*TFLITE, BOUNDED, INTEGERS)
IMAGES_COMPARED: Final = 32


# Formats of one kind follow one another, and each classifier kept is a copy of all weights.
@lru_cache(maxsize=2)
def rewritten(source: Source, *families: Rewrites) -> Source:
    """Return the classifier with the rewrites of some families, or the source itself where none applies.

    Raises:
        EdgeError: its probabilities for golden images would change.
    """
    graph, count = rewrite(source.graph, source.output, families)
    if not count:
        return source
    single = rewrite(source.single, source.output, families)[0] if source.single is not None else None
    changed = replace(source, graph=graph, single=single)
    if (change := change_from(source, changed)) > FOLD_TOLERANCE:
        raise EdgeError(
            "EF-rewrite-differs",
            f"{source.spec.model}: writing it with {', '.join(each.title for each in families)} changes probabilities by "
            f"{change:.1e}, more than {FOLD_TOLERANCE:.0e}; this is a defect of edgeferry, please report it with the model.",
        )
    return changed


def change_from(source: Source, changed: Source) -> float:
    """Return by how much probabilities of some golden images change where a classifier is written in another way.

    They are held against the Keras model's, and where those differ against the classifier's own: it may be another than the Keras
    model, as with a planted fault.
    """
    import numpy as np

    change = difference_from_keras(changed)
    return change if change <= FOLD_TOLERANCE else float(np.abs(_probabilities(changed) - _probabilities(source)).max())


def difference_from_keras(source: Source) -> float:
    """Return the largest difference of probabilities from the Keras model's, of some golden images."""
    import numpy as np

    expected = np.load(source.folder / SCORES, mmap_mode="r")[:IMAGES_COMPARED]
    return float(np.abs(_probabilities(source) - expected).max())


def _probabilities(source: Source) -> "NDArray[np.float32]":
    """Return the probabilities of some golden images, computed one by one where there are loops."""
    import numpy as np

    images = normalise(np.load(source.folder / PIXELS, mmap_mode="r")[:IMAGES_COMPARED], source.spec.preprocessing)
    batches = [images] if source.single is None else images[:, None]
    with running(source.graph_of(None if source.single is None else 1), source.output) as run:
        return probabilities_of(np.concatenate([run(batch) for batch in batches]), source.output)
