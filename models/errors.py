# SPDX-License-Identifier: Apache-2.0
"""The one error a user is meant to read."""


class EdgeError(Exception):
    """Something the user can fix: says what was found, what was expected and what to do."""
