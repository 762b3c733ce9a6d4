# SPDX-License-Identifier: Apache-2.0
"""Does the config fit its model? Other readings of it are tried on labelled images, and the best is named."""
