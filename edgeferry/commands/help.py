# SPDX-License-Identifier: Apache-2.0
"""Help that shows a value's type where an option takes a value, and nothing where it takes none."""

from typing import Any

from typer.core import TyperCommand, TyperGroup, TyperOption


def _without_types_of_flags(params: list[Any]) -> list[Any]:
    for param in params:
        if isinstance(param, TyperOption) and param.is_flag:
            param.metavar = ""
    return params


class HelpCommand(TyperCommand):
    """A command whose flags stand without ``<bool>``."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters as help lists them."""
        return _without_types_of_flags(super().get_params(ctx))


class HelpGroup(TyperGroup):
    """The same for the options that all commands share."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters as help lists them."""
        return _without_types_of_flags(super().get_params(ctx))
