# SPDX-License-Identifier: Apache-2.0
"""Sentences that several rules share: labels in another order, scores of another shape."""


def other_labels(where: str, found: tuple[str, ...], expected: tuple[str, ...]) -> str:
    """Return how the labels that ``where`` holds, a file or a manifest, differ from the config's."""
    if len(found) != len(expected):
        return f"{where} holds {len(found)} labels; expected {len(expected)}"
    at = next(at for at, (one, other) in enumerate(zip(found, expected, strict=True)) if one != other)
    return f"{where} names class {at} {found[at]!r}; the config names it {expected[at]!r}"


def other_shape(found: tuple[int, ...], expected: tuple[int, ...]) -> str:
    """Return how scores differ in shape: ``360 x 10 scores; expected 480 x 10``."""
    return f"{' x '.join(map(str, found))} scores; expected {' x '.join(map(str, expected))}"
