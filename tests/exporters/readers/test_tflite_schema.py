# SPDX-License-Identifier: Apache-2.0
"""Where the classes for .tflite files come from: TensorFlow's file, LiteRT's where there is no TensorFlow."""

import importlib.util
import runpy
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Final

import pytest

from edgeferry.exporters.readers import tflite_schema as module
from edgeferry.exporters.readers.tflite import read_graph
from edgeferry.exporters.readers.tflite_schema import tflite_schema
from edgeferry.models.system.errors import EdgeError

STAND_IN: Final = Path(__file__).parents[1] / "edgetpu" / "package_stand_in.py"


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Yield a function that hides packages."""

    def hide(*packages: str) -> None:
        def found(name: str) -> ModuleSpec | None:
            return None if name in packages else importlib.util.find_spec(name)

        monkeypatch.setattr(module, "find_spec", found)
        tflite_schema.cache_clear()

    yield hide
    tflite_schema.cache_clear()


def test_without_tensorflow_a_file_is_read_by_litert(without: Callable[..., None], tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(runpy.run_path(str(STAND_IN))["parent"]())
    expected = read_graph(path)
    without("tensorflow")
    assert Path(tflite_schema().__file__).parent.name == "ai_edge_litert"
    assert read_graph(path) == expected


def test_without_both_the_extra_is_named(without: Callable[..., None]) -> None:
    without("tensorflow", "ai_edge_litert")
    with pytest.raises(EdgeError, match=r"edgeferry\[check\]", check=lambda e: e.code == "EF-package-missing"):
        tflite_schema()
