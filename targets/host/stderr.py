# SPDX-License-Identifier: Apache-2.0
"""What native code writes to this process's stderr: some runtimes report a fact nowhere else."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def captured_stderr() -> Iterator[list[str]]:
    """Yield a list that holds, at the end, what native code wrote to this process's stderr; it is still written there too."""
    captured: list[str] = []
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield captured
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            captured.append(file.read().decode("utf-8", "replace"))
            sys.stderr.write(captured[0])
