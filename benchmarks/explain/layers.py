# SPDX-License-Identifier: Apache-2.0
"""The layers of an artifact against the Keras model's, in one child process: the file's values, and the graph fed with them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Final

from edgeferry.benchmarks.explain.layout import laid_out, stacked
from edgeferry.benchmarks.explain.matching import Stretch, matched, stretches, unmatched
from edgeferry.benchmarks.explain.result import LayerCost
from edgeferry.benchmarks.explain.sums import Sums, square, unexplained
from edgeferry.exporters.graph.instrumented import Instrumented, instrumented
from edgeferry.exporters.graph.layers import layers_by_scope
from edgeferry.exporters.graph.simulation.simulation import PALETTES, SIMULATIONS, simulated, written_for
from edgeferry.exporters.graph.source import INPUT, Source
from edgeferry.models.decision import Decision, probabilities_of
from edgeferry.models.preprocessing import normalise
from edgeferry.models.system.errors import EdgeError
from edgeferry.targets.target import Job, Tensors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float32]
    Values = Mapping[str, Array]

# So many numbers of one array for all values of a batch are held at a time; there are about six such arrays.
MOST_NUMBERS: Final = 8_000_000
LARGEST_BATCH: Final = 32


@dataclass(frozen=True)
class Layers:
    """What was measured: every part in order, the file's scores by the kernels that showed its values, what was not matched."""

    costs: tuple[LayerCost, ...]
    scores: "Array"
    kernels: str
    joined: tuple[str, ...]
    unmatched: tuple[str, ...]
    residual: float


@dataclass(frozen=True, eq=False)
class _Network:
    """The Keras model's graph, the same with a precision's rounding, and the parts between the values of a file."""

    exact: Instrumented
    rounded: Instrumented | None
    names: Mapping[str, str]
    parts: Sequence[Stretch]
    source: Source
    decision: Decision
    axes: dict[str, tuple[int, ...] | None] = field(default_factory=dict)


def measured_layers(source: Source, job: Job, shown: Tensors, decision: Decision) -> Layers:
    """Return what each part of a file adds to its difference from the Keras model, for the images of a job.

    Raises:
        EdgeError: no value of the file could be matched with the graph.
    """
    import numpy as np

    precision = job.artifact.precision or "float32"
    graph, scopes = written_for(source, precision), layers_by_scope(source)
    images = normalise(job.images(), source.spec.preprocessing)
    values = iter(shown.values)
    first = next(values)
    names = _usable(matched(first, graph, source.output), first, source.output)
    parts = [part for part in stretches(graph, names, scopes) if part.node != INPUT or shown.ranges.get(part.tensor)]
    with ExitStack() as stack:
        exact = stack.enter_context(instrumented(graph, {*names, INPUT, source.output}, source.output))
        rounded = None
        if precision in SIMULATIONS or precision in PALETTES:
            changed, changes = simulated(source, precision, graph)
            rounded = stack.enter_context(instrumented(changed, {*names, INPUT, source.output}, source.output, changes))
        # What a palette rounds to is drawn: its size is known, not its sign.
        network = _Network(exact, rounded, names, parts, source, decision)
        sums = {part.node: Sums(held=shown.ranges.get(part.tensor)) for part in parts}
        scores, residual = [], []
        for batch, seen in _batches(_chain(first, values), images):
            found = _one_batch(network, sums, seen, batch)
            scores.append(found[0])
            residual.append(found[1])
    costs = tuple(sums[part.node].as_cost(part, is_predicted=rounded is not None) for part in parts)
    left = tuple(name for name in first if name not in names.values())
    return Layers(
        costs,
        np.concatenate(scores),
        shown.kernels,
        unmatched(graph, parts, scopes),
        left,
        float(np.concatenate(residual).mean()),
    )


def _chain(first: "Values", rest: "Iterator[Values]") -> "Iterator[Values]":
    yield first
    yield from rest


def _usable(names: Mapping[str, str], first: "Values", output: str) -> dict[str, str]:
    if output not in names:
        raise EdgeError(
            "EF-explain-unmatched",
            f"none of the file's tensors ({', '.join(list(first)[:5])} ...) is the model's output {output!r}; expected a file "
            "that edgeferry exported from this model. Export it again with `make export-all`.",
        )
    return dict(names)


def _batches(values: "Iterator[Values]", images: "Array") -> "Iterator[tuple[list[Values], Array]]":
    at = 0
    first = next(values)
    size = max(1, min(LARGEST_BATCH, MOST_NUMBERS // max(1, sum(each.size for each in first.values()))))
    values = _chain(first, values)
    while batch := list(islice(values, size)):
        yield batch, images[at : at + len(batch)]
        at += len(batch)


def _one_batch(network: _Network, sums: dict[str, Sums], images: "Array", batch: "list[Values]") -> "tuple[Array, Array]":
    """Add a batch to the sums; return the file's scores, and what the errors of all parts leave of each image's difference."""
    import numpy as np

    meant = network.exact.values(images)
    found = _found(network, stacked(batch, network.names), meant)
    computed = network.exact.recomputed(images, found)
    predicted = None if network.rounded is None else network.rounded.recomputed(images, found)
    for part in network.parts:
        node, ours = part.node, sums[part.node]
        ours.images += len(images)
        ours.add_values(meant[node], found[node], computed[node], None if predicted is None else predicted[node])
        starts = [name for name in part.starts if name in found]
        ours.entering += sum(square(found[name] - meant[name]) for name in starts)
        ours.entering_meant += sum(square(meant[name]) for name in starts)
    errors = {name: found[name] - computed[name] for name in found}
    left = {name: unexplained(found[name], computed[name], None if predicted is None else predicted[name]) for name in found}
    together = _effects(network, sums, images, meant, (errors, left))
    output = network.source.output
    seen = probabilities_of(found[output], output)
    return found[output], np.abs(together - seen).max(axis=1)


def _found(network: _Network, values: "dict[str, Array]", meant: "Values") -> "dict[str, Array]":
    ordered = {name: laid_out(each, meant[name], network.axes, name) for name, each in values.items()}
    return {name: each for name, each in ordered.items() if each is not None}


def _effects(
    network: _Network, sums: dict[str, Sums], images: "Array", meant: "Values", errors: "tuple[Values, Values]"
) -> "Array":
    """Add what each error alone does, and which answers come back without it; return the probabilities with all errors."""
    import numpy as np

    output, decision = network.source.output, network.decision

    def probabilities(added: "Values") -> "Array":
        return probabilities_of(network.exact.scores(images, added), output)

    exact = probabilities_of(meant[output], output)
    every = {name: error for name, error in errors[0].items() if error.any()}
    together = probabilities(every)
    answers = decision.answers(exact)
    flipped = (decision.answers(together) != answers).any(axis=1)
    for part in network.parts:
        node, ours = part.node, sums[part.node]
        if node not in every:
            continue
        alone = np.abs(probabilities({node: every[node]}) - exact).max(axis=1).sum()
        left = errors[1][node]
        same = left is errors[0][node] or not (left - errors[0][node]).any()
        ours.effect += float(alone)
        ours.unexplained_effect += float(alone if same else np.abs(probabilities({node: left}) - exact).max(axis=1).sum())
        ours.flipped += int(flipped.sum())
        if flipped.any():
            rest = probabilities({name: error for name, error in every.items() if name != node})
            ours.restored += int((flipped & (decision.answers(rest) == answers).all(axis=1)).sum())
    return together
