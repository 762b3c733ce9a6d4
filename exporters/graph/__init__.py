# SPDX-License-Identifier: Apache-2.0
"""The classifier as one constant graph, and what is rewritten in it before a converter sees it."""
