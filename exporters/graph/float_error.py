# SPDX-License-Identifier: Apache-2.0
"""How much float32's own rounding changes what a classifier answers: some networks are so sensitive that it shows."""

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from edgeferry.exporters.graph.run import running
from edgeferry.exporters.graph.simulation.simulation import simulate
from edgeferry.models.decision import probabilities_of
from edgeferry.models.golden.scores import keras_scores

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgeferry.exporters.graph.source import Source

# Another order of the same additions may change an output so many times as much as the order that was simulated.
TIMES: Final = 2.0
# A graph that draws differs from itself as much as from its simulation.
STEADY: Final = 10
# It is the greatest difference on so many images.
IMAGES: Final = 200


def explained_by_float32(source: "Source", pixels: "NDArray[np.uint8]") -> float:
    """Return how far probabilities may differ that follow from the same graph in another order of float32 arithmetic.

    0 for a graph that answers otherwise when it is asked again: one that draws random numbers or keeps a state.
    """
    import numpy as np

    some = pixels[:IMAGES]
    with running(source.graph, source.output) as run:
        first, again = (probabilities_of(keras_scores(run, some, source.spec), source.output) for _ in range(2))
    # The graph as it is, not one that is folded first.
    rounded = simulate(replace(source, folding="nothing to fold"), "float32", some)
    change, repeated = (float(np.abs(each - first).max()) for each in (rounded, again))
    return TIMES * change if STEADY * repeated <= change else 0.0
