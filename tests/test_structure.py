# SPDX-License-Identifier: Apache-2.0
import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from edgeferry.models.system.error_codes import CODE, codes, errors_without_code
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
FRAMEWORKS: Final = {
    *("ai_edge_litert", "coremltools", "keras", "onnx", "onnxruntime", "playwright", "sklearn", "tensorflow", "tensorflowjs"),
    *("tf2onnx", "tflite_runtime"),
}
MOST_FILES: Final = 15
MOST_LINES: Final = 300
MOST_LINES_OF_A_FUNCTION: Final = 45
# One file that is copied to a board and runs there alone.
# Words of a private vocabulary, which a reader would have to learn first.
DIALECT: Final = re.compile(
    r"\btold\b|\btells\b|\banew\b|to be had|made of software|the original\b|\bcontract\b|\bhouse\b", re.IGNORECASE
)
MODULES: Final = [
    path for folder in MAY_IMPORT for path in sorted((ROOT / folder).rglob("*.py")) if "node_modules" not in path.parts
]
SOURCES: Final = [path for path in MODULES if path.relative_to(ROOT).parts[0] != "tests"]
FOLDERS: Final = sorted({path.parent for path in MODULES})
PACKAGES: Final = sorted({path.parent for path in SOURCES})
TEXTS: Final = [
    *SOURCES,
    *(
        path
        for folder in MAY_IMPORT
        if folder != "tests"
        for form in ("html", "js")
        for path in (ROOT / folder).rglob(f"*.{form}")
    ),
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "README.md",
]


def imports(nodes: Iterator[ast.AST]) -> Iterator[str]:
    """Yield the top-level name of every import; for edgeferry itself with its folder, such as ``edgeferry.models``."""
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
    """Yield what runs when a module is imported: nothing inside functions or under TYPE_CHECKING."""
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
    imported = {name for name in imports(ast.walk(tree)) if name.startswith(("edgeferry.", "."))}
    assert imported <= {f"edgeferry.{each}" for each in MAY_IMPORT[folder]}


# It is imported in order to import them, by a process that has no other purpose.
PRELOADS: Final = ROOT / "models" / "system" / "process" / "keras_preloaded.py"


@pytest.mark.parametrize("path", [each for each in SOURCES if each != PRELOADS], ids=name_of)
def test_importing_a_module_imports_no_framework(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not set(imports(at_import(tree.body))) & FRAMEWORKS


def test_the_program_for_boards_imports_nothing_of_edgeferry() -> None:
    tree = ast.parse((ROOT / "targets" / "boards" / "device.py").read_text(encoding="utf-8"), feature_version=(3, 7))
    assert set(imports(ast.walk(tree))) <= {*sys.stdlib_module_names, "numpy", "tflite_runtime", "ai_edge_litert", "tensorflow"}


def test_every_folder_is_checked() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in MODULES} == set(MAY_IMPORT)


@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_a_folder_has_few_modules(folder: Path) -> None:
    assert len([path for path in folder.glob("*.py") if path.name != "__init__.py"]) <= MOST_FILES


def test_a_module_is_short() -> None:
    lines = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert {name for name, count in lines.items() if count > MOST_LINES} == set()


def test_a_function_is_short() -> None:
    found = {
        f"{name_of(path)}: {node.name}"
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if (node.end_lineno or 0) - node.lineno >= MOST_LINES_OF_A_FUNCTION
    }
    assert found == set()


def test_every_package_is_installed() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    assert all((package / "__init__.py").is_file() for package in PACKAGES)
    parts = [package.relative_to(ROOT).parts for package in PACKAGES]
    names = {".".join(each if each[0] == "edgeferry" else ("edgeferry", *each)) for each in parts}
    assert names == set(settings["packages"])
    folders = {name for name in MAY_IMPORT if name not in {"edgeferry", "tests"}}
    assert settings["package-dir"] == {f"edgeferry.{name}": name for name in folders}


def test_no_word_needs_a_private_dictionary() -> None:
    found = [
        f"{name_of(path)}:{number}: {line.strip()}"
        for path in TEXTS
        if "node_modules" not in path.parts
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if DIALECT.search(line)
    ]
    assert not found, f"{len(found)} lines:\n" + "\n".join(found)


def test_every_error_has_a_code() -> None:
    found = [f"{file}:{line}: {text}" for file, line, text in errors_without_code()]
    assert not found, f"{len(found)} errors:\n" + "\n".join(found)


def test_a_code_is_well_formed_and_comes_with_a_message() -> None:
    found = codes()
    assert found
    assert all(CODE.fullmatch(code) for code in found)
    assert not [(code, sites) for code, sites in found.items() if not all(message for _, _, message in sites)]
