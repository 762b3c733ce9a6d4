# SPDX-License-Identifier: Apache-2.0
"""Whether a config's threshold explains that its model is more often right under another reading."""

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from edgeferry.models.decision import Decision
from edgeferry.models.diagnosis.evidence import LEADING, Trial, matters, mcnemar, much_more_probable, trial_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Predicted = tuple[NDArray[np.float32], NDArray[np.int64]]

# Thresholds are tried at so many quantiles of the probabilities.
TRIED: Final = 50


def explained_by_threshold(now: "Predicted", then: "Predicted", decision: Decision) -> bool:
    """Say whether a reading gains images only because another threshold would suit the config's own reading better.

    Each is probabilities [count, outputs] and the true outputs. A threshold is often not the one that is right most often, such
    as 0.9 where mistakes are dear; inputs of more contrast, which make a model more certain, would then seem better. So a reading
    must also be better without any threshold, in images or in probabilities at a temperature of its own, or better than the
    config's own at every threshold.
    """
    if decision.threshold is None:
        return False
    plain = Decision(decision.is_multilabel)
    one, other = trial_of(*then, plain), trial_of(*now, plain)
    if _gains_images(one, other) or much_more_probable(one, other):
        return False
    return not _gains_images(trial_of(*then, decision), _at_its_best(now, decision))


def _gains_images(one: Trial, other: Trial) -> bool:
    return matters(one, other) and mcnemar(one, other) < LEADING


def _at_its_best(found: "Predicted", decision: Decision) -> Trial:
    """Return the trial at the threshold that is right most often."""
    import numpy as np

    shown = found[0] if decision.is_multilabel else found[0][:, 1]
    tried = np.unique(np.quantile(shown, np.linspace(0, 1, TRIED)))
    best = max(tried.tolist(), key=lambda each: float(replace(decision, threshold=each).right(*found).mean()))
    return trial_of(*found, replace(decision, threshold=best))
