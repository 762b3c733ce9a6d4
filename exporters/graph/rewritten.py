# SPDX-License-Identifier: Apache-2.0
"""A classifier with operations rewritten as a format needs them, held against the Keras model."""

from dataclasses import replace
from functools import lru_cache
from typing import Final

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
    if source.is_sound and (change := difference_from_keras(changed)) > FOLD_TOLERANCE:
        raise EdgeError(
            "EF-rewrite-differs",
            f"{source.spec.model}: writing it with {', '.join(each.title for each in families)} changes probabilities by "
            f"{change:.1e}, more than {FOLD_TOLERANCE:.0e}; this is a defect of edgeferry, please report it with the model.",
        )
    return changed


def difference_from_keras(source: Source) -> float:
    """Return the largest difference of probabilities from the Keras model's, of some golden images; with loops one by one."""
    import numpy as np

    images = normalise(np.load(source.folder / PIXELS, mmap_mode="r")[:IMAGES_COMPARED], source.spec.preprocessing)
    batches = [images] if source.single is None else images[:, None]
    with running(source.graph_of(None if source.single is None else 1), source.output) as run:
        outputs = np.concatenate([run(batch) for batch in batches])
    expected = np.load(source.folder / SCORES, mmap_mode="r")[:IMAGES_COMPARED]
    return float(np.abs(probabilities_of(outputs, source.output) - expected).max())
