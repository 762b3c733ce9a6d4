# SPDX-License-Identifier: Apache-2.0
"""What shows that weights were loaded right: every shape fits, every weight is used exactly once, nothing is left over."""

from collections import Counter
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NoReturn

from edgeferry.models.system.errors import EdgeError

if TYPE_CHECKING:
    import keras
    import numpy as np
    from numpy.typing import NDArray


class Proof:
    """Assigns weights one by one, and knows afterwards whether each was."""

    def __init__(self, where: str) -> None:
        """``where`` names the file, for errors."""
        self._where = where
        self._assigned: dict[int, str] = {}

    def refuse(self, problem: str) -> NoReturn:
        """Refuse the file."""
        raise EdgeError(
            "EF-model-weights",
            f"{self._where}: its weights do not fit its own configuration: {problem}. Save the model again, whole.",
        )

    def is_weight(self, array: Any) -> bool:
        """Return whether an array or a variable is a weight; integers are counts and states of random generators."""
        return "float" in str(array.dtype)

    def assign(self, variable: Any, array: "NDArray[np.generic]", name: str) -> None:
        """Give a weight its values; ``name`` is the file's, for errors."""
        if tuple(variable.shape) != array.shape:
            self.refuse(f"{name!r} has the shape {list(array.shape)}, but the layer takes {list(variable.shape)}")
        if id(variable) in self._assigned:
            self.refuse(f"{name!r} and {self._assigned[id(variable)]!r} belong to one weight")
        self._assigned[id(variable)] = name
        variable.assign(array)

    def check_whole(self, model: "keras.Model", file: Any) -> None:
        """Refuse a file whose weights, as arrays and without their names, are not exactly those that the model has now."""
        import h5py
        import numpy as np

        missing = [each.path for each in model.weights if self.is_weight(each) and id(each) not in self._assigned]
        if missing:
            self.refuse(f"it holds nothing for {missing[0]!r}")
        held = Counter[str]()

        def count(_: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset) and self.is_weight(item):
                held[_digest(item[()])] += 1

        file.visititems(count)
        ours = Counter(_digest(np.asarray(each.numpy())) for each in model.weights if self.is_weight(each))
        if left := sum((held - ours).values()):
            self.refuse(f"{left} of its {sum(held.values())} weights belong to no layer of the model")
        if sum((ours - held).values()):
            self.refuse("the model has weights that are not in the file")


def _digest(array: "NDArray[np.generic]") -> str:
    whole = array.astype("float32")
    return sha256(repr(whole.shape).encode() + whole.tobytes()).hexdigest()
