# SPDX-License-Identifier: Apache-2.0
"""The smallest change of a config with which an artifact passes: found on one half of the golden images, proven on the other."""
