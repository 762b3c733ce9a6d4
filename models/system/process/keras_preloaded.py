# SPDX-License-Identifier: Apache-2.0
"""Imports Keras and TensorFlow, silently, when it is imported itself: by the process that ``forking`` has forked afterwards."""

import os
import signal
from contextlib import suppress
from pathlib import Path

from edgeferry.models.system.process.imports import spare_scikit_learn

# Ctrl-C reaches the terminal's whole process group; this process ends with the one that started it.
os.setpgid(0, 0)
signal.signal(signal.SIGINT, signal.SIG_IGN)
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
spare_scikit_learn()
_kept = os.dup(2)
with Path(os.devnull).open("wb") as _nothing:
    os.dup2(_nothing.fileno(), 2)
# What is missing, or broken, the function says that needs it.
with suppress(Exception):
    import keras  # noqa: F401
    import tensorflow as tf  # noqa: F401
os.dup2(_kept, 2)
os.close(_kept)
