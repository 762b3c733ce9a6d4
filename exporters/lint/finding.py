# SPDX-License-Identifier: Apache-2.0
"""One problem of a .tflite file for one runtime."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class LintFinding:
    """What was found about an operation, by which rule, and what to do.

    An 'error' makes the file useless there; a 'warning' costs speed, or is right in one place and wrong in another; 'possible'
    is a forecast that the file alone cannot decide. ``layer`` is the Keras layer where the tensor's name contains it.
    """

    operation: str
    layer: str
    rule: str
    severity: Literal["error", "warning", "possible"]
    found: str
    fix: str
