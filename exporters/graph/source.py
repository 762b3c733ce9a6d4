# SPDX-License-Identifier: Apache-2.0
"""The classifier as one constant graph: traced, folded and frozen once, handed to every converter.

Each converter's public recipe traces and freezes for itself; for TF Lite that is nine tenths of its time.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.keras_loader import classifier
from edgeferry.models.reference import CALIBRATION, PIXELS, Reference, keras_scores, read_reference
from edgeferry.models.softmax import softmax
from edgeferry.models.system.errors import EdgeError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tensorflow.core.framework.graph_pb2 import GraphDef

INPUT: Final = "image"
# Folding reorders float32 arithmetic; a trained network's probabilities move by some 1e-6, a mistake moves them by tenths.
FOLD_TOLERANCE: Final = 1e-4
LOOPS: Final = ("While", "StatelessWhile")


# Equal to itself alone, so that what was made of it can be kept.
@dataclass(frozen=True, eq=False)
class Source:
    """What an exporter starts from.

    ``graph`` takes ``image``, float32, [batch, height, width, channels], normalised as the contract says, and answers the node
    named by ``output``, [batch, classes]. ``single`` is the same traced for one image, where the model has loops: their state
    has a shape that follows from the batch, and no converter can lower one that is open.
    """

    spec: ModelSpec
    reference: Reference
    folder: Path
    graph: "GraphDef"
    notes: tuple[str, ...]
    single: "GraphDef | None" = None

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
        """Return the graph for one batch size, or for any."""
        import tensorflow as tf

        graph = tf.compat.v1.GraphDef()
        graph.CopyFrom(self.single if batch == 1 and self.single is not None else self.graph)
        image = next(node for node in graph.node if node.name == INPUT)
        image.attr["shape"].shape.CopyFrom(tf.TensorShape((batch, *self.shape)).as_proto())
        for node in graph.node:
            # Shapes seen at tracing speak of an open batch.
            node.attr.pop("_output_shapes", None)
        return graph

    def function(self, batch: int | None) -> Any:
        """Return the graph as a TensorFlow ConcreteFunction."""
        return function_of(self.graph_of(batch), self.output)

    @cached_property
    def calibration(self) -> "NDArray[np.uint8]":
        """Return the calibration pixels, [count, height, width, channels].

        Raises:
            EdgeError: the contract names none.
        """
        import numpy as np

        path = self.folder / CALIBRATION
        if not path.is_file():
            raise EdgeError(
                f"{self.spec.path}: data.calibration is not set, and an int8 artifact needs images to find its ranges. "
                "Name a folder with some 100 to 500 typical images, none of them golden."
            )
        pixels: NDArray[np.uint8] = np.load(path)
        return pixels


def read_source(spec: ModelSpec, folder: Path) -> Source:
    """Return the classifier frozen, checked against its own reference in ``folder``.

    Raises:
        EdgeError: the reference is not there, or the frozen graph does not answer like the model.
    """
    import numpy as np

    from edgeferry.exporters.graph.fold import fold_batchnorm, fold_constants

    reference = read_reference(folder)
    if reference is None:
        raise EdgeError(f"{folder} holds no reference; make it with `python -m models reference {spec.path}`.")
    plain = fold_constants(_frozen(spec, reference.output, None), reference.output)
    loops = any(node.op in LOOPS for node in plain.node)
    single = fold_constants(_frozen(spec, reference.output, 1), reference.output) if loops else None
    pixels = np.load(folder / PIXELS, mmap_mode="r")
    scores = np.load(folder / "scores.npy")

    def difference(graph: "GraphDef") -> float:
        answer = function_of(graph, reference.output)
        answered = keras_scores(lambda batch: next(iter(answer(_tensor(batch)).values())), pixels, spec)
        return float(np.abs((softmax(answered) if reference.output == "logits" else answered) - scores).max())

    notes = []
    folded, count = fold_batchnorm(plain, reference.output) if spec.options.fold_batchnorm else (plain, 0)
    if count and (moved := difference(folded)) <= FOLD_TOLERANCE:
        notes.append(f"{count} batch normalisations folded into weights; answers moved by at most {moved:.1e}")
        single = fold_batchnorm(single, reference.output)[0] if single is not None else None
        return Source(spec, reference, folder, folded, tuple(notes), single)
    if count:
        notes.append(f"batch normalisation not folded: answers would move by {moved:.1e}, more than {FOLD_TOLERANCE:.0e}")
    if (moved := difference(plain)) > FOLD_TOLERANCE:
        raise EdgeError(
            f"{spec.model}: its frozen graph answers differently from Keras by {moved:.1e}; "
            "does a layer draw at random or keep a state?"
        )
    return Source(spec, reference, folder, plain, tuple(notes), single)


def without_loops(source: Source) -> Source:
    """Return the classifier with every recurrent layer written out step by step, where it has loops.

    Raises:
        EdgeError: a loop is left; it says which.
    """
    import keras

    from edgeferry.exporters.graph.fold import fold_batchnorm, fold_constants

    if source.single is None:
        return source
    # Sublayers are of interest too: Bidirectional holds two.
    layers = classifier(source.spec)._flatten_layers()  # noqa: SLF001 - no public walk goes as deep
    looping = [layer for layer in layers if isinstance(layer, keras.layers.RNN) and not layer.unroll]
    try:
        for layer in looping:
            layer.unroll = True
        graph = fold_constants(_frozen(source.spec, source.output, None), source.output)
    finally:
        for layer in looping:
            layer.unroll = False
    if left := [node.name for node in graph.node if node.op in LOOPS]:
        raise EdgeError(f"{left[0]} is a loop that is not written out: only Keras's recurrent layers are, of a known length.")
    folded = fold_batchnorm(graph, source.output)[0] if any("folded into weights" in note for note in source.notes) else graph
    return replace(source, graph=folded, single=None)


def _frozen(spec: ModelSpec, output: str, batch: int | None) -> "GraphDef":
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    model, how = classifier(spec), spec.preprocessing

    image = tf.TensorSpec((batch, how.height, how.width, how.channels), tf.float32, name=INPUT)
    answer = tf.function(lambda image: _only(model(image, training=False)), input_signature=[image])
    frozen = convert_variables_to_constants_v2(answer.get_concrete_function(), lower_control_flow=False, aggressive_inlining=True)
    graph = frozen.graph.as_graph_def()
    named = graph.node.add(name=output, op="Identity", input=[frozen.outputs[0].name])
    named.attr["T"].type = tf.float32.as_datatype_enum
    return graph


def function_of(graph: "GraphDef", output: str) -> Any:
    """Return a frozen graph as a TensorFlow ConcreteFunction from ``image`` to the output named."""
    import tensorflow as tf

    def imported() -> None:
        tf.graph_util.import_graph_def(graph, name="")

    wrapped = tf.compat.v1.wrap_function(imported, [])
    return wrapped.prune(
        feeds={INPUT: wrapped.graph.get_tensor_by_name(f"{INPUT}:0")},
        fetches={output: wrapped.graph.get_tensor_by_name(f"{output}:0")},
    )


def _tensor(batch: "NDArray[np.float32]") -> Any:
    import tensorflow as tf

    return tf.constant(batch)


def _only(answer: Any) -> Any:
    return next(iter(answer.values())) if isinstance(answer, dict) else answer[0] if isinstance(answer, list | tuple) else answer
