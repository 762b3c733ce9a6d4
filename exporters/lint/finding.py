# SPDX-License-Identifier: Apache-2.0
"""One thing that is wrong with a .tflite file for one runtime."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """What was found of an operation, by which rule, and what to do.

    An 'error' makes the file useless there; a 'warning' costs speed, or is right in one place and wrong in another; a 'may' is
    a forecast that the file alone cannot settle. ``layer`` is the Keras layer where the tensor's name tells it.
    """

    operation: str
    layer: str
    rule: str
    severity: Literal["error", "warning", "may"]
    found: str
    fix: str
