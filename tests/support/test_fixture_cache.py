# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from fixture_cache import KEPT, FixtureCache, digests_of, versions

# Another worker: it makes the entry, unless it is made.
WORKER: Final = """
import sys, time
from pathlib import Path
from fixture_cache import FixtureCache
cache, work = Path(sys.argv[1]), Path(sys.argv[2])

def make(folder):
    with (work / "made").open("a") as made:
        made.write("once")
    time.sleep(0.3)
    (folder / "weights").write_text("trained")

copy = FixtureCache(cache).copy("network", 1, make, work / sys.argv[3])
print((copy / "weights").read_text())
"""


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., tuple[Path, bool]]:
    """Return ``made(follows_from)``: the copy of an entry of that key, and whether it was made for it."""

    def copy(follows_from: Any, name: str = "network") -> tuple[Path, bool]:
        calls: list[Path] = []

        def make(folder: Path) -> None:
            calls.append(folder)
            (folder / "weights").write_text(repr(follows_from))

        to = tmp_path / f"copy{len(list(tmp_path.iterdir()))}"
        return FixtureCache(tmp_path / "cache").copy(name, follows_from, make, to), bool(calls)

    return copy


def test_an_entry_is_made_once(made: Callable[..., tuple[Path, bool]]) -> None:
    assert [made({"code": "a"})[1] for _ in range(3)] == [True, False, False]


@pytest.mark.parametrize("changed", [{"code": "b", "numpy": "1"}, {"code": "a", "numpy": "2"}, {"code": "a"}])
def test_what_it_follows_from_makes_another(made: Callable[..., tuple[Path, bool]], changed: dict[str, str]) -> None:
    made({"code": "a", "numpy": "1"})
    folder, again = made(changed)
    assert again
    assert (folder / "weights").read_text() == repr(changed)


def test_another_name_is_another_entry(made: Callable[..., tuple[Path, bool]]) -> None:
    made(1)
    assert made(1, name="other-network")[1]


def test_a_spoiled_copy_spoils_no_other(made: Callable[..., tuple[Path, bool]]) -> None:
    (made(1)[0] / "weights").write_text("spoiled")
    folder, again = made(1)
    assert not again
    assert (folder / "weights").read_text() == "1"


def test_one_that_fails_is_not_kept(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise ZeroDivisionError

    cache = FixtureCache(tmp_path / "cache")
    with pytest.raises(ZeroDivisionError):
        cache.copy("network", 1, fail, tmp_path / "copy")
    cache.copy("network", 1, lambda folder: (folder / "whole").touch(), tmp_path / "copy")
    assert [path.name for path in (tmp_path / "copy").iterdir()] == ["whole"]


def test_old_entries_are_removed(made: Callable[..., tuple[Path, bool]]) -> None:
    made(0, name="network-of-another-name")
    for number in range(KEPT + 2):
        made(number)
    folders = [each for each in (made(0)[0].parent / "cache").iterdir() if each.is_dir()]
    assert len(folders) == KEPT + 1


def test_workers_wait_for_the_one_that_makes_it(tmp_path: Path) -> None:
    support = str(Path(__file__).parent)
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, tmp_path / "cache", tmp_path, f"copy{number}"],
            env={"PYTHONPATH": ":".join((support, *sys.path))},
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(3)
    ]
    assert [worker.communicate()[0].strip() for worker in workers] == ["trained"] * 3
    assert (tmp_path / "made").read_text() == "once"


def test_digests_follow_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "a.py").write_text("1")
    before = digests_of(tmp_path / "code")
    assert digests_of(tmp_path / "code" / "a.py") == before
    (tmp_path / "code" / "a.py").write_text("2")
    assert digests_of(tmp_path / "code") != before
    (tmp_path / "code" / "a.py").write_text("1")
    (tmp_path / "code" / "b.json").touch()
    assert digests_of(tmp_path / "code") != before


def test_versions_name_what_networks_are_trained_with() -> None:
    assert {"python", "numpy", "keras"} <= set(versions())
