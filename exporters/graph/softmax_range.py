# SPDX-License-Identifier: Apache-2.0
"""The range in which integers hold what a softmax reads: without the values that a mask put there.

A mask puts -1e9, or the least float32, in the place of what is not to be seen; 8 bits that reach so far hold nothing else.
"""

import math
from collections.abc import Callable
from typing import Any, Final

# Further below the greatest than this is a mask: Keras's are -30000 and lower.
MASKED: Final = 1000.0
# Of a probability, of 1/256 each.
STEPS_OF_PROBABILITY: Final = 256


def unmasked(values: Any, greatest: Any, where: Callable[[Any, Any, Any], Any]) -> Any:
    """Return what a softmax reads, the masked values so far below the greatest that all together are less than half a step of it.

    ``greatest`` is that of the last axis, kept; ``where`` is numpy's or TensorFlow's.
    """
    depth = math.log(2 * STEPS_OF_PROBABILITY * int(values.shape[-1]))
    return where(values < greatest - MASKED, greatest - depth, values)
