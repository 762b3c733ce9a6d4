# SPDX-License-Identifier: Apache-2.0
"""Whether a model is right more often one way than another on the same images: exact paired tests, and what guessing reaches."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from edgeferry.models.binomial import sign_test
from edgeferry.models.decision import ONE_LABEL, Decision

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# The probability that chance alone shows what is claimed, before it is divided by the number of readings tried.
CERTAIN: Final = 1e-3
# A reading that leads by chance no more than one time in twenty is followed, or kept next to one that is certain.
LEADING: Final = 0.05
# What is named must be right on this many more images, and on this share more of them.
LEAST_IMAGES: Final = 2
LEAST_SHARE: Final = 0.02
# A mean gain of so many nats for each image is much, of fewer than 100 images in proportion to its standard error. Measured on
# samples of 100 images of benchmarks/own/classifiers.py: readings that cost nothing gain up to 0.05, mirrored ones 0.07; those
# that put 3 to 5 points right gain 0.11 to 0.16.
MUCH: Final = 0.08
MUCH_IMAGES: Final = 100
# And this far on the way from guessing to perfect: ten classes 40 %, two equal ones 67 %, a thousand 33 %.
ABOVE_CHANCE: Final = 1 / 3
# One image counts no more than this probability says, however certain the model is of something wrong.
FLOOR: Final = 0.01
# Probabilities are compared at the temperature that suits them best: inputs of more contrast make a model more certain only.
TEMPERATURES: Final = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0)


@dataclass(frozen=True)
class Trial:
    """Which images a model is right on, [count], and the logarithm of the probability it gives the truth about them, [count].

    ``skill`` is 0 where it is guessing and 1 where it is perfect.
    """

    right: "NDArray[np.bool_]"
    logs: "NDArray[np.float64]"
    skill: float

    @property
    def accuracy(self) -> float:
        """Return the fraction of images it is right on."""
        return float(self.right.mean())

    @property
    def score(self) -> float:
        """Return the mean logarithm of the truth's probability, by which readings are ranked."""
        return float(self.logs.mean())


def trial_of(probabilities: "NDArray[np.float32]", truth: "NDArray[np.int64]", decision: Decision = ONE_LABEL) -> Trial:
    """Return the trial of probabilities [count, outputs].

    ``truth`` is each image's true output, [count], or 0 and 1 for each output where several labels can hold, [count, outputs].
    A threshold decides what is right, not which readings are more probable: a reading that only makes a model more certain
    gains nothing by it.
    """
    import numpy as np

    several = decision.is_multilabel
    logs = np.log(probabilities.astype(np.float64).clip(1e-12))
    if several:
        # Each label holds or does not: two outcomes.
        logs = np.stack([np.log((1 - probabilities.astype(np.float64)).clip(1e-12)), logs], axis=2)
    candidates = [_true_logs(logs, truth, temperature) for temperature in TEMPERATURES]
    best = max(candidates, key=lambda each: float(each.mean()))
    right = decision.right(probabilities, truth)
    skill = _informed(decision.answers(probabilities), truth) if several else _beyond(right, chance(truth, logs.shape[1]))
    return Trial(right, best, skill)


def _true_logs(logs: "NDArray[np.float64]", truth: "NDArray[np.int64]", temperature: float) -> "NDArray[np.float64]":
    """Return the logarithm of the truth's probability at a temperature, [count]: that of several labels is their sum."""
    import numpy as np

    scaled = logs / temperature
    scaled -= scaled.max(axis=-1, keepdims=True)
    chosen = np.take_along_axis(scaled, truth[..., None], axis=-1)[..., 0]
    true = np.exp(chosen) / np.exp(scaled).sum(axis=-1)
    bounded: NDArray[np.float64] = np.log(true.clip(FLOOR, 1)).reshape(len(truth), -1).sum(axis=1)
    return bounded


def _beyond(right: "NDArray[np.bool_]", guessing: float) -> float:
    """Return how far from guessing to perfect a model is that is right on these images."""
    return float((right.mean() - guessing) / (1 - guessing)) if guessing < 1 else 0.0


def _informed(answers: "NDArray[np.bool_]", truth: "NDArray[np.int64]") -> float:
    """Return Youden's index, the true positive rate less the false positive rate, in the mean of the labels that have both."""
    import numpy as np

    held = truth.astype(bool)
    both = held.any(axis=0) & ~held.all(axis=0)
    if not both.any():
        return 0.0
    answers, held = answers[:, both], held[:, both]
    rates = (answers & held).sum(axis=0) / held.sum(axis=0) - (answers & ~held).sum(axis=0) / (~held).sum(axis=0)
    return float(np.mean(rates))


def mcnemar(better: Trial, worse: Trial) -> float:
    """Return the one-sided exact p-value of McNemar's test."""
    return sign_test(int((better.right & ~worse.right).sum()), int((worse.right & ~better.right).sum()))


def paired_test(better: Trial, worse: Trial) -> float:
    """Return the one-sided p-value of the mean difference of the logarithms, image by image (normal approximation)."""
    from scipy.special import ndtr

    difference = better.logs - worse.logs
    error = float(difference.std()) / len(difference) ** 0.5
    return float(ndtr(-float(difference.mean()) / error)) if error else 1.0


def matters(better: Trial, worse: Trial) -> bool:
    """Say whether a reading is right on enough more images to be spoken of."""
    gained = int(better.right.sum()) - int(worse.right.sum())
    return gained >= max(LEAST_IMAGES, LEAST_SHARE * len(better.right))


def leads(better: Trial, worse: Trial) -> bool:
    """Say whether a reading is worth following: better by enough images, and by more than chance easily shows."""
    return matters(better, worse) and min(mcnemar(better, worse), paired_test(better, worse)) < LEADING


def clearly_better(better: Trial, worse: Trial, certain: float, *, by_images: bool = False) -> bool:
    """Say whether a reading is better beyond doubt.

    Either it is right on so many more images that chance shows it with a probability below ``certain`` (McNemar's exact test);
    or, except where it has to be seen ``by_images``, it is right on more and gives the true classes much higher probabilities.
    """
    if not matters(better, worse):
        return False
    if mcnemar(better, worse) < certain:
        return True
    return not by_images and much_more_probable(better, worse)


def much_more_probable(better: Trial, worse: Trial) -> bool:
    """Say whether a reading gives the truth much higher probabilities, and by more than chance easily shows."""
    much = MUCH * max(1.0, (MUCH_IMAGES / len(better.logs)) ** 0.5)
    return better.score - worse.score >= much and paired_test(better, worse) < LEADING


def chance(classes: "NDArray[np.int64]", outputs: int) -> float:
    """Return what guessing reaches on labelled images: always the commonest class, or any."""
    import numpy as np

    return max(1 / outputs, float(np.bincount(classes).max()) / len(classes))


def far_above_chance(trial: Trial) -> bool:
    """Say whether a model is right much more often than guessing."""
    return trial.skill >= ABOVE_CHANCE
