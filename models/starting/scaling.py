# SPDX-License-Identifier: Apache-2.0
"""Which values of pixels a model takes, as far as the model itself says: by what it does to its input before anything else."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from edgeferry.models.config.spec import normalisation_of_range
from edgeferry.models.diagnosis.readings import CAFFE, IMAGENET, RANGES
from edgeferry.models.loading.channel import ONE_BY_ONE, first_steps
from edgeferry.models.starting.backbones import backbone_of

if TYPE_CHECKING:
    import keras
    import numpy as np
    from numpy.typing import NDArray

# What may stand before and between layers that scale: it moves pixels or channels, but keeps their values.
KEEPS_VALUES: Final = ("CenterCrop", "GetItem", "Identity", "Resizing", "Stack")
# A network's first layer takes values about 0 with a spread of 1 to some units; or, as Caffe's, pixels less their mean.
LEAST_SPAN: Final = 0.9
MOST_SPAN: Final = 10.0
MOST_AWAY: Final = 6.0
CAFFE_SPAN: Final = 255.0
CAFFE_BLACK: Final = (-130.0, -90.0)
SIDE: Final = 32


@dataclass(frozen=True)
class Scaling:
    """What becomes of pixels before the model, in the order of ``colour``, and why; ``is_known`` where the model says so."""

    colour: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    why: str
    is_known: bool = True


def scaling_of(model: "keras.Model") -> Scaling:
    """Return the scaling that a model's own layers or its backbone speak for; the one of pixels as they are where none does."""
    channels = int(model.inputs[0].shape[3])
    colour = "gray" if channels == 1 else "rgb"
    if str(model.inputs[0].dtype) == "uint8":
        return Scaling(colour, *normalisation_of_range(0, 255, channels), "the model takes whole numbers (uint8)")
    for low, high in RANGES:
        if layers := _scales(model, low, high):
            why = f"the model scales its input itself ({', '.join(layers)})"
            return Scaling(colour, *normalisation_of_range(low, high, channels), why)
    if channels == 3 and (family := backbone_of(model)) is not None:
        said = f"the model is a {family.module} of keras.applications, with its preprocess_input before it"
        if family.mode == "tf":
            return Scaling("rgb", *normalisation_of_range(-1, 1, 3), said)
        return Scaling("bgr", *CAFFE, said) if family.mode == "caffe" else Scaling("rgb", *IMAGENET, said)
    return Scaling(colour, *normalisation_of_range(0, 255, channels), "nothing in the model speaks for another", is_known=False)


def _scales(model: "keras.Model", low: float, high: float) -> tuple[str, ...]:
    """Return the layers that make values as networks take them of a range; none where they do not, or there are none."""
    import keras
    import numpy as np

    shape = [size or SIDE for size in model.inputs[0].shape[1:]]
    value: Any = np.stack([np.full(shape, low, np.float32), np.full(shape, high, np.float32)])
    names: list[str] = []
    for start, steps in first_steps(model):
        kept = []
        for operation, tensor in steps:
            name = type(operation).__name__
            if name not in {*ONE_BY_ONE, *KEEPS_VALUES} and not name.startswith("Random"):
                break
            kept.append((name, tensor))
        if kept:
            value = keras.Model(start, kept[-1][1])(value, training=False)
            names += [name for name, _ in kept if name in ONE_BY_ONE and name not in {"Cast", "Dropout", "GaussianNoise"}]
        if len(kept) < len(steps):
            break
    return tuple(dict.fromkeys(names)) if names and _is_scaled(np.asarray(value, np.float32)) else ()


def _is_scaled(values: "NDArray[np.float32]") -> bool:
    """Say whether black and white, [2, height, width, channels], are as a network's first layer takes them."""
    black, white = values[0].mean(axis=(0, 1)), values[1].mean(axis=(0, 1))
    span = abs(white - black)
    if bool(((span >= LEAST_SPAN) & (span <= MOST_SPAN) & (abs(black) <= MOST_AWAY) & (abs(white) <= MOST_AWAY)).all()):
        return True
    least, most = CAFFE_BLACK
    return bool(((abs(span - CAFFE_SPAN) < 1) & (black >= least) & (black <= most)).all())
