# SPDX-License-Identifier: Apache-2.0
"""The range in which integers hold what a softmax reads: without the values that a mask put there.

A mask puts -1e9, or the least float32, in the place of what is not to be seen; 8 bits that reach so far hold nothing else.
"""

import math
from typing import Final

# Further below the greatest than this is a mask: Keras's are -30000 and lower.
MASKED: Final = 1000.0
# Of a probability, of 1/256 each.
STEPS_OF_PROBABILITY: Final = 256


def depth(count: int) -> float:
    """Return how far below the greatest of ``count`` values others must be for all of them to come to less than half a step."""
    return math.log(2 * STEPS_OF_PROBABILITY * count)
