# SPDX-License-Identifier: Apache-2.0
"""``python -m targets``: the places where artifacts run."""

import typer
from rich.console import Console
from rich.table import Table

from targets.target import targets

app = typer.Typer(no_args_is_help=True, add_completion=False, help="The places where artifacts run.")


@app.callback()
def main() -> None:
    """Keep ``list`` a command of its own while it is the only one."""


@app.command("list")
def list_targets() -> None:
    """Show every target, what it reads, and whether it can run here or why not."""
    table = Table("target", "what it is", "reads", "here")
    for target in targets().values():
        table.add_row(target.name, target.summary, ", ".join(sorted(target.reads)), target.missing() or "yes")
    Console().print(table)


if __name__ == "__main__":
    app(prog_name="python -m targets")
