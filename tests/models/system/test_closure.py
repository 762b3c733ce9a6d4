# SPDX-License-Identifier: Apache-2.0
import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeferry.models.system.closure import CodeDigests
from edgeferry.models.system.files import modules_below, sha256_of
from edgeferry.models.system.places import ROOT

MODULES = [path for folder in ("models", "exporters", "targets", "benchmarks") for path in modules_below(ROOT / folder)]


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(("edgeferry", *(parts[:-1] if parts[-1] == "__init__" else parts)))


NAMES = {name_of(path) for path in MODULES} | {"edgeferry"}


def parsed(nodes: list[ast.stmt]) -> Iterator[str]:
    """Yield what a module imports of edgeferry, found by Python's own parser; what is for type checkers only left out."""
    for node in nodes:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        for part in ("body", "orelse", "finalbody", "handlers"):
            yield from parsed(getattr(node, part, []))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_the_imports_found_in_the_text_are_those_of_the_parser(path: Path) -> None:
    expected = {name for name in parsed(ast.parse(path.read_text(encoding="utf-8")).body) if name in NAMES}
    found = set(CodeDigests().imports(name_of(path)))
    assert found - {name_of(path).rpartition(".")[0]} == expected - {name_of(path).rpartition(".")[0]}


def test_a_format_does_not_follow_from_another_nor_from_the_report() -> None:
    found = CodeDigests().closure(["edgeferry.exporters.onnx.float32"])
    assert {
        "edgeferry.exporters.onnx.float32",
        "edgeferry.exporters.graph.source",
        "edgeferry.models.reference",
        "edgeferry",
    } <= found
    assert not {name for name in found if "benchmarks" in name or "targets" in name or "tfjs" in name or "coreml" in name}


def test_a_result_follows_from_its_target_alone() -> None:
    found = CodeDigests().closure(["edgeferry.targets.onnxruntime"])
    assert not {name for name in found if "exporters" in name or "litert" in name or ".web" in name}


def test_a_module_that_changed_changes_the_digest_of_all_that_import_it() -> None:
    changed = "models/decision.py"

    def sha256(path: Path) -> str:
        return "changed" if path == ROOT / changed else sha256_of(path)

    before, after = CodeDigests(), CodeDigests(sha256)
    assert before.of("edgeferry.models.golden.reference_writer") != after.of("edgeferry.models.golden.reference_writer")
    assert before.of("edgeferry.models.preprocessing") == after.of("edgeferry.models.preprocessing")
