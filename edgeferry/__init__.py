# SPDX-License-Identifier: Apache-2.0
"""One trained Keras image classifier to every edge format, and proof that each artifact still predicts like the model.

In a checkout the four packages are next to this folder, in a wheel inside it; either way their names are ``edgeferry.models``,
``edgeferry.exporters``, ``edgeferry.targets`` and ``edgeferry.benchmarks``.
"""

from pathlib import Path
from typing import Final

_PARENT: Final = Path(__file__).parent.parent

if (_PARENT / "pyproject.toml").is_file() and (_PARENT / "models" / "__init__.py").is_file():
    __path__.append(str(_PARENT))
