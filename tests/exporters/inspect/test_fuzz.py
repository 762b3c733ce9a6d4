# SPDX-License-Identifier: Apache-2.0
"""2000 damaged files through inspect and lint: each gives a report or one error, never anything else."""

import json
import random
import runpy
import shutil
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from edgeferry.exporters.inspect.inspection import inspect
from edgeferry.exporters.inspect.parent import what_differs
from edgeferry.exporters.inspect.text import lines
from edgeferry.exporters.lint.lint import lines as lint_lines
from edgeferry.exporters.lint.lint import lint
from edgeferry.exporters.lint.runtimes import runtime_names
from edgeferry.exporters.readers.record import json_of
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.places import ROOT

REAL: Final = ROOT.parent / "shared" / "data" / "edgetpu"
STAND_IN: Final = Path(__file__).parents[1] / "edgetpu" / "package_stand_in.py"
FILES: Final = 400
SOURCES: Final = ("int8", "compiled", "onnx", "coreml", "tfjs")
# The most common wrong offsets and lengths.
EXTREMES: Final = (0, 1, 4, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFC, 0xFFFFFFFF)
# Of Python's and numpy's memory, which is what can be traced. Undamaged files need 0.4 MiB, damaged ones took up to 3.6.
MOST_BYTES: Final = 16 * 2**20
# Of the processor's time; an undamaged one takes some 10 ms.
LONGEST_S: Final = 3.0


@pytest.fixture(scope="module")
def whole(exported_digits: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Path | None]]:
    """Return a function that returns an undamaged file of a kind, and the parent of the compiled one."""
    folder = tmp_path_factory.mktemp("whole")
    build = exported_digits.build
    places = {
        "int8": build / "tflite-int8" / "model.tflite",
        "onnx": build / "onnx-float32" / "model.onnx",
        "coreml": build / "coreml-float16" / "model.mlpackage" / "Data" / "com.apple.CoreML" / "model.mlmodel",
        "tfjs": build / "tfjs-uint8" / "model.json",
    }

    def give(kind: str) -> tuple[Path, Path | None]:
        if kind in places:
            return places[kind], None
        real = REAL / "keras_lstm_mnist_ptq_edgetpu.tflite", REAL / "keras_lstm_mnist_ptq.tflite"
        if all(path.is_file() for path in real):
            return real
        functions = runpy.run_path(str(STAND_IN))
        for name in ("compiled", "parent"):
            (folder / f"{name}.tflite").write_bytes(functions[name]())
        return folder / "compiled.tflite", folder / "parent.tflite"

    return give


def damaged(whole: bytes, other: bytes, seed: str) -> Iterator[bytes]:
    """Yield damaged files, the same for the same seed: flipped bits, cut ends, wrong offsets, parts of another file."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    for number in range(FILES):
        data = bytearray(whole)
        hurt = (_flip, _cut, _offset, _splice)[number % 4]
        for _ in range(chance.choice((1, 1, 2, 8))):
            hurt(data, other, chance)
        yield bytes(data)


def _place(data: bytearray, chance: random.Random) -> int:
    """Return a place in a file; half of them near its ends, where structure is."""
    near = min(2048, len(data))
    return chance.choice((chance.randrange(len(data)), chance.randrange(near), len(data) - 1 - chance.randrange(near)))


def _flip(data: bytearray, other: bytes, chance: random.Random) -> None:
    del other
    data[_place(data, chance)] ^= 1 << chance.randrange(8)


def _cut(data: bytearray, other: bytes, chance: random.Random) -> None:
    del other
    if len(data) > 16:
        del data[max(8, _place(data, chance)) :]


def _offset(data: bytearray, other: bytes, chance: random.Random) -> None:
    del other
    at = _place(data, chance) & ~3
    value = chance.choice((*EXTREMES, len(data), chance.randrange(len(data)), chance.randrange(2**32)))
    data[at : at + 4] = value.to_bytes(4, "little")


def _splice(data: bytearray, other: bytes, chance: random.Random) -> None:
    source, size = chance.choice((bytes(data), other)), chance.choice((4, 16, 64, 512))
    start, at = chance.randrange(max(1, len(source) - size)), _place(data, chance)
    data[at : at + chance.choice((0, size))] = source[start : start + size]


def inspect_and_lint(path: Path, parent: Path | None, name: str) -> bool:
    """Inspect a file, and lint it; return whether it was refused."""
    refused = _refusal(lambda: _inspect(path, parent))
    assert refused != ""
    assert _refusal(lambda: list(lint_lines(path, lint(path, name)))) != ""
    return refused is not None


def _inspect(path: Path, parent: Path | None) -> None:
    found = inspect(path)
    assert "\n".join(lines(str(path), found)).encode()
    assert json.dumps(json_of(found, str(path)), allow_nan=False)
    if found.kind == "edgetpu" and parent is not None:
        what_differs(path, parent)


def _refusal(call: Callable[[], object]) -> str | None:
    try:
        call()
    except EdgeError as error:
        return str(error)
    return None


@pytest.mark.parametrize("kind", SOURCES)
def test_no_damage_ends_in_anything_but_a_report_or_one_error(kind: str, whole: Any, tmp_path: Path) -> None:
    original, parent = whole(kind)
    for shard in original.parent.glob("*.bin"):
        shutil.copy(shard, tmp_path)
    path, names = tmp_path / original.name, runtime_names()
    shutil.copy(original, path)
    assert not inspect_and_lint(path, parent, "edgetpu")
    refused, longest = 0, 0.0
    for number, data in enumerate(damaged(original.read_bytes(), whole("int8")[0].read_bytes(), kind)):
        path.write_bytes(data)
        begun = time.process_time()
        refused += inspect_and_lint(path, parent, names[number % len(names)])
        longest = max(longest, time.process_time() - begun)
    assert 0 < refused < FILES
    assert longest < LONGEST_S


@pytest.mark.parametrize("kind", SOURCES)
def test_no_damage_makes_it_take_much_memory(kind: str, whole: Any, tmp_path: Path) -> None:
    original, parent = whole(kind)
    path = tmp_path / original.name
    shutil.copy(original, path)
    # The first call imports.
    inspect_and_lint(path, parent, "edgetpu")
    for number, data in enumerate(damaged(original.read_bytes(), whole("int8")[0].read_bytes(), f"{kind}, memory")):
        # Tracing takes five times as long: some of each kind of damage.
        if number % 16 > 3:
            continue
        path.write_bytes(data)
        tracemalloc.start()
        inspect_and_lint(path, parent, "edgetpu")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < MOST_BYTES


def test_the_damage_is_the_same_each_time() -> None:
    content, other = bytes(range(256)) * 8, bytes(256)
    assert list(damaged(content, other, "a")) == list(damaged(content, other, "a"))
    assert list(damaged(content, other, "a")) != list(damaged(content, other, "b"))
