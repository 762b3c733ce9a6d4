# SPDX-License-Identifier: Apache-2.0
"""What the pages must name because the program has it: config keys, environment variables, outcomes, exit statuses, extras."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest

from edgeferry.models.config.spec import MOVED, read_spec
from edgeferry.models.config.table import Table
from edgeferry.models.system.error_codes import codes
from edgeferry.models.system.places import ROOT
from edgeferry.models.system.terminal import Exit

DOCS: Final = ROOT / "docs"
SCHEMA: Final = ROOT / "benchmarks" / "parity" / "report.schema.json"
FOLDERS: Final = ("models", "exporters", "targets", "benchmarks", "edgeferry")
VARIABLE: Final = re.compile(r"\b(?:EDGEFERRY_[A-Z][A-Z_]+|EDGETPU_COMPILER(?:_[A-Z]+)?)\b")
# Set by make or by this repository's own benchmarks, for a process of theirs.
INTERNAL: Final = {
    *("EDGEFERRY_ALONE", "EDGEFERRY_BUILD", "EDGEFERRY_COMPARISONS", "EDGEFERRY_MODEL", "EDGEFERRY_REPETITIONS"),
    *("EDGEFERRY_GATE", "EDGEFERRY_GATE_APART", "EDGEFERRY_GATE_FORMATS", "EDGEFERRY_GATE_HONEST", "EDGEFERRY_GATE_SECONDS"),
    *("EDGEFERRY_EXPLAIN", "EDGEFERRY_EXPLAIN_FORMATS", "EDGEFERRY_EXPLAIN_SECONDS"),
    *("EDGEFERRY_FLEET", "EDGEFERRY_FLEET_KILLS", "EDGEFERRY_FLEET_MODELS"),
    *("EDGEFERRY_ROUNDS", "EDGEFERRY_SAMPLES", "EDGEFERRY_RIGHT_SAMPLES"),
}
CONFIG: Final = """\
[model]
file = "my.keras"
labels = ["cat", "dog"]

[input]
shape = [8, 8, 3]
{pixels}

[data]
golden = "golden"

[parity.tflite-int8]
"""


def text_of(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def documented_keys(text: str) -> set[tuple[str, str]]:
    """Return the keys that stand first in the tables below headings such as ``## `[export.edgetpu]```."""
    parts = re.split(r"^#{2,3} ", text, flags=re.MULTILINE)
    named = [(re.findall(r"`\[([\w.<>-]+)\]`", part.partition("\n")[0]), part) for part in parts]
    return {
        (table, key) for tables, part in named for table in tables for key in re.findall(r"^\| `(\w+)` \|", part, re.MULTILINE)
    }


def known_keys(folder: Path, monkeypatch: pytest.MonkeyPatch) -> set[tuple[str, str]]:
    """Return the keys that the program reads, found by reading configs with a table that remembers them."""
    read: set[tuple[str, str]] = set()
    has = Table.has

    def remembered(table: Table, key: str) -> bool:
        read.add((table.name, key))
        return has(table, key)

    monkeypatch.setattr(Table, "has", remembered)
    for pixels in ("range = [0, 1]", "mean = [1, 2, 3]\nstd = [4, 5, 6]"):
        config = folder / "my.toml"
        config.write_text(CONFIG.format(pixels=pixels), encoding="utf-8")
        read_spec(config)
    tables = {table for table, _ in read}
    keys = {(table, key) for table, key in read if f"{table}.{key}".lstrip(".") not in tables and table}
    return {(table.replace("parity.tflite-int8", "parity.<format>"), key) for table, key in keys}


def test_every_config_key_is_documented_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The options of formats, [export.<format>], stand in generated tables.
    documented = {(table, key) for table, key in documented_keys(text_of("config.md")) if not table.startswith("export.")}
    assert documented == known_keys(tmp_path, monkeypatch)


def test_every_key_that_moved_is_on_the_upgrade_page() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| `(\w+` in `\[[\w.-]+\])` \|", text_of("upgrade.md"), re.MULTILINE))
    assert {key: place.replace("`", "") for key, place in rows.items()} == MOVED


def test_every_environment_variable_is_documented() -> None:
    files = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py") if "node_modules" not in path.parts]
    used = {name for path in files for name in VARIABLE.findall(path.read_text(encoding="utf-8"))}
    pages = "".join(path.read_text(encoding="utf-8") for path in DOCS.rglob("*.md"))
    assert used - INTERNAL <= set(VARIABLE.findall(pages))


def report_schema() -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(SCHEMA.read_text(encoding="utf-8"))
    return schema


def test_every_outcome_is_explained() -> None:
    explained = set(re.findall(r"^\| \*\*([a-z ]+)\*\* \|", text_of("parity.md"), re.MULTILINE))
    known = re.search(r'"enum": \[("passed"[^]]*)\]', json.dumps(report_schema()))
    assert known is not None
    assert explained >= set(json.loads(f"[{known[1]}]"))


def is_field(path: str, schema: dict[str, Any]) -> bool:
    """Say whether a row of report.json has a field, such as ``target``, or one within another, such as ``a.b``."""
    found = schema["$defs"]["row"]
    for name in path.split("."):
        if (found := found.get("properties", {}).get(name)) is None:
            return False
        found = schema["$defs"].get(found.get("$ref", "").rpartition("/")[2], found)
    return True


def test_filters_of_report_json_name_fields_that_exist() -> None:
    schema, texts = report_schema(), [text_of("ci.md"), (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")]
    filters = [each for text in texts for each in re.findall(r"jq --exit-status '([^']*)'", text)]
    fields = {path for each in filters for path in re.findall(r"(?<![\w.])\.([a-z_]+(?:\.[a-z_]+)*)", each)} - {"rows"}
    assert len(filters) >= 3
    assert fields >= {"format", "target"}
    assert not [path for path in fields if not is_field(path, schema)]


def test_a_file_that_a_page_names_is_in_the_repository() -> None:
    pages = {path: path.read_text(encoding="utf-8") for path in DOCS.rglob("*.md") if path.name != "extending.md"}
    named = {
        file for text in pages.values() for file in re.findall(rf"`((?:{'|'.join(FOLDERS)}|tests|docs)/[\w./-]+\.\w+)`", text)
    }
    assert len(named) > 10
    assert not [file for file in named if not (ROOT / file).exists()]


def test_every_exit_status_is_documented() -> None:
    paragraph = next(part for part in text_of("commands.md").split("\n\n") if part.startswith("**Exit status**"))
    assert set(map(int, re.findall(r"\b\d+\b", paragraph))) == {status.value for status in Exit}


@pytest.mark.slow
def test_every_error_code_is_documented_and_no_other() -> None:
    pages = "".join(path.read_text(encoding="utf-8") for path in [*DOCS.rglob("*.md"), ROOT / "CHANGELOG.md"])
    named = set(re.findall(r"\bEF-[a-z0-9-]+[a-z0-9]\b", pages))
    assert named == set(codes())


def test_every_extra_is_documented() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    documented = set(re.findall(r"^\| `([a-z-]+)` \|", text_of("ci.md"), re.MULTILINE))
    assert documented == set(project["optional-dependencies"])
