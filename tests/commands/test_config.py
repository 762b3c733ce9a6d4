# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys
from pathlib import Path

from edgeferry.models.config.spec import ModelSpec


def command(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edgeferry", *map(str, words)], capture_output=True, text=True, timeout=120, check=False
    )


def test_a_config_that_fits_is_reported_to(colours: ModelSpec) -> None:
    done = command("validate", colours.path)
    assert done.returncode == 0
    assert done.stdout.startswith("colours: the model is right on ")
    assert "of 160 golden images; 4 classes, probabilities; the config fits the model" in done.stdout
    assert done.stderr.splitlines() == [
        f"edgeferry: {colours.golden}: 160 golden images of 4 classes, 40 of each. (golden-classes)"
    ]


def test_a_mistake_is_one_line_and_a_status(tmp_path: Path) -> None:
    done = command("validate", tmp_path / "none.toml")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"edgeferry: {tmp_path / 'none.toml'}: ")
    assert done.stderr.endswith(" [EF-model-missing]\n")
    assert done.stderr.count("\n") == 1


def test_a_model_trained_elsewhere_is_not_trained(colours: ModelSpec) -> None:
    done = command("train", colours.path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"edgeferry: {colours.path}: ")
    assert done.stderr.endswith(" [EF-model-not-trainable]\n")


def test_a_starter_lists_what_it_assumes(colours: ModelSpec, tmp_path: Path) -> None:
    (tmp_path / "mine.keras").write_bytes(colours.model.read_bytes())
    done = command("init", tmp_path / "mine.keras")
    assert done.returncode == 0
    assert f"starter written: {tmp_path / 'mine.toml'}" in done.stdout
    assert done.stdout.count("assumed: ") >= 3
