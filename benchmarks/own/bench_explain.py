# SPDX-License-Identifier: Apache-2.0
"""How often `edgeferry explain` names the stage or the layer that a single fault was planted in, first and among the first three.

``EDGEFERRY_EXPLAIN`` names a folder that keeps everything between runs, ``EDGEFERRY_EXPLAIN_FORMATS`` the formats, and
``EDGEFERRY_EXPLAIN_SECONDS`` is the time for each format of each classifier.
"""

import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from edgeferry.benchmarks.explain.result import Explained
from edgeferry.benchmarks.explain.run import Subject, Workshop, explained
from edgeferry.benchmarks.own.bench_gate import INTERVAL, MODELS
from edgeferry.benchmarks.own.gate_models import trained, trained_digits
from edgeferry.benchmarks.parity.bench import open_bench
from edgeferry.benchmarks.parity.judging.evidence import at_least, at_most
from edgeferry.benchmarks.selftest.fault import Fault, faults, random_of
from edgeferry.benchmarks.selftest.laboratory import EXPORT_TIMEOUT_S
from edgeferry.benchmarks.selftest.planting import link_build, plant
from edgeferry.exporters.export import export_all
from edgeferry.exporters.readers.tflite import read_graph
from edgeferry.exporters.readers.tflite_graph import FileOperation
from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.system.child import Child, ChildError
from edgeferry.models.system.errors import EdgeError
from edgeferry.targets.target import targets

TARGETS: Final = {
    "tflite-float32": "litert",
    "tflite-int8": "litert-builtin",
    "tflite-dynamic": "litert-builtin",
    "onnx-float32": "onnxruntime-cpu",
    "coreml-float16": "coreml-reference",
    "savedmodel": "keras",
    "tfjs-float32": "node-wasm",
}
FORMATS: Final = tuple(os.environ.get("EDGEFERRY_EXPLAIN_FORMATS", ",".join(TARGETS)).split(","))
SECONDS: Final = float(os.environ.get("EDGEFERRY_EXPLAIN_SECONDS", "300"))
# What each family of faults is to be found as; of the others, the layer.
STAGES: Final = {
    "labels": "labels",
    "channels": "preprocessing",
    "range": "preprocessing",
    "place": "preprocessing",
    "softmax": "output head",
}
HEADS: Final = ("biased class",)
PLACES: Final = ("first", "middle", "last")
# Families with faults in one place.
IN_A_LAYER: Final = (
    *("bias", "batch statistics", "noise", "training step", "channel weights", "channel scales", "zero points"),
    *("activation ranges", "integer bias", "integer weights"),
)
# A file as it is, whose difference is to be explained by rounding.
HONEST: Final = Fault("none", "none", shows="nowhere")
LEAST_FIRST: Final = 0.75
LEAST_OF_THREE: Final = 0.90


@dataclass(frozen=True)
class Planted:
    """One fault: how many answers it changes, how far its probabilities are, and the place of the guilty among the suspects.

    ``place`` is 1 for the first, None where it is not among them; ``layers`` is how many layers that suspect names.
    """

    model: str
    format: str
    family: str
    fault: str
    flips: int
    difference: float
    honest_flips: int
    honest_difference: float
    place: int | None
    layers: int
    found: tuple[str, ...]
    truth: str
    seconds: float

    @property
    def is_visible(self) -> bool:
        """Return whether it changes an answer, or probabilities by a fifth more than the sound file of the format."""
        return self.flips != self.honest_flips or self.difference > 1.2 * self.honest_difference + 1e-4


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that holds classifiers, artifacts and results."""
    named = os.environ.get("EDGEFERRY_EXPLAIN")
    return Path(named).absolute() if named else tmp_path_factory.mktemp("explain")


def bench_guilty_named(benchmark: Any, place: Path) -> None:
    """The fraction of planted single faults whose stage or layer is named, by format, with its interval."""
    found = benchmark.pedantic(lambda: [each for name in MODELS for each in results(place, name)], rounds=1)
    show(found)
    hold(found)


def results(place: Path, name: str) -> list[Planted]:
    """Return every trial on one classifier; those that are kept are not made again."""
    kept = place / "kept" / name
    if missing := [form for form in FORMATS if not (kept / f"{form}.jsonl").is_file()]:
        kind = MODELS[name]
        spec = (trained_digits(place / name) if kind is None else trained(kind, place / name)).spec
        build = place / "build" / name
        export_all(spec, build, FORMATS, lambda *_: None)
        kept.mkdir(parents=True, exist_ok=True)
        with opened(spec, build) as bench:
            for form in missing:
                trials = [json.dumps(asdict(each)) for each in planted(bench, form)]
                (kept / f"{form}.jsonl").write_text("\n".join(trials) + "\n", encoding="utf-8")
    lines = [line for form in FORMATS for line in (kept / f"{form}.jsonl").read_text(encoding="utf-8").splitlines() if line]
    return [Planted(**{**fields, "found": tuple(fields["found"])}) for line in lines for fields in [json.loads(line)]]


@dataclass(frozen=True)
class Garden:
    """A classifier's build folder, a scratch one for faulty files, and the processes that write and explain these."""

    spec: ModelSpec
    build: Path
    scratch: Path
    exporter: Child
    workshop: Workshop


@contextmanager
def opened(spec: ModelSpec, build: Path) -> Iterator[Garden]:
    """Yield what faults are planted in and explained with."""
    scratch = build.with_name(f"{build.name}-scratch")
    link_build(build, scratch)
    bench = open_bench(build, (), lambda *_: None, reuse=False)
    with Child() as runner, Child() as examiner, Child() as exporter, tempfile.TemporaryDirectory() as work:
        yield Garden(spec, build, scratch, exporter, Workshop(bench, spec, "", runner, examiner, Path(work)))


def planted(garden: Garden, form: str) -> Iterator[Planted]:
    """Yield what is found of each single fault in a format, in an order of chance, as long as there is time."""
    started, log = time.monotonic(), garden.workshop.log
    target = targets()[TARGETS[form]]
    honest = explained(garden.workshop, Subject(garden.build / form, target))
    yield judged(garden.build.name, HONEST, (honest, honest), ("stage quantization", "stage nothing"), 0.0)
    single = [each for each in faults().values() if is_single(each) and fits(each, form)]
    for at in random_of(form).permutation(len(single)):
        fault = single[at]
        if time.monotonic() - started > SECONDS:
            return
        places = (garden.build, garden.scratch)
        try:
            garden.exporter.call(plant, garden.spec, places, form, fault.name, log=log, timeout_s=EXPORT_TIMEOUT_S)
            truth = garden.exporter.call(guilty, garden.spec, places, form, fault.name, log=log)
        except (EdgeError, ChildError):
            continue
        begun = time.monotonic()
        found = explained(garden.workshop, Subject(garden.scratch / form, target))
        yield judged(garden.build.name, fault, (found, honest), truth, time.monotonic() - begun)


def is_single(fault: Fault) -> bool:
    """Return whether a fault is in one stage or one layer, and shows in the scores."""
    if fault.shows != "answers" or fault.family in {"stale", "container's program"}:
        return False
    if fault.family in STAGES or fault.family in HEADS:
        return True
    return fault.family in IN_A_LAYER and any(f"{each} layer" in fault.name for each in PLACES)


def fits(fault: Fault, form: str) -> bool:
    """Return whether a fault can be planted in a format; those with no kinds can in all."""
    return fault.kinds is None or bool(fault.kinds & {form, form.partition("-")[0]})


def guilty(spec: ModelSpec, places: tuple[Path, Path], form: str, fault_name: str) -> tuple[str, ...]:
    """Return the stages, layers or tensors that a fault is in, any of which is right."""
    from edgeferry.benchmarks.selftest.graph import head_of, layer_at
    from edgeferry.exporters import worker
    from edgeferry.exporters.graph.fold import node_of
    from edgeferry.exporters.graph.layers import innermost_layer, layers_by_scope

    fault = faults()[fault_name]
    if fault.family in STAGES:
        return (f"stage {STAGES[fault.family]}",)
    if fault.source is None:
        honest, faulty = (place / form / "model.tflite" for place in places)
        return tuple(f"tensor {each}" for each in changed_results(honest, faulty))
    source = worker.source_of(spec, places[0])
    scopes = layers_by_scope(source)
    if fault.family in HEADS:
        return ("stage output head", f"layer {innermost_layer(head_of(source.graph, source.classes).name, scopes)}")
    place = next(each for each in PLACES if f"{each} layer" in fault.name)
    if fault.family == "batch statistics":
        layers = [each for each in dict.fromkeys(scopes.values()) if each.startswith("batch_norm")]
        return (f"layer {layers[0]}",)
    linear = layer_at(source.graph, place).name
    # A bias that was folded belongs to the batch normalisation.
    readers = [node.name for node in source.graph.node if linear in map(node_of, node.input)] if fault.family == "bias" else []
    return tuple(f"layer {innermost_layer(each, scopes)}" for each in (linear, *readers))


def changed_results(honest: Path, faulty: Path) -> Iterator[str]:
    """Yield the results of operations whose constants, or whose own range, are not the same in two .tflite files.

    Integer biases are multiples of the scale of the operation's input: another range there is another bias too.
    """
    for one, other in zip(read_graph(honest).operations, read_graph(faulty).operations, strict=True):
        if _content(one) != _content(other):
            yield one.outputs[0].name


def _content(operation: FileOperation) -> list[Any]:
    constants = [each for each in operation.inputs if each is not None and each.constant_bytes]
    own = operation.outputs if operation.name != "QUANTIZE" else ()
    read = operation.inputs[0].scale if any(each.dtype == "int32" for each in constants) and operation.inputs[0] else None
    return [read, *((bytes(each.constant), bytes(each.all_scales), bytes(each.all_zero_points)) for each in (*constants, *own))]


def judged(model: str, fault: Fault, both: tuple[Explained, Explained], truth: Sequence[str], seconds: float) -> Planted:
    """Return a trial: where the guilty is among the suspects; ``both`` are the faulty file and the sound one, explained."""
    found, honest = both
    of_tensor = {each.tensor: each.layers for each in found.layers}
    layers = {each.removeprefix("layer ") for each in truth if each.startswith("layer ")}
    groups = [of_tensor[name] for each in truth if (name := each.removeprefix("tensor ")) in of_tensor]
    stages = {each.removeprefix("stage ") for each in truth if each.startswith("stage ")}
    right = [
        each.stage in stages or bool(layers & set(each.layers)) or any(set(group) <= set(each.layers) for group in groups)
        for each in found.suspects
    ]
    first = right.index(True) + 1 if True in right else None
    named = tuple(f"{each.stage}: {each.sentence}" for each in found.suspects[:3])
    size = len(found.suspects[first - 1].layers) if first else 0
    return Planted(
        *(model, found.format, fault.family, fault.name, found.flips, found.difference, honest.flips, honest.difference),
        *(first, size, named, ", ".join(truth), seconds),
    )


def show(found: Sequence[Planted]) -> None:
    """Print a line for each format and for all: faults that show, and those that flip an answer."""
    for form in (*dict.fromkeys(each.format for each in found), "all"):
        ours = [each for each in found if form in {"all", each.format} and each.is_visible]
        flipping = [each for each in ours if each.flips]
        seconds = sum(each.seconds for each in ours) / max(len(ours), 1)
        places = f"first {rate(ours, 1)}, of three {rate(ours, 3)}"
        harmful = f"flipping: first {rate(flipping, 1)}, of three {rate(flipping, 3)}"
        print(f"{form:16} {places}; {harmful}; {seconds:.1f} s each")  # noqa: T201 - the benchmark's result
    sound = [each for each in found if each.family == HONEST.family]
    print(f"sound files explained by rounding: {rate(sound, 1)}")  # noqa: T201 - the benchmark's result
    for each in found:
        if each.is_visible and (each.place is None or each.place > 3):
            missed = f"{each.model} {each.format}: {each.fault}: {each.truth}; said {each.found[:1]}"
            print(f"missed: {missed}")  # noqa: T201 - the benchmark's result


def rate(found: Sequence[Planted], most: int) -> str:
    """Return how many are named among the first so many, with Clopper and Pearson's 95 % interval."""
    if not found:
        return "-"
    named, count = _named(found, most), len(found)
    low, high = at_least(named, count, INTERVAL), at_most(named, count, INTERVAL)
    return f"{named}/{count} {named / count:.1%} [{100 * low:.1f}, {100 * high:.1f}]"


def hold(found: Sequence[Planted]) -> None:
    """Hold the figures to their limits, in every format."""
    visible = [each for each in found if each.is_visible]
    for form in {each.format for each in visible}:
        ours = [each for each in visible if each.format == form]
        assert _named(ours, 3) / len(ours) >= LEAST_OF_THREE, form
        assert _named(ours, 1) / len(ours) >= LEAST_FIRST, form


def _named(found: Sequence[Planted], most: int) -> int:
    return sum(each.place is not None and each.place <= most for each in found)
