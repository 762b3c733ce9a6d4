# SPDX-License-Identifier: Apache-2.0
"""One network of the corpus: what it covers, and the block that is put between a convolution and a fitted head."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

# What a block is given: the image, [24, 24, 3] from 0 to 1; features of a convolution, [12, 12, 8]; their rows, [12, 96]; or a
# vector of 32. Features have a deviation of about 2, so that every branch of an activation is reached.
On = Literal["image", "features", "rows", "vector"]

SIZE: Final = 24


@dataclass(frozen=True)
class Network:
    """A network by name; ``block`` returns what a fitted classifier reads. ``covers`` are names of Keras's own."""

    name: str
    covers: tuple[str, ...]
    on: On
    block: Callable[[Any], Any]


def networks() -> dict[str, Network]:
    """Return every small network by name."""
    from corpus import activations, functions, layers

    found = [*layers.networks(), *activations.networks(), *functions.networks()]
    return {each.name: each for each in found}
