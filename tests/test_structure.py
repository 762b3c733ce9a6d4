# SPDX-License-Identifier: Apache-2.0
import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from edgeferry.models.system.places import ROOT

# Imports run models <- {exporters, targets} <- benchmarks <- the commands and the tests.
MAY_IMPORT: Final = {
    "models": {"models"},
    "exporters": {"models", "exporters"},
    "targets": {"models", "targets"},
    "benchmarks": {"models", "exporters", "targets", "benchmarks"},
    "edgeferry": {"models", "exporters", "targets", "benchmarks", "commands"},
    "tests": {"models", "exporters", "targets", "benchmarks", "commands"},
}
FRAMEWORKS: Final = {"ai_edge_litert", "coremltools", "keras", "onnx", "onnxruntime", "playwright", "sklearn", "tensorflow"}
FRAMEWORKS_TOO: Final = {"tensorflowjs", "tf2onnx", "tflite_runtime"}
MODULES: Final = [
    path for folder in MAY_IMPORT for path in sorted((ROOT / folder).rglob("*.py")) if "node_modules" not in path.parts
]


def imports(nodes: Iterator[ast.AST]) -> Iterator[str]:
    """Yield the top-level name of everything imported; of edgeferry's own the folder, such as ``edgeferry.models``."""
    for node in nodes:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            whole = node.module == "edgeferry"
            names = [f"edgeferry.{alias.name}" for alias in node.names] if whole else ["." if node.level else str(node.module)]
        else:
            continue
        for name in names:
            first, _, rest = name.partition(".")
            yield f"edgeferry.{rest.partition('.')[0]}" if first == "edgeferry" and rest else first or "."


def at_import(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """Yield what runs when a module is imported: not what stands in functions or under TYPE_CHECKING."""
    for node in body:
        yield node
        if (
            not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and "TYPE_CHECKING" not in ast.unparse(node).split("\n", 1)[0]
        ):
            for part in ("body", "orelse", "finalbody", "handlers"):
                yield from at_import(getattr(node, part, []))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_run_one_way(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    folder = path.relative_to(ROOT).parts[0]
    ours = {name for name in imports(ast.walk(tree)) if name.startswith(("edgeferry.", "."))}
    assert ours <= {f"edgeferry.{each}" for each in MAY_IMPORT[folder]}


@pytest.mark.parametrize("path", [path for path in MODULES if "tests" not in path.parts], ids=name_of)
def test_importing_a_module_imports_no_framework(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not set(imports(at_import(tree.body))) & (FRAMEWORKS | FRAMEWORKS_TOO)


def test_the_program_for_boards_imports_nothing_of_ours() -> None:
    tree = ast.parse((ROOT / "targets" / "boards" / "device.py").read_text(encoding="utf-8"), feature_version=(3, 7))
    assert set(imports(ast.walk(tree))) <= {*sys.stdlib_module_names, "numpy", "tflite_runtime", "ai_edge_litert", "tensorflow"}


def test_the_rule_looks_at_every_folder() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in MODULES} == set(MAY_IMPORT)
