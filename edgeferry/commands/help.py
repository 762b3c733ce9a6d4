# SPDX-License-Identifier: Apache-2.0
"""How help looks: no value type where an option takes no value, and paragraphs that fill the width."""

import os
import sys
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from edgeferry.models.system.terminal import Exit


def reflowed(text: str | None) -> str | None:
    """Return a help text with one line per paragraph; Typer keeps the line breaks of all paragraphs except the first."""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n")) if text else text


def _without_types_of_flags(params: list[Any]) -> list[Any]:
    for param in params:
        if isinstance(param, TyperOption) and param.is_flag:
            param.metavar = ""
    return params


class HelpCommand(TyperCommand):
    """A command whose help lists flags without ``<bool>``, and whose usage names required arguments without braces."""

    def __init__(self, *args: Any, **options: Any) -> None:
        """Take what Typer passes on."""
        super().__init__(*args, **options)
        self.help = reflowed(self.help)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the parts of the usage line after the command's name."""
        return [piece.replace("{", "").replace("}", "") for piece in super().collect_usage_pieces(ctx)]

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters as help lists them."""
        return _without_types_of_flags(super().get_params(ctx))


class HelpGroup(TyperGroup):
    """The group of all commands: the same for the options they share, and a closed pipe is no failed check."""

    def __init__(self, *args: Any, **options: Any) -> None:
        """Take what Typer passes on."""
        super().__init__(*args, **options)
        self.help = reflowed(self.help)

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters as help lists them."""
        return _without_types_of_flags(super().get_params(ctx))

    def invoke(self, ctx: Any) -> Any:
        """Run a command; where the reader of its output went away, end as an interrupted one. Typer itself would end with 1."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # Python flushes stdout at exit, and must not report the closed pipe a second time.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(Exit.INTERRUPTED) from None
