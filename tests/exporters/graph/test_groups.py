# SPDX-License-Identifier: Apache-2.0
"""Grouped convolutions of a trained network like ResNeXt, split; run on runtimes without grouped convolutions."""

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from edgeferry.exporters.graph import groups
from edgeferry.exporters.graph.groups import split_groups, without_groups
from edgeferry.exporters.graph.source import FOLD_TOLERANCE, Source, function_of, read_source
from edgeferry.exporters.lint.lint import lint
from edgeferry.exporters.readers.tflite import read_graph
from edgeferry.exporters.tflite import formats as tflite
from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.golden.reference_writer import make_reference
from edgeferry.models.image_labels import read_labels
from edgeferry.models.images import find_images, read_pixels
from edgeferry.models.preprocessing import normalise
from edgeferry.models.reference import PIXELS
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.places import ROOT
from edgeferry.targets.boards.tflite_runtime import TARGETS

RUN: Final = """\
import sys
import numpy as np
from tflite_runtime.interpreter import Interpreter
interpreter = Interpreter(sys.argv[1])
interpreter.allocate_tensors()
takes, gives = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
outputs = []
for image in np.load(sys.argv[2]):
    interpreter.set_tensor(takes, image[None])
    interpreter.invoke()
    outputs.append(interpreter.get_tensor(gives)[0].copy())
np.save(sys.argv[3], np.stack(outputs))
"""


def _train(spec: ModelSpec, images: Path) -> None:
    import keras
    from keras import layers

    keras.utils.set_random_seed(5)
    how, found = spec.preprocessing, find_images(images)
    image = keras.Input((how.height, how.width, how.channels))
    before = layers.Conv2D(16, 3, strides=2, padding="same", activation="relu", name="stem")(image)
    inner = layers.Conv2D(16, 3, padding="same", groups=4, use_bias=False, name="cardinality")(before)
    inner = layers.ReLU(6.0)(layers.BatchNormalization(momentum=0.8)(inner))
    joined = layers.Add()([before, layers.Conv2D(16, 1, name="widen")(inner)])
    deep = layers.Conv2D(32, 3, strides=2, padding="same", groups=16, activation="relu", name="each_alone")(joined)
    uneven = layers.Conv2D(32, 3, strides=(2, 1), groups=2, name="uneven")(deep)
    scores = layers.Dense(len(spec.labels), activation="softmax")(layers.GlobalAveragePooling2D()(uneven))
    model = keras.Model(image, scores, name="resnext")
    model.compile(optimizer=keras.optimizers.Adam(0.01), loss="sparse_categorical_crossentropy")
    # Built by the first step, it would have TensorFlow trace that step twice.
    model.optimizer.build(model.trainable_variables)
    inputs, classes = normalise(read_pixels(found, how), how), read_labels(found, spec.labels)
    model.fit(inputs, classes, batch_size=32, epochs=2, verbose=0)
    model.save(spec.model)


@pytest.fixture(scope="module")
def source(colours: ModelSpec, tmp_path_factory: pytest.TempPathFactory) -> Source:
    """Return a trained network with grouped convolutions, frozen."""
    folder = tmp_path_factory.mktemp("resnext")
    spec = replace(colours, name="resnext", model=folder / "resnext.keras")
    _train(spec, colours.model.parent / "train")
    make_reference(spec, folder / "reference")
    return read_source(spec, folder / "reference")


@pytest.fixture(scope="module")
def ungrouped(source: Source) -> tuple[Source, int]:
    """Return the network with its grouped convolutions split, and how many it had."""
    return without_groups(source)


@pytest.fixture(scope="module")
def exported(source: Source, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[str, ...]]:
    """Return its full-integer file and the exporter's notes on it."""
    folder = tmp_path_factory.mktemp("int8")
    return folder / "model.tflite", tflite.int8(source, folder).notes


def _scores(graph: Any, source: Source) -> Any:
    images = normalise(np.load(source.folder / PIXELS), source.spec.preprocessing)
    run = function_of(graph, source.output)
    return np.concatenate([next(iter(run(tf.constant(image[None])).values())).numpy() for image in images])


def test_the_split_network_predicts_like_keras(source: Source, ungrouped: tuple[Source, int]) -> None:
    split, count = ungrouped
    assert count == 3
    change = abs(_scores(split.graph, source) - np.load(source.folder / "scores.npy")).max()
    assert change <= FOLD_TOLERANCE / 10


def test_a_group_of_one_channel_becomes_depthwise_where_strides_are_equal(ungrouped: tuple[Source, int]) -> None:
    kinds = [node.op for node in ungrouped[0].graph.node]
    assert kinds.count("DepthwiseConv2dNative") == 1
    # The stem, four groups, the widening one, and two uneven groups.
    assert kinds.count("Conv2D") == 1 + 4 + 1 + 2
    assert kinds.count("Split") == kinds.count("ConcatV2") == 2
    assert not {"PartitionedCall", "StatefulPartitionedCall"} & set(kinds)


def test_batch_normalisation_is_folded_into_the_groups(ungrouped: tuple[Source, int]) -> None:
    assert [node.name for node in ungrouped[0].graph.node if node.op in {"Mul", "AddV2"} and "batch" in node.name] == []


def test_a_split_that_changes_outputs_is_refused(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    def swapped(graph: Any, output: str) -> Any:
        split, count = split_groups(graph, output)
        for node in split.node:
            if node.op == "ConcatV2":
                node.input[0], node.input[1] = node.input[1], node.input[0]
        return split, count

    monkeypatch.setattr(groups, "split_groups", swapped)
    with pytest.raises(EdgeError, check=lambda error: error.code == "EF-grouped-convolution"):
        without_groups(source)


def test_a_network_without_groups_is_not_changed(colours_source: Source) -> None:
    assert without_groups(colours_source) == (colours_source, 0)


def test_a_bias_stays_behind_the_groups_where_another_node_reads_the_convolution(source: Source) -> None:
    graph = source.graph_of(1)
    grouped = next(node.name for node in graph.node if node.op == "Conv2D" and "/uneven" in node.name)
    within, _ = split_groups(graph, source.output)
    assert grouped not in {node.name for node in within.node}
    reader = graph.node.add(name="second_reader", op="Neg", input=[grouped])
    reader.attr["T"].type = tf.float32.as_datatype_enum
    behind, _ = split_groups(graph, source.output)
    assert [node.op for node in behind.node if node.name == grouped] == ["ConcatV2"]


def test_the_integer_file_has_no_grouped_convolution_and_notes_how_many_there_were(
    exported: tuple[Path, tuple[str, ...]],
) -> None:
    path, notes = exported
    assert not any(operation.is_grouped_convolution for operation in read_graph(path).operations)
    (note,) = notes
    assert note.split()[0] == "3"


@pytest.mark.parametrize("name", ["tflite-2.5", "tflite-2.7", "edgetpu"])
def test_lint_has_no_errors_for_it(name: str, exported: tuple[Path, tuple[str, ...]]) -> None:
    assert lint(exported[0], name).errors == ()


@pytest.mark.parametrize("name", ["tflite-2.5", "tflite-2.7"])
def test_the_old_runtime_is_within_one_step_of_litert(
    name: str, exported: tuple[Path, tuple[str, ...]], source: Source, tmp_path: Path
) -> None:
    if why := next(target for target in TARGETS if target.name == name).missing():
        pytest.skip(why)
    path, _ = exported
    own_kernels = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(str(path), experimental_op_resolver_type=own_kernels)
    interpreter.allocate_tensors()
    takes, gives = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    scale, zero = takes["quantization"]
    images = normalise(np.load(source.folder / PIXELS), source.spec.preprocessing)
    steps = np.clip(np.round(images / scale) + zero, 0, 255).astype(np.uint8)
    np.save(tmp_path / "images.npy", steps)
    python = ROOT / f".venv-{name}" / "bin" / "python"
    subprocess.run([python, "-c", RUN, path, tmp_path / "images.npy", tmp_path / "outputs.npy"], timeout=100, check=True)
    expected = []
    for image in steps:
        interpreter.set_tensor(takes["index"], image[None])
        interpreter.invoke()
        expected.append(interpreter.get_tensor(gives["index"])[0].copy())
    outputs = np.load(tmp_path / "outputs.npy").astype(int)
    assert np.ptp(outputs, axis=0).min() > 128
    assert abs(outputs - np.stack(expected)).max() <= 1
