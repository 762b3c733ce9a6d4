# SPDX-License-Identifier: Apache-2.0
"""The codes of every error a user may read, found in the source itself: nothing is imported, nothing is listed by hand."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from typing import Final

from edgeferry.models.system.files import modules_below
from edgeferry.models.system.places import PACKAGE_FILE, ROOT

CODE: Final = re.compile(r"EF-[a-z0-9]+(-[a-z0-9]+)*")
PACKAGES: Final = ("models", "exporters", "targets", "benchmarks")
BASE: Final = "EdgeError"

Source = tuple[str, ast.Module]
# The file relative to the repository or package, the line, and the message with its placeholders, such as '{path}: is empty.'.
Site = tuple[str, int, str]


def codes() -> dict[str, list[Site]]:
    """Return every code in alphabetical order, with the places that use it.

    A code is a literal (or a constant of its module) that comes before its message: in ``EdgeError("EF-x", ...)``, in a call
    that hands both on, such as ``table.fail("EF-x", "labels", ...)``, or in a tuple ``("EF-x", "labels", ...)``.
    """
    found: dict[str, list[Site]] = {}
    for file, tree in sources():
        constants = _constants(tree)
        for node in ast.walk(tree):
            for at, part in enumerate(parts := _parts(node)):
                message = " ".join(template(each) for each in parts[at + 1 :])
                for code in literals(part, constants):
                    found.setdefault(code, []).append((file, part.lineno, message))
    return dict(sorted(found.items()))


def errors_without_code() -> list[Site]:
    """Return the places that make an error whose first argument is neither a literal code nor one that is handed on.

    Handed on are ``error.code`` of another error, and a parameter named ``code``.
    """
    kinds = error_classes()
    return [
        (file, call.lineno, ast.unparse(call))
        for file, tree in sources()
        for call, parameters in _calls(tree, frozenset())
        if _name(call.func) in kinds and not _has_code(call, parameters, _constants(tree))
    ]


@cache
def sources() -> tuple[Source, ...]:
    """Return every module of edgeferry, parsed, under its name relative to the repository or package."""
    folders = [*(ROOT / name for name in PACKAGES), PACKAGE_FILE.parent / "commands"]
    paths = [path for folder in folders for path in modules_below(folder)]
    return tuple((path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))) for path in paths)


def error_classes() -> set[str]:
    """Return the names of EdgeError and of everything derived from it."""
    classes = [node for _, tree in sources() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    kinds, before = {BASE}, set[str]()
    while kinds != before:
        before = set(kinds)
        kinds |= {each.name for each in classes if kinds & set(map(_name, each.bases))}
    return kinds


def literals(node: ast.expr, constants: dict[str, str]) -> list[str]:
    """Return the codes an expression may be: none, one, or those of both branches of a conditional expression."""
    if isinstance(node, ast.IfExp):
        return [*literals(node.body, constants), *literals(node.orelse, constants)]
    value = constants.get(node.id) if isinstance(node, ast.Name) else node.value if isinstance(node, ast.Constant) else None
    return [value] if isinstance(value, str) and CODE.fullmatch(value) else []


def template(node: ast.expr) -> str:
    """Return a message as text, each value of an f-string as the expression in braces."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(map(template, node.values))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return template(node.left) + template(node.right)
    return "{" + ast.unparse(node.value if isinstance(node, ast.FormattedValue) else node) + "}"


def _parts(node: ast.AST) -> list[ast.expr]:
    if isinstance(node, ast.Call):
        return [*node.args, *(keyword.value for keyword in node.keywords)]
    return node.elts if isinstance(node, ast.Tuple) else []


def _constants(tree: ast.Module) -> dict[str, str]:
    return {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Constant)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name) and isinstance(node.value.value, str)
    }


def _calls(node: ast.AST, parameters: frozenset[str]) -> Iterator[tuple[ast.Call, frozenset[str]]]:
    """Yield every call below a node, with the parameters of the functions around it."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        given = node.args
        parameters |= {each.arg for each in (*given.posonlyargs, *given.args, *given.kwonlyargs)}
    if isinstance(node, ast.Call):
        yield node, parameters
    for child in ast.iter_child_nodes(node):
        yield from _calls(child, parameters)


def _has_code(call: ast.Call, parameters: frozenset[str], constants: dict[str, str]) -> bool:
    if len(call.args) + len(call.keywords) < 2:
        return False
    first = call.args[0] if call.args else call.keywords[0].value
    if isinstance(first, ast.Name) and first.id == "code" and "code" in parameters:
        return True
    return (isinstance(first, ast.Attribute) and first.attr == "code") or bool(literals(first, constants))


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
