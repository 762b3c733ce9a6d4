# SPDX-License-Identifier: Apache-2.0
"""Keras without scikit-learn: Keras imports it, where it is installed, for wrappers that nothing here uses.

That is a fifth of the CPU time that a process takes to import TensorFlow and Keras (Keras 3.15, ``python -X importtime``).
"""

import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Final

UNUSED: Final = "sklearn"
# Keras's module that imports it, and goes on without.
ASKING: Final = "keras.src.wrappers.sklearn_wrapper"


class _Finder:
    """Finds nothing, and says so of scikit-learn while Keras asks for it."""

    @staticmethod
    def find_spec(name: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None) -> None:
        asking = getattr(sys.modules.get(ASKING), "__spec__", None)
        if name == UNUSED and getattr(asking, "_initializing", False):
            raise ModuleNotFoundError(f"{UNUSED} is not needed by {ASKING}", name=UNUSED)


def spare_scikit_learn() -> None:
    """Have Keras, imported from now on by this process, not import scikit-learn; any other import of it is as before."""
    sys.meta_path.insert(0, _Finder)
