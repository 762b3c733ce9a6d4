# SPDX-License-Identifier: Apache-2.0
"""What to ship, said first in the terminal and on the page."""
