# SPDX-License-Identifier: Apache-2.0
"""The pages: generated tables are up to date, links and anchors lead somewhere, examples are accepted, the site builds."""

import os
import re
import runpy
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from markdown.extensions.toc import slugify

from edgeferry.models.config.spec import read_spec
from edgeferry.models.system.places import ROOT

GENERATE: Final = ROOT / "docs" / "generate.py"
PAGES: Final = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
MOST_LINES_OF_README: Final = 150
FENCE: Final = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK: Final = re.compile(r"\]\(([^)\s]+)\)")
HEADING: Final = re.compile(r"^#{1,6} (.*?)(?:\s*\{ #([\w-]+) \})?$", re.MULTILINE)
WHOLE: Final = {"model", "input", "data"}
LOADED: Final = re.compile(
    r'<(?:script|img|iframe)[^>]*src="https?://|<link[^>]*rel="(?:stylesheet|preconnect)"[^>]*href="https?://'
)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.slow
def test_generated_tables_are_up_to_date() -> None:
    command = [sys.executable, str(GENERATE), "--check"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}; run: PYTHONPATH=. python docs/generate.py"


def test_a_table_that_is_out_of_date_is_filled_again() -> None:
    text = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    stale = text.replace("\n| `keras` |", "\n| `kears` |")
    assert stale != text
    assert runpy.run_path(str(GENERATE))["filled"](stale) == text


def links() -> Iterator[tuple[Path, str]]:
    for path in PAGES:
        text = FENCE.sub("", path.read_text(encoding="utf-8"))
        yield from ((path, link) for link in LINK.findall(text) if "://" not in link)


def anchors_of(path: Path) -> set[str]:
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    headings = {explicit or slugify(heading.replace("`", ""), "-") for heading, explicit in HEADING.findall(text)}
    return headings | set(re.findall(r'<a id="([^"]+)"', text))


def leads_somewhere(path: Path, link: str) -> bool:
    file, _, anchor = link.partition("#")
    target = (path.parent / file).resolve() if file else path
    return target.exists() and (not anchor or anchor in anchors_of(target))


@pytest.mark.parametrize(("path", "link"), list(links()), ids=lambda each: name_of(each) if isinstance(each, Path) else each)
def test_a_link_leads_to_a_file_and_a_heading(path: Path, link: str) -> None:
    assert leads_somewhere(path, link)


def test_a_link_to_nowhere_is_found() -> None:
    page = ROOT / "docs" / "parity.md"
    assert leads_somewhere(page, "config.md#parityformat")
    assert not leads_somewhere(page, "config.md#no-such-heading")
    assert not leads_somewhere(page, "contract.md")


def examples() -> Iterator[tuple[str, str]]:
    for path in PAGES:
        bodies = [body for language, body in FENCE.findall(path.read_text(encoding="utf-8")) if language == "toml"]
        yield from ((name_of(path), body) for body in bodies)


@pytest.mark.parametrize(("page", "text"), list(examples()))
def test_a_config_that_is_shown_is_accepted(page: str, text: str, tmp_path: Path) -> None:
    del page  # names the case
    if set(tomllib.loads(text)) >= WHOLE:
        config = tmp_path / "my.toml"
        config.write_text(text, encoding="utf-8")
        assert read_spec(config).name == "my"


def test_whole_configs_are_shown() -> None:
    whole = {page for page, text in examples() if set(tomllib.loads(text)) >= WHOLE}
    assert {"README.md", "docs/quickstart.md", "docs/config.md"} <= whole


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= MOST_LINES_OF_README


@pytest.mark.slow
def test_the_site_builds_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    built = sorted(tmp_path.rglob("*.html"))
    assert {page.with_suffix("").relative_to(tmp_path).as_posix() for page in built} >= {
        page.with_suffix("").relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")
    }
    assert not [page for page in built if LOADED.search(page.read_text(encoding="utf-8"))]
