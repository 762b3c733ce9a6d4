# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: INP001 - a script next to the pages it fills, not a module of the package
"""Fill the generated tables of README.md and of the pages in this folder: ``PYTHONPATH=. python docs/generate.py``.

A table stands between ``<!-- generated: formats -->`` and ``<!-- end -->``; the word after the colon is a key of TABLES, and what
follows it is handed to that function. ``--check`` writes nothing and ends with status 1 where a table is out of date.
"""

import dataclasses
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

DOCS: Final = Path(__file__).parent
ROOT: Final = DOCS.parent
BLOCK: Final = re.compile(r"(<!-- generated: (?P<name>[a-z-]+)(?P<argument>[^>]*) -->\n).*?(?=<!-- end -->)", re.DOTALL)
PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
NAME: Final = re.compile(r"(?:[A-Za-z_]\w*\.)*([A-Za-z_]\w*)")


def pages() -> list[Path]:
    """Return every Markdown file that may hold generated tables."""
    return [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def filled(text: str) -> str:
    """Return the text of a page with every generated table up to date.

    Raises:
        KeyError: a block names a table that is not in TABLES.
    """
    return BLOCK.sub(lambda found: found[1] + "\n".join(TABLES[found["name"]](found["argument"].strip())) + "\n", text)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    names = list(head)
    yield from ("", f"| {' | '.join(names)} |", f"|{' --- |' * len(names)}")
    yield from (f"| {' | '.join(' '.join(cell.split()).replace('|', '&#124;') for cell in row)} |" for row in rows)
    yield ""


def _code(name: str) -> str:
    return f"`{name}`"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _formats(_: str) -> Iterator[str]:
    from edgeferry.exporters.format import formats

    return _table(("format", "what it is"), ((_code(each.name), _sentence(each.summary)) for each in formats().values()))


def _format_needs(_: str) -> Iterator[str]:
    from edgeferry.exporters.format import formats

    def needs(each: Any) -> str:
        parts = [
            "" if each.by_default else f"opt-in: `--format {each.name}`",
            "calibration images" if each.calibrated else "",
            f"made from `{each.after}`" if each.after else "",
        ]
        return "; ".join(filter(None, parts)) or "written by default"

    head = ("format", "kind", "written when", "follows from the versions of")
    rows = ((_code(each.name), each.kind, needs(each), ", ".join(each.tools)) for each in formats().values())
    return _table(head, rows)


def _tolerances(_: str) -> Iterator[str]:
    from edgeferry.exporters.format import formats

    head = (
        "format",
        "agreement, at least",
        "p99 difference, at most",
        "mean difference, at most",
        "seen / expected, at most",
        "why",
    )
    for_each = ((each.name, each.tolerance) for each in formats().values())
    rows = (
        (
            _code(name),
            f"{100 * of.top1_agreement:g} %",
            f"{of.p99_difference:g}",
            f"{of.mean_difference:g}",
            f"{of.times_explained:g}",
            of.reason,
        )
        for name, of in for_each
    )
    return _table(head, rows)


def _targets(prefixes: str) -> Iterator[str]:
    """Yield the table of all targets, or of those whose names begin with one of the words given."""
    from edgeferry.targets.target import targets

    wanted = tuple(prefixes.split()) or ("",)
    rows = (
        (
            _code(each.name),
            _sentence(each.summary),
            "every kind" if each.reads is None else ", ".join(sorted(each.reads)),
            "yes" if each.by_default else "opt-in",
        )
        for each in targets().values()
        if each.name.startswith(wanted)
    )
    return _table(("target", "where it runs", "reads", "by default"), rows)


def _options(_: str) -> Iterator[str]:
    """Yield a table of options for every format that has some of its own; what a whole kind shares is one table."""
    from edgeferry.exporters.format import formats

    known = formats().values()
    of_table: dict[str, type] = {}
    for each in known:
        is_shared = all(other.options is each.options for other in known if other.kind == each.kind)
        if dataclasses.fields(each.options):
            of_table[each.kind if is_shared else each.name] = each.options
    for name, kind in of_table.items():
        yield from ("", f"### `[export.{name}]`")
        yield from _table(("key", "default", "meaning"), _option_rows(kind))


def _option_rows(kind: type) -> Iterator[tuple[str, str, str]]:
    for each in dataclasses.fields(kind):
        if "refused" not in each.metadata:
            choices = each.metadata.get("choices", ())
            listed = f" One of {', '.join(map(_toml, choices))}." if choices else ""
            yield _code(each.name), _toml(each.default), f"{_sentence(each.metadata['help'])}.{listed}"


def _toml(value: Any) -> str:
    """Return a default as a TOML file would say it."""
    if value is None or value == ():
        return "none"
    if isinstance(value, bool):
        return _code(str(value).lower())
    return _code(f'"{value}"' if isinstance(value, str) else str(value))


def _errors(_: str) -> Iterator[str]:
    from edgeferry.models.system.error_codes import codes

    def messages(sites: Iterable[tuple[str, int, str]]) -> str:
        return "<br>".join(dict.fromkeys(_plain_template(message) for _, _, message in sites if message.strip()))

    rows = ((f'<a id="{code.lower()}"></a>`{code}`', messages(sites)) for code, sites in codes().items())
    return _table(("code", "message"), rows)


def _plain_template(message: str) -> str:
    """Return a message with its placeholders as plain names, such as ``{file}`` for ``{self.file}``."""

    def plain(found: re.Match[str]) -> str:
        name = NAME.fullmatch(found[1])
        return f"{{{name[1].strip('_') if name else '...'}}}"

    while (shorter := PLACEHOLDER.sub(lambda found: plain(found).replace("{", "\0").replace("}", "\1"), message)) != message:
        message = shorter
    parts = message.replace("\0", "{").replace("\1", "}").split("`")
    # Markup (braces too, which would be attributes) is escaped where it is no code: every second part is between backticks.
    parts[::2] = [re.sub(r"[<>*_\[\]{}]", lambda found: f"&#{ord(found[0])};", part) for part in parts[::2]]
    return "`".join(parts)


def _commands(_: str) -> Iterator[str]:
    """Yield a section for every sub-command: its help, its arguments and its options."""
    import typer

    from edgeferry.commands.app import app

    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined] - the app is a group
        yield from ("", f"## `edgeferry {name}`", "", *_paragraphs(command.help or ""))
        yield from _table(("argument or option", "default", "meaning"), map(_parameter, command.params))


def _paragraphs(text: str) -> list[str]:
    return [line.strip().replace("<", "&lt;") for line in text.strip().splitlines()]


def _parameter(parameter: Any) -> tuple[str, str, str]:
    flags = [*parameter.opts, *parameter.secondary_opts]
    if parameter.param_type_name == "argument":
        flags = [parameter.metavar or str(parameter.name).upper()]
    default = parameter.default
    shown = "" if default in {None, False} or callable(default) or default == () else _code(str(default))
    help_text = str(parameter.help or "").replace("<", "&lt;")
    return ", ".join(map(_code, flags)), "required" if parameter.required else shown, help_text


def _metrics(_: str) -> Iterator[str]:
    from edgeferry.benchmarks.parity.judging.metric import metrics

    head = ("metric", "in JSON", "meaning", "checked against")
    rows = ((each.title, _code(each.name), each.meaning, each.tolerance or "nothing") for each in metrics().values())
    return _table(head, rows)


def _costs(_: str) -> Iterator[str]:
    from edgeferry.benchmarks.latency.costs.cost import known_costs

    rows = ((each.title, _code(each.name), each.unit, _sentence(each.meaning)) for each in known_costs().values())
    return _table(("cost", "in JSON", "unit", "meaning"), rows)


def _evaluator_operations(_: str) -> Iterator[str]:
    from edgeferry.targets.mil.constants import CONSTANT_EXPRESSIONS
    from edgeferry.targets.mil.operations import FAMILIES

    families = {each.__name__.rpartition(".")[2]: sorted(each.OPERATIONS) for each in FAMILIES}
    families |= {"constants": ["const", *sorted(CONSTANT_EXPRESSIONS)], "labels": ["classify"]}
    return _table(("family", "operations"), ((name, " ".join(map(_code, found))) for name, found in families.items()))


TABLES: Final[Mapping[str, Callable[[str], Iterator[str]]]] = {
    "formats": _formats,
    "format-needs": _format_needs,
    "tolerances": _tolerances,
    "targets": _targets,
    "options": _options,
    "metrics": _metrics,
    "costs": _costs,
    "errors": _errors,
    "commands": _commands,
    "evaluator-operations": _evaluator_operations,
}


def main(arguments: list[str]) -> int:
    """Write every page that is out of date, or with ``--check`` only name them."""
    check = "--check" in arguments
    stale = [path for path in pages() if filled(text := path.read_text(encoding="utf-8")) != text]
    for path in stale:
        if not check:
            path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")
        sys.stdout.write(f"{path.relative_to(ROOT)}: {'is out of date' if check else 'written'}\n")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
