# SPDX-License-Identifier: Apache-2.0
"""The classifier as one constant graph, and the rewrites made in it before a converter sees it."""
