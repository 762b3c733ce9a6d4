# SPDX-License-Identifier: Apache-2.0
"""The layers of an artifact against the Keras model's, in one child process: the file's values, and the graph fed with them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Final

from edgeferry.benchmarks.explain.layout import laid_out, stacked
from edgeferry.benchmarks.explain.matching import Stretch, matched, stretches, unmatched
from edgeferry.benchmarks.explain.renamed import renamed
from edgeferry.benchmarks.explain.result import LayerCost
from edgeferry.benchmarks.explain.sums import Sums, square, unexplained
from edgeferry.exporters.graph.fold import LINEAR
from edgeferry.exporters.graph.instrumented import Instrumented, instrumented
from edgeferry.exporters.graph.layers import layers_by_scope
from edgeferry.exporters.graph.simulation.simulation import PALETTES, SIMULATIONS, simulated, written_for
from edgeferry.exporters.graph.source import INPUT, Source
from edgeferry.models.decision import probabilities_of
from edgeferry.models.preprocessing import normalise
from edgeferry.models.system.errors import EdgeError
from edgeferry.targets.target import Job, Tensors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tensorflow.core.framework.graph_pb2 import GraphDef

    Array = NDArray[np.float32]
    Values = Mapping[str, Array]

# So many numbers of one array for all values of a batch are held at a time; there are about six such arrays.
MOST_NUMBERS: Final = 8_000_000
LARGEST_BATCH: Final = 32
# A layer that alone changes probabilities by less than this part of the difference is not restored: it causes hardly a flip.
RESTORED: Final = 0.1


@dataclass(frozen=True)
class Layers:
    """What was measured: every part in order, the file's scores by the kernels that showed its values, what was not matched.

    ``left_in_first`` is, for each hypothesis about the images, what it leaves of the error of the first layer with weights.
    """

    costs: tuple[LayerCost, ...]
    scores: "Array"
    kernels: str
    joined: tuple[str, ...]
    unmatched: tuple[str, ...]
    residual: float
    left_in_first: tuple[float, ...] = ()


@dataclass(frozen=True, eq=False)
class _Network:
    """The Keras model's graph, the same with a precision's rounding, and the parts between the values of a file."""

    exact: Instrumented
    rounded: Instrumented | None
    names: Mapping[str, str]
    parts: Sequence[Stretch]
    source: Source
    axes: dict[str, tuple[int, ...] | None] = field(default_factory=dict)

    @property
    def first(self) -> str | None:
        """Return the node that the first part with weights ends in."""
        return next((part.node for part in self.parts if set(part.operations) & set(LINEAR)), None)


@dataclass
class _Tally:
    """The sums of each part and of each hypothesis, and the file's scores with what all errors leave of them, by batch."""

    parts: dict[str, Sums]
    hypotheses: list[Sums]
    scores: "list[Array]" = field(default_factory=list)
    residual: "list[Array]" = field(default_factory=list)


def measured_layers(source: Source, job: Job, shown: Tensors, changed: "Sequence[Array]") -> Layers:
    """Return what each part of a file adds to its difference from the Keras model, for the images of a job.

    ``changed`` are those images as hypotheses have them.

    Raises:
        EdgeError: no value of the file could be matched with the graph.
    """
    precision = job.artifact.precision or "float32"
    graph, scopes = written_for(source, precision), layers_by_scope(source)
    values = iter(shown.values)
    first = next(values)
    names = _usable(matched(first, graph, source.output), first, source.output)
    parts = _parts(graph, names, scopes, shown)
    read = {*names, INPUT, source.output}
    with ExitStack() as stack:
        exact = stack.enter_context(instrumented(graph, read, source.output))
        rounded = None
        if precision in SIMULATIONS or precision in PALETTES:
            rounding, changes = simulated(source, precision, graph)
            rounded = stack.enter_context(instrumented(rounding, read, source.output, changes))
        images = normalise(job.images(), source.spec.preprocessing)
        others = _renamed(_Network(exact, rounded, names, parts, source), images[:1], first)
        names = {node: tensor for node, tensor in names.items() if node not in others}
        parts = _parts(graph, names, scopes, shown)
        network = _Network(exact, rounded, names, parts, source)
        tally = _Tally({part.node: Sums(held=shown.ranges.get(part.tensor)) for part in parts}, [Sums() for _ in changed])
        for at, batch in _batches(_chain(first, values)):
            place = slice(at, at + len(batch))
            _add_batch(network, tally, [each[place] for each in (images, *changed)], batch)
    left = tuple(name for name in first if name not in names.values())
    return _layers_of(network, tally, shown.kernels, (unmatched(graph, parts, scopes), left))


def _parts(graph: "GraphDef", names: Mapping[str, str], scopes: Mapping[str, str], shown: Tensors) -> list[Stretch]:
    """Return the parts of a network; its input is one where the file rounds it."""
    return [part for part in stretches(graph, names, scopes) if part.node != INPUT or shown.ranges.get(part.tensor)]


def _renamed(network: _Network, images: "Array", first: "Values") -> frozenset[str]:
    meant = network.exact.values(images)
    return renamed(network.exact, network.parts, images, _found(network, stacked([first], network.names), meant))


def _layers_of(network: _Network, tally: _Tally, kernels: str, others: tuple[tuple[str, ...], tuple[str, ...]]) -> Layers:
    import numpy as np

    is_predicted = network.rounded is not None
    costs = tuple(tally.parts[part.node].as_cost(part, is_predicted=is_predicted) for part in network.parts)
    left = tuple((each.leaving / each.added) ** 0.5 if each.added else 1.0 for each in tally.hypotheses)
    scores, residual = np.concatenate(tally.scores), float(np.concatenate(tally.residual).mean())
    return Layers(costs, scores, kernels, *others, residual, left if network.first else ())


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


def _batches(values: "Iterator[Values]") -> "Iterator[tuple[int, list[Values]]]":
    """Yield the values of so many images as fit into memory, and the number of the first of them."""
    at = 0
    first = next(values)
    size = max(1, min(LARGEST_BATCH, MOST_NUMBERS // max(1, sum(each.size for each in first.values()))))
    values = _chain(first, values)
    while batch := list(islice(values, size)):
        yield at, batch
        at += len(batch)


def _add_batch(network: _Network, tally: _Tally, pictures: "Sequence[Array]", batch: "list[Values]") -> None:
    """Add a batch of images, and of the same as hypotheses have them, to the sums."""
    import numpy as np

    images, *changed = pictures
    meant = network.exact.values(images)
    found = _found(network, stacked(batch, network.names), meant)
    computed = network.exact.recomputed(images, found)
    predicted = None if network.rounded is None else network.rounded.recomputed(images, found)
    for part in network.parts:
        node, ours = part.node, tally.parts[part.node]
        ours.images += len(images)
        ours.add_values(meant[node], found[node], computed[node], None if predicted is None else predicted[node])
        starts = [name for name in part.starts if name in found]
        ours.entering += sum(square(found[name] - meant[name]) for name in starts)
        ours.entering_meant += sum(square(meant[name]) for name in starts)
    if network.first is not None:
        for hypothesis, each in zip(tally.hypotheses, changed, strict=True):
            hypothesis.added += square(found[network.first] - meant[network.first])
            hypothesis.leaving += _left(network, network.first, found[network.first], each)
    errors = {name: found[name] - computed[name] for name in found}
    left = {name: unexplained(found[name], computed[name], None if predicted is None else predicted[name]) for name in found}
    together = _effects(network, tally.parts, (images, meant), (errors, left))
    scores = found[network.source.output]
    tally.scores.append(scores)
    tally.residual.append(np.abs(together - probabilities_of(scores, network.source.output)).max(axis=1))


def _left(network: _Network, node: str, found: "Array", images: "Array") -> float:
    """Return what is left of a value's error where the Keras model sees other images, rounded or not: rounding may clip them."""
    networks = [each for each in (network.exact, network.rounded) if each is not None]
    return min(square(found - each.value(node, images)) for each in networks)


def _found(network: _Network, values: "dict[str, Array]", meant: "Values") -> "dict[str, Array]":
    ordered = {name: laid_out(each, meant[name], network.axes, name) for name, each in values.items()}
    return {name: each for name, each in ordered.items() if each is not None}


def _effects(network: _Network, sums: dict[str, Sums], seen: "tuple[Array, Values]", errors: "tuple[Values, Values]") -> "Array":
    """Add what each error alone does, and which answers come back without it; return the probabilities with all errors."""
    import numpy as np

    output, decision = network.source.output, network.source.reference.decision
    images, meant = seen

    def probabilities(added: "Values") -> "Array":
        return probabilities_of(network.exact.scores(images, added), output)

    exact = probabilities_of(meant[output], output)
    every = {name: error for name, error in errors[0].items() if error.any()}
    together = probabilities(every)
    answers = decision.answers(exact)
    flipped = (decision.answers(together) != answers).any(axis=1)
    least = RESTORED * float(np.abs(together - exact).max(axis=1).mean())
    for part in network.parts:
        node, ours = part.node, sums[part.node]
        if node not in every:
            continue
        alone = float(np.abs(probabilities({node: every[node]}) - exact).max(axis=1).mean())
        ours.effect += alone * len(images)
        # Each of these is a pass through the whole network.
        if ours.is_faulty():
            left = np.abs(probabilities({node: errors[1][node]}) - exact).max(axis=1).sum()
            ours.unexplained_effect += float(left)
        ours.flipped += int(flipped.sum())
        if flipped.any() and alone >= least:
            rest = probabilities({name: error for name, error in every.items() if name != node})
            ours.restored += int((flipped & (decision.answers(rest) == answers).all(axis=1)).sum())
    return together
