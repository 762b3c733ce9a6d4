# SPDX-License-Identifier: Apache-2.0
"""The description of the preprocessing, which is Python, written in another language: the functions that a config needs."""

import ast
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from edgeferry.exporters.shipping.language import BYTES, FLOAT, FLOATS, INT, INTS, Language

PLACE: Final = Path(__file__).parent / "arithmetic"
SOURCES: Final = ("reading", "pillow", "tensorflow")
INDENT: Final = "    "
OPERATORS: Final = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "/"}
COMPARISONS: Final = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}
ELEMENTS: Final = {BYTES: INT, INTS: INT, FLOATS: FLOAT}


@dataclass(frozen=True)
class Description:
    """All functions and constants of the description by name."""

    functions: Mapping[str, ast.FunctionDef]
    constants: Mapping[str, float]

    def needed(self, *names: str) -> list[str]:
        """Return the functions that some functions need, each before those that call it."""
        found: list[str] = []
        for name in names:
            inner = [each.id for each in ast.walk(self.functions[name]) if isinstance(each, ast.Name)]
            for each in (*self.needed(*(one for one in inner if one in self.functions and one != name)), name):
                if each not in found:
                    found.append(each)
        return found


@cache
def description() -> Description:
    """Return the description, read from its source."""
    functions: dict[str, ast.FunctionDef] = {}
    constants: dict[str, float] = {"PI": math.pi}
    for source in SOURCES:
        for node in ast.parse((PLACE / f"{source}.py").read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef):
                functions[node.name] = node
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
                constants[node.target.id] = ast.literal_eval(node.value)
    return Description(functions, constants)


def translated(language: Language, *names: str) -> str:
    """Return functions of the description, and all that they need, in a language."""
    return "\n\n".join(_Function(language, description().functions[name]).text() for name in description().needed(*names))


class _Function:
    """One function on its way into a language: the types of its variables, and which of them are set again."""

    def __init__(self, language: Language, node: ast.FunctionDef) -> None:
        self._language, self._node = language, node
        self._types = {each.arg: _type(each.annotation) for each in node.args.args}
        self._changed = {_target(each) for each in ast.walk(node) if isinstance(each, ast.Assign | ast.AugAssign)}

    def text(self) -> str:
        words = self._language
        parameters = words.argument_separator.join(
            words.parameter.format(name=_camel(name), type=words.types[kind]) for name, kind in self._types.items()
        )
        result = words.types[_type(self._node.returns)]
        head = words.function.format(name=_camel(self._node.name), parameters=parameters, result=result)
        said = ast.get_docstring(self._node)
        return "\n".join([f"// {said}", head, *self._block(self._node.body[1:]), "}"])

    def _block(self, body: list[ast.stmt]) -> list[str]:
        return [INDENT + line for statement in body for line in self._statement(statement)]

    def _statement(self, node: ast.stmt) -> Iterator[str]:
        words = self._language
        match node:
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                self._types[name] = _type(node.annotation)
                form = words.variable if name in self._changed else words.fixed
                yield form.format(name=_camel(name), type=words.types[self._types[name]], value=self._value(value))
            case ast.Assign(targets=[target], value=value):
                yield f"{self._place(target)} = {self._stored(target, value)}{words.end}"
            case ast.AugAssign(target=target, value=value):
                yield f"{self._place(target)} += {self._value(value)}{words.end}"
            case ast.Return(value=ast.expr() as value):
                yield f"return {self._value(value)}{words.end}"
            case ast.For(target=ast.Name(id=name), iter=ast.Call(args=[*start, stop])):
                self._types[name] = INT
                begin = self._value(start[0]) if start else "0"
                yield words.loop.format(name=_camel(name), start=begin, stop=self._value(stop))
                yield from self._block(node.body)
                yield "}"
            case ast.If():
                yield from self._branches(node)
            case _:
                raise TypeError(f"line {node.lineno}: no part of the description's language: {ast.unparse(node)}")

    def _branches(self, node: ast.If) -> Iterator[str]:
        yield f"if {self._language.condition.format(self._value(node.test))} {{"
        yield from self._block(node.body)
        match node.orelse:
            case []:
                yield "}"
            case [ast.If() as inner]:
                first, *rest = self._branches(inner)
                yield from ("} else " + first, *rest)
            case _:
                yield from ("} else {", *self._block(node.orelse), "}")

    def _place(self, node: ast.expr) -> str:
        match node:
            case ast.Name(id=name):
                return _camel(name)
            case ast.Subscript(value=ast.Name(id=name), slice=at):
                return f"{_camel(name)}[{self._value(at)}]"
        raise TypeError(ast.unparse(node))

    def _stored(self, target: ast.expr, value: ast.expr) -> str:
        text = self._value(value)
        is_byte = isinstance(target, ast.Subscript) and self._types[_target_name(target)] == BYTES
        return self._language.written.format(text) if is_byte else text

    def _value(self, node: ast.expr) -> str:
        words = self._language
        match node:
            case ast.Constant(value=value):
                return repr(value)
            case ast.Name(id=name):
                return name if name.isupper() else _camel(name)
            case ast.IfExp(test=test, body=body, orelse=other):
                return words.chosen.format(self._value(test), self._value(body), self._value(other))
            case ast.Subscript(value=ast.Name(id=name)):
                text = self._place(node)
                return words.read.format(text) if self._types[name] == BYTES else text
            case ast.Call(func=ast.Name(id=name), args=arguments):
                values = [self._value(each) for each in arguments]
                return words.calls[name].format(*values) if name in words.calls else f"{_camel(name)}({', '.join(values)})"
        return self._operation(node)

    def _operation(self, node: ast.expr) -> str:  # noqa: PLR0911 - a kind of operation each
        words = self._language
        match node:
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return f"(-{self._value(operand)})"
            case ast.BinOp(left=left, op=ast.LShift(), right=right):
                return words.shift_left.format(self._value(left), self._value(right))
            case ast.BinOp(left=left, op=ast.RShift(), right=right):
                return words.shift_right.format(self._value(left), self._value(right))
            case ast.BinOp(left=left, op=op, right=right):
                return f"({self._value(left)} {OPERATORS[type(op)]} {self._value(right)})"
            case ast.BoolOp(op=op, values=values):
                return "(" + (" && " if isinstance(op, ast.And) else " || ").join(self._value(each) for each in values) + ")"
            case ast.Compare(left=left, ops=[ast.In()], comparators=[ast.Set(elts=elements)]):
                return "(" + " || ".join(f"{self._value(left)} == {self._value(each)}" for each in elements) + ")"
            case ast.Compare(left=left, ops=ops, comparators=others):
                texts = [self._value(each) for each in (left, *others)]
                pairs = zip(texts, ops, texts[1:], strict=False)
                return "(" + " && ".join(f"{one} {COMPARISONS[type(op)]} {other}" for one, op, other in pairs) + ")"
        raise TypeError(f"line {node.lineno}: no part of the description's language: {ast.unparse(node)}")


def constants(language: Language, text: str) -> str:
    """Return the declarations of the constants that occur in a text."""
    used = {name: value for name, value in description().constants.items() if re.search(rf"\b{name}\b", text)}
    kinds = {name: FLOAT if isinstance(value, float) else INT for name, value in used.items()}
    return "\n".join(
        language.constant.format(name=name, type=language.types[kinds[name]], value=value) for name, value in used.items()
    )


def _type(node: ast.expr | None) -> str:
    return node.id if isinstance(node, ast.Name) else str(node)


def _target(node: ast.AST) -> str:
    match node:
        case ast.Assign(targets=[target]) | ast.AugAssign(target=target):
            return _target_name(target)
    return ""


def _target_name(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name) | ast.Subscript(value=ast.Name(id=name)):
            return name
    return ""


def _camel(name: str) -> str:
    return re.sub(r"_([a-z])", lambda found: found[1].upper(), name)
