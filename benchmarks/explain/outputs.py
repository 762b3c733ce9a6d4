# SPDX-License-Identifier: Apache-2.0
"""Hypotheses about an artifact's scores that need nothing but the Keras model's: labels in another order, softmax, biases."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from edgeferry.benchmarks.explain.result import Stage
from edgeferry.models.decision import MULTILABEL, softmax
from edgeferry.models.diagnosis.label_order import order_in_words

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Scores = NDArray[np.float32]

# Probabilities below are 0 in a file of 8 bits, and no logit can be made of them.
LEAST: Final = 1e-6
# An exchange of classes must be so much closer than none.
CLOSER: Final = 0.25
# Temperatures that are tried, as powers of two; the closest is refined.
TEMPERATURES: Final = (-3.0, 3.0, 49)
BIAS_STEPS: Final = 200
LARGEST_STEP: Final = 0.5
# A class's bias counts where it is so many nats.
LEAST_BIAS: Final = 0.02


@dataclass(frozen=True)
class Fit:
    """A hypothesis in words, and the mean difference of probabilities that is left where it is accounted for.

    ``left_in_layer`` is the part that is left of the error of the first layer with weights, for an image that it sees; None where
    that was not measured.
    """

    stage: Stage
    sentence: str
    left: float
    left_in_layer: float | None = None


def mean_difference(found: "Scores", expected: "Scores") -> float:
    """Return the mean over images of the largest difference of any probability, [count, classes] each."""
    import numpy as np

    return float(np.abs(found.astype(np.float64) - expected).max(axis=1).mean())


def output_fits(scores: "Scores", found: "Scores", expected: "Scores", output: str, labels: Sequence[str]) -> Iterator[Fit]:
    """Yield every hypothesis with its fit.

    ``scores`` are the artifact's raw ones, ``found`` the probabilities that they stand for, ``expected`` the Keras model's.
    """
    yield from _order(found, expected, labels)
    respond, logits = _link(output, expected)
    if output == "probabilities":
        yield Fit("output head", "the softmax is missing: its outputs are the logits", mean_difference(softmax(scores), expected))
    if output != MULTILABEL:
        yield Fit("output head", "a softmax is applied twice", mean_difference(found, softmax(expected)))
    yield _temperature(found, logits, respond)
    yield _bias(found, logits, respond, labels)


def _link(output: str, expected: "Scores") -> "tuple[Callable[[Any], Any], Any]":
    """Return what makes probabilities of logits, and the Keras model's logits but for a constant."""
    import numpy as np

    wide = np.clip(expected.astype(np.float64), LEAST, 1 - LEAST)
    if output == MULTILABEL:
        return lambda logits: 1 / (1 + np.exp(-logits)), np.log(wide) - np.log1p(-wide)
    return softmax, np.log(wide)


def _order(found: "Scores", expected: "Scores", labels: Sequence[str]) -> Iterator[Fit]:
    import numpy as np
    from scipy.optimize import linear_sum_assignment

    wide, meant = found.astype(np.float64), expected.astype(np.float64)
    apart = (wide**2).sum(0)[:, None] + (meant**2).sum(0)[None, :] - 2 * wide.T @ meant
    here = linear_sum_assignment(apart)[1]
    straight = np.arange(len(labels))
    moved = here != straight
    # Classes that hardly occur may stand anywhere: what is not much closer stays.
    if not moved.any() or apart[straight, here][moved].sum() > CLOSER * apart[straight, straight][moved].sum():
        return
    words = order_in_words(tuple(here.tolist()), labels)
    yield Fit("labels", f"its classes are in another order: {words}", mean_difference(found, expected[:, here]))


def _temperature(found: "Scores", logits: Any, respond: Callable[[Any], Any]) -> Fit:
    import numpy as np

    powers = np.linspace(*TEMPERATURES)
    step = float(powers[1] - powers[0])
    best = min(powers, key=lambda power: mean_difference(found, respond(logits * 2**power)))
    best = min(np.linspace(best - step, best + step, 21), key=lambda power: mean_difference(found, respond(logits * 2**power)))
    left = mean_difference(found, respond(logits * 2**best))
    return Fit("output head", f"its logits are multiplied by {2**best:.2f}", left)


def _bias(found: "Scores", logits: Any, respond: Callable[[Any], Any], labels: Sequence[str]) -> Fit:
    """Return the fit of one number added to each class's logit: that which gives every class its mean probability."""
    import numpy as np

    bias = np.zeros(logits.shape[1])
    wanted = found.astype(np.float64).mean(axis=0)
    for _ in range(BIAS_STEPS):
        now = respond(logits + bias)
        slope = (now * (1 - now)).mean(axis=0) + LEAST
        bias += np.clip((wanted - now.mean(axis=0)) / slope, -LARGEST_STEP, LARGEST_STEP)
    bias -= np.median(bias)
    left = mean_difference(found, respond(logits + bias))
    large = [at for at in np.argsort(-np.abs(bias)) if abs(bias[at]) > max(LEAST_BIAS, 0.3 * np.abs(bias).max())]
    named = ", ".join(f"{labels[at]} {bias[at]:+.2f}" for at in large[:3])
    more = f" and {len(large) - 3} more" if len(large) > 3 else ""
    return Fit("output head", f"its logits have another bias: {named}{more}", left)
