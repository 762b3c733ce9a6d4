# SPDX-License-Identifier: Apache-2.0
"""The order of tests in which several workers wait for each other least.

pytest-xdist's ``worksteal`` gives each worker one part of the list; one that is done takes tests from the end of another's part.
So each part begins with the tests of one group, which share a fixture that takes a minute to make, and ends with fast tests.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

Test = TypeVar("Test")


def dealt(modules: Sequence[Sequence[Test]], workers: int, group_of: Callable[[Sequence[Test]], int | None]) -> list[Test]:
    """Return the tests of all modules in an order for so many workers, to whom groups go in turn.

    ``group_of`` returns the number of a module's group, None where the module is fast.
    """
    groups = [(group_of(module), module) for module in modules]
    parts: list[list[Test]] = [[] for _ in range(workers)]
    for group in sorted({group for group, _ in groups if group is not None}):
        parts[group % workers] += [test for of, module in groups if of == group for test in module]
    fast = [test for group, module in groups if group is None for test in module]
    size = -(-sum(map(len, [fast, *parts])) // workers)
    ordered: list[Test] = []
    for part in parts:
        room = max(0, size - len(part))
        ordered += [*part, *fast[:room]]
        fast = fast[room:]
    return [*ordered, *fast]
