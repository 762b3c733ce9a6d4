# SPDX-License-Identifier: Apache-2.0
"""What was found of an artifact that differs from the Keras model: the likely stages, and what each layer adds."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

from edgeferry.models.system.files import read_record, write_json

# History: 1, the first. Its JSON Schema is explain.schema.json.
SCHEMA: Final = 1
EXPLAIN: Final = "explain.json"
WRITER: Final = "edgeferry explain"

# labels: classes in another order. preprocessing: the artifact sees another image. output head: what becomes of the logits.
# runtime kernel: the file is right, and what runs it is not. layer: one computes something else than its precision explains.
# quantization: rounding to the precision explains it, and the layer is where it costs most. nothing: there is no difference.
Stage = Literal["labels", "preprocessing", "output head", "runtime kernel", "layer", "quantization", "nothing", "unknown"]


@dataclass(frozen=True)
class Suspect:
    """A stage, or a layer, that a difference is likely to come from, with the evidence as a sentence.

    ``explained`` is the fraction of the mean difference that it accounts for, 0 to 1.
    """

    stage: Stage
    layers: tuple[str, ...]
    sentence: str
    explained: float


@dataclass(frozen=True)
class ChannelError:
    """A channel of a layer's result, by number, and its part of the layer's squared error, 0 to 1."""

    channel: int
    share: float


@dataclass(frozen=True)
class LayerCost:
    """What a part of a network, from one value that a file shows to the next, adds to the difference.

    ``layers`` are its Keras layers in order, ``operations`` what it computes, ``node`` the node of the graph and ``tensor`` the
    tensor of the file that it ends in; ``starts`` are the nodes that it begins with. Errors are root mean squares, divided by
    that of the Keras model's own values: ``error_in`` of what it begins with and ``error_out`` of its result, both against the
    Keras model; ``error_added`` of its result against the Keras layers run on what it received itself; ``error_expected`` is
    what rounding to the precision adds there, None where that is not known, and ``error_unexplained`` what is left. ``effect``
    is the mean over images of the largest change of any probability where the Keras model has this error alone,
    ``unexplained_effect`` where it has what is left of it alone, 0 where that is no more than rounding. ``flips_caused`` is the
    fraction of the images with another class that have the Keras model's again without this error. ``channel_excess`` is what
    the precision leaves of the error of the worst channel, as a multiple of what it explains there, None where it explains
    nothing. ``value_range`` holds the Keras model's least and greatest value, ``file_range`` what the file's tensor can hold,
    ``clipped`` the fraction of values beyond.
    """

    layers: tuple[str, ...]
    operations: tuple[str, ...]
    node: str
    tensor: str
    starts: tuple[str, ...]
    error_in: float
    error_added: float
    error_out: float
    error_expected: float | None
    error_unexplained: float
    effect: float
    unexplained_effect: float
    flips_caused: float | None
    worst_channels: tuple[ChannelError, ...]
    channel_excess: float | None
    value_range: tuple[float, float]
    file_range: tuple[float, float] | None
    clipped: float

    @property
    def name(self) -> str:
        """Return its first and its last layer."""
        if not self.layers:
            return self.node
        return self.layers[0] if len(self.layers) == 1 else f"{self.layers[0]} .. {self.layers[-1]}"


@dataclass(frozen=True)
class Explained:
    """One artifact on one target: what its difference is likely to come from, the likeliest first, and every layer in order.

    ``difference`` is the mean over golden images of the largest difference of any probability, ``flips`` how many have another
    class; ``expected_difference`` is what the precision alone explains, None where it is not known. Layers were measured on
    ``layer_images`` images by ``kernels``; where they were not, ``layers`` is empty and ``problem`` says why. ``joined_layers``
    are those whose results the file does not show, so that they are counted with the next; ``unmatched_tensors`` tensors of the
    file that are no value of the Keras model. ``residual`` is what the errors of all layers together leave of the difference.
    """

    format: str
    target: str
    outcome: str
    images: int
    difference: float
    flips: int
    expected_difference: float | None
    stage: Stage
    suspects: tuple[Suspect, ...]
    layers: tuple[LayerCost, ...] = ()
    layer_images: int = 0
    kernels: str = ""
    joined_layers: tuple[str, ...] = ()
    unmatched_tensors: tuple[str, ...] = ()
    residual: float | None = None
    problem: str = ""
    artifact_sha256: str = ""


@dataclass(frozen=True)
class Explanation:
    """What was found of a model's artifacts, ``build/<model>/explain.json``."""

    model: str
    source_sha256: str
    created: str
    seconds: float
    results: tuple[Explained, ...]

    def as_json(self) -> dict[str, Any]:
        """Return what explain.json holds, and ``edgeferry explain --json`` prints."""
        return {"schema": SCHEMA, **asdict(self)}


def write_explanation(found: Explanation, folder: Path) -> Path:
    """Write explain.json into a model's build folder; return its path."""
    write_json(folder / EXPLAIN, found.as_json())
    return folder / EXPLAIN


def read_explanation(folder: Path) -> Explanation:
    """Return the explanation that a build folder holds.

    Raises:
        EdgeError: there is none, it is damaged, or of another schema.
    """
    return read_record(folder / EXPLAIN, SCHEMA, _explanation_of, "an explanation", WRITER)


def _explanation_of(data: dict[str, Any]) -> Explanation:
    return Explanation(**{**data, "results": tuple(map(_explained_of, data["results"]))})


def _explained_of(data: dict[str, Any]) -> Explained:
    suspects = tuple(Suspect(**{**each, "layers": tuple(each["layers"])}) for each in data["suspects"])
    lists = {name: tuple(data[name]) for name in ("joined_layers", "unmatched_tensors")}
    return Explained(**{**data, **lists, "suspects": suspects, "layers": tuple(map(_layer_of, data["layers"]))})


def _layer_of(data: dict[str, Any]) -> LayerCost:
    lists = {name: tuple(data[name]) for name in ("layers", "operations", "starts", "value_range")}
    channels = tuple(ChannelError(**each) for each in data["worst_channels"])
    held = None if data["file_range"] is None else tuple(data["file_range"])
    return LayerCost(**{**data, **lists, "worst_channels": channels, "file_range": held})
