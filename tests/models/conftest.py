# SPDX-License-Identifier: Apache-2.0
"""A minimal config for any model file, and disks that cannot be written to."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.preprocessing import Preprocessing


@pytest.fixture(scope="session")
def config_for() -> Callable[..., ModelSpec]:
    """Return a function from a model's file to a config of three labels and RGB images of 8x6, with some fields changed."""

    def config(model: Path, **changes: Any) -> ModelSpec:
        how = Preprocessing(8, 6, "rgb", (0.0,) * 3, (1.0,) * 3)
        golden = model.with_name("golden")
        return replace(ModelSpec("pets", model.with_suffix(".toml"), model, ("cat", "dog", "fish"), how, golden), **changes)

    return config


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a folder with room for some 100 kB."""
    with _mounted(tmp_path / "full", "size=128k") as place:
        yield place


@pytest.fixture
def read_only_disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a folder that nobody can write to, not even root."""
    with _mounted(tmp_path / "read-only", "ro") as place:
        yield place


@contextmanager
def _mounted(place: Path, options: str) -> Iterator[Path]:
    place.mkdir()
    mount = shutil.which("mount")
    if sys.platform != "linux" or mount is None:
        pytest.skip("a small disk is made with Linux's tmpfs")
    done = subprocess.run([mount, "-t", "tmpfs", "-o", options, "tmpfs", place], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a small disk needs the right to mount one: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)
