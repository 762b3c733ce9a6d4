# SPDX-License-Identifier: Apache-2.0
"""Untrusted text as a terminal, a page or a table may show it."""


def plain(text: str) -> str:
    """Return text as one line that a terminal does not act on.

    White space becomes single spaces, indentation stays; characters that cannot be printed become U+FFFD.
    """
    indentation = text[: len(text) - len(text.lstrip(" "))]
    line = indentation + " ".join(text.split())
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in line)
