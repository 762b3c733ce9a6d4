# SPDX-License-Identifier: Apache-2.0
"""A loaded model in the form that everything else expects, and what was changed to bring it there."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeferry.models.decision import MULTILABEL

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Change:
    """One thing that was changed on loading: a stable code, and a sentence about the model without its subject."""

    code: str
    sentence: str


@dataclass(frozen=True, eq=False)
class Loaded:
    """A Keras model for inference: one tensor in, one out; ``changes`` says in what it differs from the file.

    ``single_logit`` is set where the file's model outputs one number without a sigmoid: only a config can say that it is a logit.
    ``sigmoids`` is set where its last layer is one sigmoid for each of several labels.
    """

    model: "keras.Model"
    changes: tuple[Change, ...] = ()
    single_logit: bool = False
    sigmoids: bool = False

    @property
    def output(self) -> str:
        """Return ``model.output`` of a config as far as the model shows it."""
        return "logits" if self.single_logit else MULTILABEL if self.sigmoids else "auto"
