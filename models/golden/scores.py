# SPDX-License-Identifier: Apache-2.0
"""A Keras model's scores for images: probabilities or logits, and refused where they prove nothing."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.decision import MULTILABEL, ONE_LABEL, Decision, groups_of
from edgeferry.models.preprocessing import normalise
from edgeferry.models.system.errors import EdgeError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# A row of probabilities sums to 1 except for float32 rounding over up to some thousand classes.
SUM_TOLERANCE: Final = 1e-3
# An untrained network's outputs move by less than this over real images (MobileNetV2: 0.0), a trained one's by tenths.
LEAST_SPREAD: Final = 0.02
STANDARD_ERRORS: Final = 3
BATCH: Final = 32
# Fewer of large images: EfficientNet-Lite0 in float32, 224 x 224, takes a third less time in batches of 4 than of 32, whose
# values no processor's cache holds.
BATCH_PIXELS: Final = 4 * 224 * 224


def keras_scores(
    predict: Callable[[Any], Any], pixels: "NDArray[np.uint8]", spec: ModelSpec, name: Callable[[int], str] = "image {}".format
) -> "NDArray[np.float32]":
    """Return what a function predicts for all images, [count, classes], one batch at a time; ``name`` names an image.

    Raises:
        EdgeError: a prediction is NaN or Inf.
    """
    import numpy as np

    size = batch_of(pixels)
    batches = (normalise(pixels[at : at + size], spec.preprocessing) for at in range(0, len(pixels), size))
    scores = np.concatenate([np.asarray(predict(batch), dtype=np.float32) for batch in batches])
    wrong = ~np.isfinite(scores).all(axis=1)
    if wrong.any():
        first = name(int(wrong.argmax()))
        raise EdgeError(
            "EF-model-not-finite",
            f"{spec.model}: predicts NaN or Inf for {int(wrong.sum())} of {len(scores)} golden images; "
            f"the first is {first}; check input.range (or mean and std) in the config, then the training.",
        )
    return scores


def batch_of(images: "NDArray[Any]") -> int:
    """Return how many of some images [count, height, width, channels] to compute at a time."""
    height, width = images.shape[1:3]
    return max(1, min(BATCH, int(BATCH_PIXELS // max(1, height * width))))


def output_kind(scores: "NDArray[np.float32]", spec: ModelSpec) -> str:
    """Return 'probabilities', 'logits' or 'multilabel', as the config says or as the scores show; 'multilabel' is only said.

    Raises:
        EdgeError: the scores are neither (from 0 to 1, but rows do not sum to 1), or not what the config says.
    """
    import numpy as np

    between = bool(((scores >= -SUM_TOLERANCE) & (scores <= 1 + SUM_TOLERANCE)).all())
    sums = scores.sum(axis=1)
    summed = between and bool(np.allclose(sums, 1, atol=SUM_TOLERANCE))
    if spec.output == MULTILABEL:
        return _multilabel(scores, spec, between=between)
    if summed and spec.output == "logits":
        raise EdgeError(
            "EF-model-output",
            f"{spec.path}: model.output is 'logits', but every output sums to 1: set 'probabilities' or 'auto'.",
        )
    if summed:
        return "probabilities"
    if spec.output == "logits":
        return "logits"
    if between or spec.output == "probabilities":
        raise EdgeError(
            "EF-model-output",
            f"{spec.model}: its outputs sum to {sums.min():.3g} to {sums.max():.3g} per image, so not to one label per image "
            "(one sigmoid per class?). Where several labels can hold of one image, set model.output = 'multilabel'; else end the "
            "model with a softmax, or set model.output = 'logits' if they are logits.",
        )
    return "logits"


def _multilabel(scores: "NDArray[np.float32]", spec: ModelSpec, *, between: bool) -> str:
    if between:
        return MULTILABEL
    raise EdgeError(
        "EF-model-output",
        f"{spec.path}: model.output is 'multilabel', but the outputs are from {scores.min():.3g} to {scores.max():.3g}; expected "
        "one sigmoid per label. Where they are logits, save keras.Sequential([model, keras.layers.Activation('sigmoid')]).",
    )


def one_label(classes: "NDArray[np.int64]", spec: ModelSpec) -> EdgeError | None:
    """Return the error where all golden images have the same label, or the same labels, or None."""
    if len(set(groups_of(classes).tolist())) > 1:
        return None
    first = classes[0]
    names = [label for label, held in zip(spec.labels, first, strict=True) if held] if first.ndim else [spec.labels[int(first)]]
    label = " and ".join(map(repr, names)) or "none"
    return EdgeError(
        "EF-golden-one-label", f"{spec.golden}: every golden image has the label {label}; expected some of each label."
    )


def check_discriminates(
    scores: "NDArray[np.float32]", labels: "NDArray[np.int64] | None", spec: ModelSpec, decision: Decision = ONE_LABEL
) -> None:
    """Refuse a reference that any artifact would agree with; without labels only how the scores differ can be seen.

    An untrained network predicts nearly the same for every image, so that a wrong artifact would pass next to it.

    Raises:
        EdgeError: says what was seen: the classes predicted, the spread, the accuracy.
    """
    spread = float(scores.std(axis=0).max())
    classes = len(set(decision.groups(scores).tolist()))
    if labels is not None and (error := one_label(labels, spec)):
        raise error
    is_one = not decision.is_multilabel
    wanted = 2 if labels is None or not is_one else max(2, (len(set(labels.tolist())) + 1) // 2)
    accuracy = None if labels is None else float(decision.right(scores, labels).mean())
    measured = "no labels" if accuracy is None else f"accuracy {accuracy:.1%}"
    what = "classes" if is_one else "sets of labels"
    seen = f"{len(scores)} golden images, {classes} {what} predicted, spread {spread:.3f}, {measured}"
    about = f"{spec.model}: cannot serve as the reference ({seen}): "
    if labels is not None and is_one and least_accuracy(scores) > 1:
        chance = 1 / scores.shape[1]
        fewest = math.ceil(9 * chance / (1 - chance))
        raise EdgeError(
            "EF-golden-too-few",
            f"{spec.golden}: holds {len(labels)} golden images; expected at least {fewest}, to tell a model from guessing.",
        )
    if spread < LEAST_SPREAD:
        raise EdgeError(
            "EF-model-untrained", f"{about}its outputs do not differ between images, so any artifact would agree. Is it trained?"
        )
    if classes < wanted:
        raise EdgeError(
            "EF-model-untrained", f"{about}expected at least {wanted} predicted {what}. Is it trained? Is input.range right?"
        )
    if labels is None or accuracy is None:
        return
    if accuracy < least_accuracy(scores) if is_one else not _knows_labels(scores, labels):
        guessing = f"guessing reaches {1 / scores.shape[1]:.1%}" if is_one else "its probabilities do not go with the labels"
        raise EdgeError(
            "EF-model-chance", f"{about}{guessing}. Is it trained? Check the label order, input.colour and input.range."
        )


def least_accuracy(scores: "NDArray[np.float32]") -> float:
    """Return three standard errors of guessing above chance, for scores [count, classes]."""
    chance = 1 / scores.shape[1]
    return float(chance + STANDARD_ERRORS * (chance * (1 - chance) / len(scores)) ** 0.5)


def _knows_labels(scores: "NDArray[np.float32]", labels: "NDArray[np.int64]") -> bool:
    """Say whether probabilities are higher where labels hold, by three standard errors of labels given to images by chance."""
    apart, held = scores - scores.mean(axis=0), labels - labels.mean(axis=0)
    error = (len(scores) * apart.var(axis=0) * held.var(axis=0)).sum() ** 0.5
    return bool((apart * held).sum() >= STANDARD_ERRORS * error)
