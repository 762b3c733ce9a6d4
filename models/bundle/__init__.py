# SPDX-License-Identifier: Apache-2.0
"""A bundle: everything that a check of one build needs, in one file with the same bytes each time."""
