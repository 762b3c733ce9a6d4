# SPDX-License-Identifier: Apache-2.0
"""Where edgeferry's own files are: the same modules in a checkout, in an installed wheel and in a container."""

from pathlib import Path
from typing import Final

import edgeferry
import edgeferry.models

# What holds models/, exporters/, targets/ and benchmarks/: a checkout's root, or the installed package.
ROOT: Final = Path(edgeferry.models.__file__).parent.parent
PACKAGE_FILE: Final = Path(edgeferry.__file__)
