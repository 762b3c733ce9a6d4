# SPDX-License-Identifier: Apache-2.0
"""The codes of every error a user may read, found in the source itself: nothing is imported, nothing is listed by hand."""

import ast
import re
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
    that hands both on, such as ``table.fail("EF-x", "labels", ...)``, in a tuple ``("EF-x", "labels", ...)``, or in a
    table ``{"crashed": "EF-x"}``.
    """
    found: dict[str, list[Site]] = {}
    for file, tree in sources():
        constants = _constants(tree)
        for parts in (parts for node in ast.walk(tree) for parts in _groups(node)):
            for at, part in enumerate(parts):
                message = " ".join(template(each) for each in parts[at + 1 :])
                for code in literals(part, constants):
                    found.setdefault(code, []).append((file, part.lineno, message))
    return dict(sorted(found.items()))


def errors_without_code() -> list[Site]:
    """Return the places that make an error whose first argument is neither a literal code nor one that is handed on.

    Handed on are ``error.code`` of another error, what is named ``code``, and a value of a constant table.
    """
    kinds = error_classes()
    return [
        (file, call.lineno, ast.unparse(call))
        for file, tree in sources()
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and _name(call.func) in kinds and not _has_code(call, _constants(tree))
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


def _groups(node: ast.AST) -> list[list[ast.expr]]:
    """Return what stands together below a node: the arguments of a call, a tuple, or each value of a table with its key."""
    if isinstance(node, ast.Call):
        return [[*node.args, *(keyword.value for keyword in node.keywords)]]
    if isinstance(node, ast.Dict):
        return [[value, key] for key, value in zip(node.keys, node.values, strict=True) if key is not None]
    return [node.elts] if isinstance(node, ast.Tuple) else []


def _constants(tree: ast.Module) -> dict[str, str]:
    return {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Constant)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name) and isinstance(node.value.value, str)
    }


def _has_code(call: ast.Call, constants: dict[str, str]) -> bool:
    if len(call.args) + len(call.keywords) < 2:
        return False
    first = call.args[0] if call.args else call.keywords[0].value
    # A parameter, or from a table of this module, whose codes are found there.
    if isinstance(first, ast.Name) and first.id == "code":
        return True
    if isinstance(first, ast.Subscript) and _name(first.value).isupper():
        return True
    return (isinstance(first, ast.Attribute) and first.attr == "code") or bool(literals(first, constants))


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
