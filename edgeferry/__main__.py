# SPDX-License-Identifier: Apache-2.0
"""``python -m edgeferry``: the same as the command ``edgeferry``."""

from edgeferry.commands.app import main

if __name__ == "__main__":
    main()
