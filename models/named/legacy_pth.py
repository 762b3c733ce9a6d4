# SPDX-License-Identifier: Apache-2.0
"""Reads weights that PyTorch saved before 1.6, without PyTorch: a few pickles, then the numbers. Nothing else is unpickled."""

import io
import pickle
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

from edgeferry.models.system.errors import EdgeError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# torch/serialization.py: what a legacy file begins with, and how its storages are called.
MAGIC: Final = 0x1950A86A20F9469CFC6C
PROTOCOL: Final = 1001
DTYPES: Final = {"FloatStorage": "<f4", "LongStorage": "<i8"}


def read_pth(data: bytes) -> "dict[str, NDArray[np.generic]]":
    """Return the arrays of a state_dict by name.

    Raises:
        EdgeError: it is no such file, or holds something else than arrays.
    """
    import numpy as np

    file = io.BytesIO(data)
    try:
        _check_begin(_Pickle(file).load(), _Pickle(file).load())
        # What machine it was saved on.
        _Pickle(file).load()
        tensors = _Pickle(file).load()
        storages: dict[str, NDArray[np.generic]] = {}
        kinds = {tensor.storage.key: tensor.storage.dtype for tensor in tensors.values()}
        for key in _Pickle(file).load():
            (count,) = np.frombuffer(file.read(8), "<i8")
            dtype = np.dtype(kinds[key])
            storages[key] = np.frombuffer(file.read(int(count) * dtype.itemsize), dtype)
        return {name: tensor.of(storages[tensor.storage.key]) for name, tensor in tensors.items()}
    except (pickle.UnpicklingError, ValueError, KeyError, AttributeError, TypeError, EOFError, IndexError) as error:
        raise EdgeError("EF-weights-damaged", f"not a file of PyTorch's weights that can be read: {error}.") from None


def _check_begin(magic: object, protocol: object) -> None:
    if (magic, protocol) != (MAGIC, PROTOCOL):
        raise pickle.UnpicklingError("it does not begin as one")


class _Storage:
    def __init__(self, dtype: str, key: str) -> None:
        self.dtype, self.key = dtype, key


class _Tensor:
    def __init__(self, storage: _Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> None:
        self.storage, self.offset, self.size, self.stride = storage, offset, size, stride

    def of(self, numbers: "NDArray[np.generic]") -> "NDArray[np.generic]":
        import numpy as np

        last = self.offset + sum((size - 1) * stride for size, stride in zip(self.size, self.stride, strict=True))
        if min((self.offset, *self.size, *self.stride)) < 0 or last >= len(numbers):
            raise ValueError(f"a tensor of the shape {self.size} is not within its {len(numbers)} numbers")
        steps = tuple(stride * numbers.itemsize for stride in self.stride)
        array: NDArray[np.generic] = np.lib.stride_tricks.as_strided(numbers[self.offset :], self.size, steps, writeable=False)
        return array.copy()


def _rebuilt(storage: _Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object) -> _Tensor:
    return _Tensor(storage, offset, tuple(size), tuple(stride))


class _Pickle(pickle.Unpickler):
    """Makes arrays and ordered dicts, and refuses every other class."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuilt
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        raise pickle.UnpicklingError(f"it holds a {module}.{name}")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, *_ = pid
        if kind != "storage":
            raise pickle.UnpicklingError(f"it refers to a {kind}")
        return _Storage(dtype, key)
