# SPDX-License-Identifier: Apache-2.0
"""The time of each operation of an artifact, by the runtime's own profiler: a list, not one number, so not a ``Cost``."""

from edgeferry.targets.target import Job, OperationTime, targets


def operations_of(target: str, job: Job) -> list[OperationTime]:
    """Return each operation's time, in the order in which they run; nothing where the target's runtime has no profiler.

    Raises:
        EdgeError: the runtime's profiler does not take this file.
    """
    profile = targets()[target].profile
    return [] if profile is None else list(profile(job))
