# SPDX-License-Identifier: Apache-2.0
"""The classifier as one constant graph: traced, folded and frozen once, then passed to every converter.

Each converter's public API traces and freezes the model again; for TF Lite that takes nine tenths of the conversion time.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.decision import probabilities_of
from edgeferry.models.golden.scores import keras_scores
from edgeferry.models.keras_loader import classifier
from edgeferry.models.reference import CALIBRATION, PIXELS, SCORES, Reference, read_reference
from edgeferry.models.system.errors import EdgeError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tensorflow.core.framework.graph_pb2 import GraphDef

INPUT: Final = "image"
# Folding reorders float32 arithmetic; a trained network's probabilities change by about 1e-6, a mistake changes them by tenths.
FOLD_TOLERANCE: Final = 1e-4
LOOPS: Final = ("While", "StatelessWhile")

# What became of batch normalisation: "rejected" where folding changes the outputs too much, "off" where the config disables it.
Folding = Literal["folded", "nothing to fold", "rejected", "off"]


# Equal only to itself, so that results computed from it can be cached.
@dataclass(frozen=True, eq=False)
class Source:
    """The classifier that every exporter starts from.

    ``graph`` takes ``image``, float32, [batch, height, width, channels], normalised as the config specifies; its output is the
    node named by ``output``, [batch, classes]. ``single`` is the same model traced for one image, set where the model has loops:
    the shape of their state depends on the batch size, and no converter can lower a loop whose batch size is unknown.
    ``folding`` is what became of batch normalisation in ``graph``.
    """

    spec: ModelSpec
    reference: Reference
    folder: Path
    graph: "GraphDef"
    notes: tuple[str, ...]
    single: "GraphDef | None" = None
    folding: Folding = "off"

    @property
    def output(self) -> str:
        """Return the name of the graph's output: 'probabilities' or 'logits'."""
        return self.reference.output

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return height, width and channels."""
        how = self.spec.preprocessing
        return how.height, how.width, how.channels

    @property
    def classes(self) -> int:
        """Return the number of classes."""
        return len(self.spec.labels)

    def graph_of(self, batch: int | None) -> "GraphDef":
        """Return the graph for one batch size, or for any batch size (None)."""
        import tensorflow as tf

        graph = tf.compat.v1.GraphDef()
        graph.CopyFrom(self.single if batch == 1 and self.single is not None else self.graph)
        image = next(node for node in graph.node if node.name == INPUT)
        image.attr["shape"].shape.CopyFrom(tf.TensorShape((batch, *self.shape)).as_proto())
        for node in graph.node:
            # Shapes recorded while tracing have an unknown batch size.
            node.attr.pop("_output_shapes", None)
        return graph

    def function(self, batch: int | None) -> Any:
        """Return the graph as a TensorFlow ConcreteFunction."""
        return function_of(self.graph_of(batch), self.output)

    @cached_property
    def calibration(self) -> "NDArray[np.uint8]":
        """Return the calibration pixels, [count, height, width, channels].

        Raises:
            EdgeError: the config names no calibration images.
        """
        import numpy as np

        path = self.folder / CALIBRATION
        if not path.is_file():
            raise EdgeError(
                "EF-calibration-missing",
                f"{self.spec.path}: data.calibration is not set, and an int8 artifact needs images to find its ranges. "
                "Set it to a folder with 100 to 500 typical images, none of them golden.",
            )
        pixels: NDArray[np.uint8] = np.load(path)
        return pixels


def read_source(spec: ModelSpec, folder: Path) -> Source:
    """Return the frozen classifier, checked against its reference in ``folder``.

    Raises:
        EdgeError: the folder holds no reference, or the frozen graph's outputs differ from the Keras model's.
    """
    import numpy as np

    from edgeferry.exporters.graph.float_error import explained_by_float32
    from edgeferry.exporters.graph.fold import fold_batchnorm
    from edgeferry.exporters.graph.run import running

    reference = read_reference(folder)
    if reference is None:
        raise EdgeError("EF-reference-missing", f"{folder} holds no reference; `edgeferry export {spec.path}` makes it.")
    plain = _frozen(spec, reference.output, None)
    loops = any(node.op in LOOPS for node in plain.node)
    single = _frozen(spec, reference.output, 1) if loops else None
    pixels = np.load(folder / PIXELS, mmap_mode="r")
    scores = np.load(folder / SCORES)

    def difference(graph: "GraphDef") -> float:
        with running(graph, reference.output) as run:
            outputs = keras_scores(run, pixels, spec)
        return float(np.abs(probabilities_of(outputs, reference.output) - scores).max())

    folded, count = fold_batchnorm(plain, reference.output) if spec.options.fold_batchnorm else (plain, 0)
    source = Source(spec, reference, folder, plain, (), single, "nothing to fold" if spec.options.fold_batchnorm else "off")
    change, most = difference(folded), FOLD_TOLERANCE
    if change > most:
        most = max(most, explained_by_float32(source, pixels))
    if count and change <= most:
        note = f"{count} batch normalisations folded into weights; outputs changed by at most {change:.1e}"
        single = fold_batchnorm(single, reference.output)[0] if single is not None else None
        return replace(source, graph=folded, notes=(note, *_sensitive(change)), single=single, folding="folded")
    if count:
        note = f"batch normalisation not folded: outputs would change by {change:.1e}, more than {most:.0e}"
        source, change = replace(source, notes=(note,), folding="rejected"), difference(plain)
    if change > most:
        raise EdgeError(
            "EF-graph-differs",
            f"{spec.model}: the outputs of its frozen graph differ from the Keras model's by {change:.1e}, more than "
            f"{most:.0e}. Remove layers that draw random numbers at inference or keep a state between calls.",
        )
    return replace(source, notes=(*source.notes, *_sensitive(change)))


def _sensitive(change: float) -> tuple[str, ...]:
    if change <= FOLD_TOLERANCE:
        return ()
    return (f"the model is sensitive: another order of float32 additions changes a probability by {change:.1e}",)


def traced_again(source: Source) -> Source:
    """Return the classifier frozen again from the Keras model as it is in memory, folded as ``source`` is, unchecked."""
    from edgeferry.exporters.graph.fold import fold_batchnorm

    def frozen(batch: int | None) -> "GraphDef":
        plain = _frozen(source.spec, source.output, batch)
        return fold_batchnorm(plain, source.output)[0] if source.folding == "folded" else plain

    return replace(source, graph=frozen(None), single=None if source.single is None else frozen(1))


def without_loops(source: Source) -> Source:
    """Return the classifier with every recurrent layer unrolled, or the source itself where it has no loops.

    Raises:
        EdgeError: a loop is left; the message names it.
    """
    import keras

    from edgeferry.exporters.graph.fold import fold_batchnorm

    if source.single is None:
        return source
    # With sublayers: Bidirectional holds two recurrent layers.
    layers = classifier(source.spec)._flatten_layers()  # noqa: SLF001 - Keras has no public way to list all sublayers
    looping = [layer for layer in layers if isinstance(layer, keras.layers.RNN) and not layer.unroll]
    try:
        for layer in looping:
            layer.unroll = True
        graph = _frozen(source.spec, source.output, None)
    finally:
        for layer in looping:
            layer.unroll = False
    if left := [node.name for node in graph.node if node.op in LOOPS]:
        raise EdgeError(
            "EF-loop-not-unrolled",
            f"{left[0]} is a loop that cannot be unrolled; expected only Keras's recurrent layers, with a known sequence length.",
        )
    folded = fold_batchnorm(graph, source.output)[0] if source.folding == "folded" else graph
    return replace(source, graph=folded, single=None)


def _frozen(spec: ModelSpec, output: str, batch: int | None) -> "GraphDef":
    """Return the classifier as a graph of constants and operations, without calls, its nodes in the order of computation."""
    import keras
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    from edgeferry.exporters.graph.calls import inlined
    from edgeferry.exporters.graph.fold import reachable

    model, how = classifier(spec), spec.preprocessing

    image = tf.TensorSpec((batch, how.height, how.width, how.channels), tf.float32, name=INPUT)

    def predict(image: Any) -> Any:
        # Layers that augment update the state of their random numbers, even at inference: here without effect.
        with keras.StatelessScope():
            return _only(model(image, training=False))

    traced = tf.function(predict, input_signature=[image])
    frozen = convert_variables_to_constants_v2(traced.get_concrete_function(), lower_control_flow=False, aggressive_inlining=True)
    graph = frozen.graph.as_graph_def()
    for node in graph.node:
        # Such as swish's, whose gradient holds tensors of the graph that was traced: no graph of constants is trained.
        node.attr.pop("_gradient_op_type", None)
    named = graph.node.add(name=output, op="Identity", input=[frozen.outputs[0].name])
    named.attr["T"].type = tf.float32.as_datatype_enum
    return inlined(reachable(graph, output), output)


def function_of(graph: "GraphDef", output: str) -> Any:
    """Return a frozen graph as a TensorFlow ConcreteFunction from ``image`` to the named output."""
    import tensorflow as tf

    def imported() -> None:
        tf.graph_util.import_graph_def(graph, name="")

    wrapped = tf.compat.v1.wrap_function(imported, [])
    return wrapped.prune(
        feeds={INPUT: wrapped.graph.get_tensor_by_name(f"{INPUT}:0")},
        fetches={output: wrapped.graph.get_tensor_by_name(f"{output}:0")},
    )


def _only(output: Any) -> Any:
    return next(iter(output.values())) if isinstance(output, dict) else output[0] if isinstance(output, list | tuple) else output
