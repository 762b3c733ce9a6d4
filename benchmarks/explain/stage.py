# SPDX-License-Identifier: Apache-2.0
"""Which stage a difference comes from: hypotheses and layers, weighed by how much of the difference each accounts for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from edgeferry.benchmarks.explain.faulty import FLOAT_ERROR, is_faulty, is_severe
from edgeferry.benchmarks.explain.layers import Layers
from edgeferry.benchmarks.explain.outputs import Fit
from edgeferry.benchmarks.explain.result import LayerCost, Stage, Suspect
from edgeferry.benchmarks.report.words import difference, percent, times
from edgeferry.exporters.graph.fold import LINEAR
from edgeferry.exporters.graph.simulation.structure import PASSING, SAME_SCALE

# A hypothesis accounts for at least this part of a difference, a layer for this.
LEAST_OF_FIT: Final = 0.6
LEAST_OF_LAYER: Final = 0.05
# A hypothesis is simpler than a layer, which can compute anything: it comes first where it accounts for nearly as much.
SIMPLER: Final = 0.3
# An image that is not the one a file sees leaves more of the error of its first layer.
MOST_LEFT_IN_LAYER: Final = 0.3
# What is wrong there shows in the last layer with weights, or after it.
AT_THE_END: Final = ("labels", "output head")
# Where a difference is at most so many times what the precision explains, no other stage is looked for.
EXPLAINED: Final = 1.2
# Differences of probabilities that say nothing.
NO_DIFFERENCE: Final = 1e-6
SUSPECTS: Final = 5
# Operations that integers of one range go through as they are.
COPYING: Final = PASSING | SAME_SCALE


@dataclass(frozen=True)
class Evidence:
    """All that is known of a difference.

    ``difference`` is the mean over golden images, ``of_layers`` over the images that layers and inputs were examined on;
    ``expected`` is what the precision explains, 0 where it is not known. ``by_kernels`` is the mean difference of the target from
    the kernels that showed the layers, ``of_kernels`` theirs from the Keras model; None where they are the target's own.
    """

    of_layers: float
    layers: Layers | None
    target: str
    difference: float = 0.0
    expected: float = 0.0
    fits: Sequence[Fit] = ()
    by_kernels: float | None = None
    of_kernels: float | None = None
    head: tuple[str, ...] = ()


def suspects_of(evidence: Evidence) -> tuple[Suspect, ...]:
    """Return what a difference is likely to come from, the likeliest first."""
    if evidence.difference < NO_DIFFERENCE:
        return (Suspect("nothing", (), "its probabilities are the Keras model's", 1.0),)
    weighed = [(each.explained + SIMPLER, each) for each in (*_kernels(evidence), *_fits(evidence))]
    weighed += [(each.explained, each) for each in _faulty(evidence)]
    named = [each for _, each in sorted(weighed, key=lambda pair: -pair[0])]
    known = {each.layers for each in named}
    found = (*named, *(each for each in _rounding(evidence) if each.layers not in known))[:SUSPECTS]
    return found or (_unmeasured(evidence),)


def _unmeasured(evidence: Evidence) -> Suspect:
    """Return what is left to say where layers were not compared and no hypothesis fits."""
    if evidence.difference <= EXPLAINED * evidence.expected:
        known = f"{difference(evidence.expected)} of {difference(evidence.difference)}"
        sentence = f"its precision explains {known}; by which layers is not known"
        return Suspect("quantization", (), sentence, 1.0)
    return Suspect("unknown", (), "no hypothesis explains it, and its layers could not be compared", 0.0)


def _kernels(evidence: Evidence) -> Iterator[Suspect]:
    apart, own = evidence.by_kernels, evidence.of_kernels
    if apart is None or own is None or evidence.layers is None or own > evidence.of_layers / 2 or apart < evidence.of_layers / 2:
        return
    yield Suspect(
        "runtime kernel",
        (),
        f"the same file computed by {evidence.layers.kernels} differs from Keras by {difference(own)}, by {evidence.target} by "
        f"{difference(evidence.of_layers)}",
        1 - own / evidence.of_layers,
    )


def _fits(evidence: Evidence) -> Iterator[Suspect]:
    """Yield the best hypothesis of each stage that explains enough, and that the layers do not speak against."""
    best: dict[Stage, Suspect] = {}
    if evidence.layers is None and evidence.difference <= EXPLAINED * evidence.expected:
        return
    for fit in evidence.fits:
        whole = evidence.of_layers if fit.stage == "preprocessing" else evidence.difference
        explained = _explained(fit, whole, evidence)
        layers = evidence.head if fit.stage == "output head" else ()
        sentence = f"{fit.sentence}: that leaves {difference(max(fit.left, 0.0))} of the mean difference of {difference(whole)}"
        if explained >= LEAST_OF_FIT and (fit.stage not in best or explained > best[fit.stage].explained):
            best[fit.stage] = Suspect(fit.stage, layers, sentence, explained)
    yield from best.values()


def _explained(fit: Fit, whole: float, evidence: Evidence) -> float:
    """Return the part of a difference, without what the precision explains, that a hypothesis does; 0 where layers refuse it."""
    if fit.left_in_layer is not None:
        return 1 - fit.left_in_layer if fit.left_in_layer < MOST_LEFT_IN_LAYER and fit.left < whole else 0.0
    costs = _costs(evidence)
    last = max((at for at, cost in enumerate(costs) if set(cost.operations) & set(LINEAR)), default=0)
    if costs and fit.stage in AT_THE_END and not any(is_faulty(cost) for cost in costs[last:]):
        return 0.0
    return min(1.0, (whole - fit.left) / max(whole - min(evidence.expected, 0.9 * whole), NO_DIFFERENCE))


def _faulty(evidence: Evidence) -> Iterator[Suspect]:
    for cost in _costs(evidence):
        explained = min(1.0, cost.unexplained_effect / max(evidence.of_layers, NO_DIFFERENCE))
        if is_faulty(cost) and (explained >= LEAST_OF_LAYER or is_severe(cost)):
            maker = _other_range(cost, evidence)
            if maker is None:
                yield Suspect("layer", cost.layers, _sentence(cost), explained)
            else:
                yield Suspect("layer", (*maker.layers, *cost.layers), _ranges_differ(maker, cost), explained)


def _other_range(cost: LayerCost, evidence: Evidence) -> LayerCost | None:
    """Return the part whose integers another only copies or compares, where the file says that the two have another range."""
    costs = () if evidence.layers is None else evidence.layers.costs
    maker = next((each for each in costs if cost.starts == (each.node,)), None)
    if maker is None or maker.file_range is None or cost.file_range is None or not set(cost.operations) <= COPYING:
        return None
    return None if maker.file_range == cost.file_range else maker


def _ranges_differ(maker: LayerCost, cost: LayerCost) -> str:
    ranges = [f"{low:.4g} to {high:.4g}" for low, high in (each.file_range or (0.0, 0.0) for each in (maker, cost))]
    return (
        f"{cost.name} copies the integers of {maker.name}, which are {ranges[0]} in the file, as {ranges[1]}: one of the two "
        f"ranges is wrong; that changes probabilities by {difference(cost.unexplained_effect)}"
    )


def _sentence(cost: LayerCost) -> str:
    expected = cost.error_expected
    much = (
        f"an error of {percent(cost.error_added)}" if cost.error_added < 1 else f"an error {times(cost.error_added)} its values"
    )
    ratio = f", {times(cost.error_added / expected)} what its precision explains" if expected and expected > FLOAT_ERROR else ""
    channel = cost.worst_channels[0] if cost.worst_channels and cost.worst_channels[0].share > 0.5 else None
    where = f", {percent(channel.share)} of it in channel {channel.channel}" if channel else ""
    clips = f"; {percent(cost.clipped)} of its values are beyond its range" if cost.clipped > 1e-3 else ""
    alone = f"; alone it changes probabilities by {difference(cost.unexplained_effect)}"
    return f"{cost.name} adds {much}{ratio}{where}{clips}{alone}"


def _rounding(evidence: Evidence) -> Iterator[Suspect]:
    """Yield the layers whose rounding costs most."""
    for cost in sorted(_costs(evidence), key=lambda each: -each.effect):
        explained = min(1.0, cost.effect / max(evidence.of_layers, NO_DIFFERENCE))
        clips = f"; {percent(cost.clipped)} of its values are beyond its range" if cost.clipped > 1e-3 else ""
        alone = f"alone it changes probabilities by {difference(cost.effect)}"
        yield Suspect("quantization", cost.layers, f"rounding in {cost.name}: {alone}{clips}", explained)


def _costs(evidence: Evidence) -> Sequence[LayerCost]:
    return () if evidence.layers is None else [each for each in evidence.layers.costs if each.effect > 0]
