# SPDX-License-Identifier: Apache-2.0
"""The model and the build folder that a user names."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeferry.commands.arguments import build_to_read
from edgeferry.models.config.spec import ModelSpec, read_spec
from edgeferry.models.reference import SCHEMA
from edgeferry.models.system.errors import EdgeError

pytestmark = pytest.mark.slow

Write = Callable[..., Path]


def coded(code: str) -> Callable[[EdgeError], bool]:
    return lambda error: error.code == code


@pytest.fixture
def spec(project: Path) -> ModelSpec:
    """Return the project's config."""
    return read_spec(project / "my.toml")


@pytest.fixture
def write(project: Path) -> Write:
    """Return a function that writes the reference of a build folder with some fields."""

    def write(**fields: Any) -> Path:
        place = project / "build" / "my" / "reference" / "reference.json"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps({"schema": SCHEMA, **fields}), encoding="utf-8")
        return place.parent.parent

    return write


@pytest.fixture
def same_name(project: Path) -> Path:
    """Return another config with the same model.name."""
    (project / "other").mkdir()
    text = (project / "my.toml").read_text(encoding="utf-8").replace("[model]", '[model]\nname = "my"')
    (project / "other" / "mine.toml").write_text(text, encoding="utf-8")
    return project / "other" / "mine.toml"


@pytest.mark.parametrize("command", ["export", "export-all"])
def test_a_build_folder_of_another_config_is_not_written_to(
    edgeferry: Callable[..., Any], project: Path, write: Write, same_name: Path, command: str
) -> None:
    write(config=str(same_name))
    done = edgeferry(command, "my.toml", cwd=project)
    assert (done.returncode, done.stdout) == (2, "")
    assert str(same_name) in done.stderr
    assert str(project / "my.toml") in done.stderr
    assert done.stderr.endswith(" [EF-name-taken]\n")


@pytest.mark.parametrize("change", ["removed", "renamed", "broken", "the same"])
def test_a_build_folder_that_no_other_config_claims_is_read_without_a_note(
    spec: ModelSpec, write: Write, same_name: Path, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    place = write(config=str(spec.path if change == "the same" else same_name))
    if change == "removed":
        same_name.unlink()
    elif change == "renamed":
        same_name.write_text(same_name.read_text(encoding="utf-8").replace('"my"', '"his"'), encoding="utf-8")
    elif change == "broken":
        same_name.write_text("[model", encoding="utf-8")
    assert build_to_read(str(spec.path), spec.path.parent / "build") == (spec, place)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("text", ["", "[]", "{", '{"config": 5}', '{"config": ""}'])
def test_a_damaged_reference_names_no_config(
    project: Path, spec: ModelSpec, write: Write, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    place = write()
    (place / "reference" / "reference.json").write_text(text, encoding="utf-8")
    assert build_to_read(str(spec.path), project / "build") == (spec, place)
    assert build_to_read(str(place), project) == (None, place)
    assert capsys.readouterr().err == ""


def test_reading_a_build_folder_of_another_config_is_noted(
    project: Path, spec: ModelSpec, write: Write, same_name: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = write(config=str(same_name))
    assert build_to_read(str(spec.path), project / "build") == (spec, place)
    assert capsys.readouterr().err == f"edgeferry: {place} was exported from {same_name}, not from {spec.path}\n"


def test_a_build_folder_is_read_without_a_config(project: Path, write: Write) -> None:
    place = write()
    assert build_to_read(str(project / "build" / "my"), Path("elsewhere")) == (None, place)


def test_a_folder_that_is_no_build_folder_is_refused(project: Path) -> None:
    with pytest.raises(EdgeError, match=str(project / "golden"), check=coded("EF-build-folder")):
        build_to_read(str(project / "golden"), project / "build")


def test_a_savedmodel_that_holds_nothing_is_refused(project: Path) -> None:
    (project / "empty").mkdir()
    (project / "empty" / "saved_model.pb").touch()
    with pytest.raises(EdgeError, match="no graph for serving", check=coded("EF-model-incomplete")):
        build_to_read(str(project / "empty"), project / "build")


@pytest.mark.parametrize("command", ["check", "report"])
@pytest.mark.parametrize("named", ["my.toml", "build/my"])
def test_a_build_folder_of_an_older_release_is_refused(
    edgeferry: Callable[..., Any], project: Path, write: Write, command: str, named: str
) -> None:
    place = write(schema=SCHEMA - 1)
    done = edgeferry(command, named, cwd=project)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"edgeferry: {place} was written by an older release")
    assert "`make export-all`. [EF-build-older]" in done.stderr


@pytest.mark.parametrize("command", ["export-all", "check", "report", "validate", "bench"])
def test_an_empty_model_is_refused(edgeferry: Callable[..., Any], project: Path, command: str) -> None:
    done = edgeferry(command, "", cwd=project)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith(" [EF-model-unnamed]\n")


def test_a_relative_model_is_looked_for_in_the_folder_make_was_sent_to(
    edgeferry: Callable[..., Any], project: Path, tmp_path: Path
) -> None:
    done = edgeferry("export-all", "my.toml", cwd=tmp_path)
    assert done.returncode == 2
    assert f"{tmp_path}/my.toml: " in done.stderr
    assert f"starts at {tmp_path})" in done.stderr
    assert done.stderr.endswith(" [EF-model-missing]\n")
    assert (project / "my.toml").is_file()


def test_a_path_with_spaces_is_one_path(edgeferry: Callable[..., Any], project: Path, tmp_path: Path) -> None:
    done = edgeferry("check", project / "my.toml", "--build", project / "my build", cwd=tmp_path)
    assert done.returncode == 2
    assert str(project / "my build" / "my") in done.stderr
