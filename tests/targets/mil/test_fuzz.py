# SPDX-License-Identifier: Apache-2.0
"""Damaged packages: whatever is changed in one, the evaluator returns scores or one error, soon and in little memory."""

import random
import shutil
import signal
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from edgeferry.models.system.errors import EdgeError
from edgeferry.targets.mil import limits
from edgeferry.targets.mil.operations import OPERATIONS
from edgeferry.targets.mil.package import open_package
from edgeferry.targets.mil.program import labels_of, read_program

pytestmark = pytest.mark.slow

ct = pytest.importorskip("coremltools", reason="coremltools is not installed")

MUTANTS: Final = 500
SHAPE: Final = (1, 4, 9, 8)
# With arrays of at most 2^18 values (1 MiB), windows, products and copies of them take several MiB.
LARGEST_ARRAY: Final = 2**18
PEAK_BYTES: Final = 32 * 2**20
HANGS_AFTER_S: Final = 120
EVALUATED: Final = "evaluated"
EXTREMES: Final = (0, 1, -1, 2, 7, 255, 65536, 10**6, 2**31 - 1, -(2**31))
FILES: Final = ("Manifest.json", "Data/com.apple.CoreML/model.mlmodel", "Data/com.apple.CoreML/weights/weight.bin")
Change = Callable[[random.Random, Path], None]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a package of many kinds of operations, its weights in a lookup table."""
    import coremltools.optimize as cto
    from coremltools.converters.mil import Builder as mb  # noqa: N813 - its usual name

    draw = np.random.default_rng(7)
    dense, deep, wide, matrix = (
        draw.normal(size=size).astype(np.float32) for size in ((6, 4, 3, 3), (6, 1, 3, 3), (6, 5, 2, 2), (10, 10))
    )

    @mb.program(input_specs=[mb.TensorSpec(SHAPE)], opset_version=ct.target.iOS16)
    def program(x: Any) -> Any:
        x = mb.relu6(x=mb.conv(x=x, weight=dense, pad_type="same", strides=(2, 1)))
        x = mb.conv(x=x, weight=deep, groups=6, pad_type="custom", pad=(1, 1, 0, 2))
        x = mb.leaky_relu(x=mb.conv_transpose(x=x, weight=wide, strides=(2, 2)), alpha=0.1)
        x = mb.max_pool(x=x, kernel_sizes=(3, 2), strides=(2, 1), pad_type="same")
        x = mb.concat(values=mb.split(x=mb.pad(x=x, pad=(0, 1, 1, 0)), num_splits=2, axis=2), axis=1)
        x = mb.upsample_bilinear(x=mb.tile(x=x, reps=(1, 1, 2, 1)), scale_factor_height=2.0, scale_factor_width=1.0)
        x = mb.gather(x=mb.transpose(x=x, perm=(0, 2, 3, 1)), indices=np.int32([0, 2, 1]), axis=1)
        x = mb.reduce_mean(x=mb.slice_by_index(x=x, begin=(0, 0, 1, 0), end=(1, 3, 9, 10)), axes=(1, 2))
        x = mb.layer_norm(x=mb.add(x=mb.linear(x=x, weight=matrix), y=np.float32(1)), axes=(-1,))
        return mb.softmax(x=mb.reshape(x=x, shape=(1, 10)), axis=-1)

    model = ct.convert(
        program,
        convert_to="mlprogram",
        classifier_config=ct.ClassifierConfig([str(number) for number in range(10)]),
        minimum_deployment_target=ct.target.iOS16,
        skip_model_load=True,
    )
    table = cto.coreml.OpPalettizerConfig(mode="uniform", nbits=4, weight_threshold=100)
    model = cto.coreml.palettize_weights(model, cto.coreml.OptimizationConfig(global_config=table))
    path = tmp_path_factory.mktemp("whole") / "model.mlpackage"
    model.save(str(path))
    return path


def bytes_of(draw: random.Random, path: Path) -> None:
    """Flip, cut out, repeat or cut off some bytes of one of the files."""
    file = path / draw.choice(FILES)
    data = bytearray(file.read_bytes())
    for _ in range(draw.choice((1, 1, 2, 8)) if data else 0):
        at, length = draw.randrange(len(data)), draw.choice((1, 2, 8, 64))
        how = draw.randrange(5)
        if how < 2:
            data[at] ^= 1 << draw.randrange(8)
        elif how == 2:
            del data[max(at, 1) : at + length]
        elif how == 3:
            data[at:at] = data[at : at + length]
        else:
            del data[at + 1 :]
    file.write_bytes(data)


def record(draw: random.Random, path: Path) -> None:
    """Put an extreme number into one of the weight file's records."""
    file = path / FILES[2]
    data = bytearray(file.read_bytes())
    at = data.index(_sentinel(), draw.randrange(len(data) // 2))
    field, length = draw.choice(((0, 4), (4, 4), (8, 8), (16, 8)))
    data[at + field : at + field + length] = draw.choice((0, 1, 63, 2**31, 2**32 - 1)).to_bytes(length, "little")
    file.write_bytes(data)


def _sentinel() -> bytes:
    return (0xDEADBEEF).to_bytes(4, "little")


def program_of(draw: random.Random, path: Path) -> None:
    """Change the program: a number, a size, a name, an operation's type or one of its inputs."""
    package = open_package(path)
    operations = package.block.operations
    for _ in range(draw.choice((1, 1, 2))):
        draw.choice((_number, _number, _number, _size, _offset, _name, _type, _input, _version))(draw, package, operations)
    (path / FILES[1]).write_bytes(package.specification.SerializeToString())


def _number(draw: random.Random, _: Any, operations: Any) -> None:
    held = [each.attributes["val"].immediateValue.tensor for each in operations if each.type == "const"]
    numbers = [tensor for tensor in held if tensor.WhichOneof("value") in {"ints", "floats", "bools"}]
    tensor = draw.choice(numbers)
    values = getattr(tensor, tensor.WhichOneof("value")).values
    if values and tensor.WhichOneof("value") == "bools":
        values[draw.randrange(len(values))] = bool(draw.randrange(2))
    elif values:
        values[draw.randrange(len(values))] = draw.choice(EXTREMES)


def _size(draw: random.Random, _: Any, operations: Any) -> None:
    types = [each for operation in operations for each in operation.outputs if each.type.tensorType.dimensions]
    values = [each.attributes["val"] for each in operations if each.type == "const"]
    types += [each for each in values if each.type.tensorType.dimensions]
    sizes = draw.choice(types).type.tensorType.dimensions
    sizes[draw.randrange(len(sizes))].constant.size = draw.choice((0, 1, 3, 10**6, 2**31, 2**40, 2**63))


def _offset(draw: random.Random, _: Any, operations: Any) -> None:
    values = [value for each in operations for value in each.attributes.values() if value.WhichOneof("value") == "blobFileValue"]
    draw.choice(values).blobFileValue.offset = draw.choice((0, 64, 128, 2**31, 2**63, draw.randrange(5000)))


def _name(draw: random.Random, _: Any, operations: Any) -> None:
    names = [output.name for each in operations for output in each.outputs]
    called = draw.choice([each for each in operations if each.inputs])
    arguments = called.inputs[draw.choice(sorted(called.inputs))].arguments
    if arguments:
        arguments[draw.randrange(len(arguments))].name = draw.choice(names)


def _type(draw: random.Random, _: Any, operations: Any) -> None:
    draw.choice(operations).type = draw.choice([*sorted(OPERATIONS), "const", "classify", "constexpr_lut_to_dense", "while_loop"])


def _input(draw: random.Random, _: Any, operations: Any) -> None:
    called = draw.choice([each for each in operations if each.inputs])
    name = draw.choice(sorted(called.inputs))
    if draw.randrange(2):
        del called.inputs[name]
    else:
        del called.inputs[name].arguments[:]


def _version(draw: random.Random, package: Any, operations: Any) -> None:
    how = draw.randrange(4)
    if how == 0:
        package.specification.specificationVersion = draw.choice((0, 5, 11, 2**31 - 1))
    elif how == 1:
        package.specification.mlProgram.functions["main"].opset = "CoreML99"
    elif how == 2:
        del operations[draw.randrange(len(operations))]
    else:
        operations.append(draw.choice(operations))


@pytest.fixture
def guarded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """End a test that hangs, and limit the size of arrays."""

    def hangs(*_: Any) -> None:
        raise AssertionError("a mutant hangs")

    monkeypatch.setattr(limits, "LARGEST_ARRAY", LARGEST_ARRAY)
    monkeypatch.setattr(limits, "MOST_WORK", 2**26)
    before = signal.signal(signal.SIGPROF, hangs)
    # Of the processor's time, whatever else runs.
    signal.setitimer(signal.ITIMER_PROF, HANGS_AFTER_S)
    yield
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.signal(signal.SIGPROF, before)


def _outcome(path: Path) -> str:
    try:
        package = open_package(path)
        labels_of(package)
        program = read_program(package, rounds_to_float16=False)
        program.evaluated({"x": np.ones(SHAPE, np.float32)})
    except EdgeError as error:
        return str(error)
    return EVALUATED


@pytest.mark.slow
@pytest.mark.usefixtures("guarded")
def test_every_mutant_is_evaluated_or_refused_with_one_error(whole: Path, tmp_path: Path) -> None:
    draw, path = random.Random(11), tmp_path / "model.mlpackage"  # noqa: S311 - seeded, for nothing secret
    assert _outcome(whole) == EVALUATED
    outcomes: Counter[str] = Counter()
    tracemalloc.start()
    try:
        for number in range(MUTANTS):
            shutil.copytree(whole, path, dirs_exist_ok=True)
            change: Change = draw.choice((bytes_of, record, program_of, program_of, program_of))
            change(draw, path)
            tracemalloc.reset_peak()
            outcome = _outcome(path)
            assert "\n" not in outcome
            assert len(outcome) < 400
            outcomes[outcome] += 1
            assert tracemalloc.get_traced_memory()[1] < PEAK_BYTES, f"mutant {number}"
    finally:
        tracemalloc.stop()
    # The mutants are neither all harmless nor all refused when they are read.
    assert MUTANTS / 20 < outcomes[EVALUATED] < MUTANTS / 2
    assert len(outcomes) > MUTANTS / 10


@pytest.mark.usefixtures("guarded")
@pytest.mark.parametrize(
    ("operation", "name", "value"),
    [
        ("tile", "reps", 10**9),
        ("pad", "pad", 10**9),
        ("max_pool", "kernel_sizes", 10**9),
        ("upsample_bilinear", "scale_factor_height", 1e9),
    ],
)
def test_an_absurd_size_is_refused_before_memory_is_allocated(
    whole: Path, tmp_path: Path, operation: str, name: str, value: Any
) -> None:
    path = tmp_path / "model.mlpackage"
    shutil.copytree(whole, path)
    package = open_package(path)
    operations = package.block.operations
    called = next(each for each in operations if each.type == operation)
    made = next(each for each in operations if each.outputs[0].name == called.inputs[name].arguments[0].name)
    tensor = made.attributes["val"].immediateValue.tensor
    getattr(tensor, str(tensor.WhichOneof("value"))).values[-1 if operation == "pad" else 0] = value
    (path / FILES[1]).write_bytes(package.specification.SerializeToString())
    tracemalloc.start()
    program = read_program(open_package(path), rounds_to_float16=False)
    with pytest.raises(EdgeError, match="expected at most", check=lambda error: error.code == "EF-mil-too-large"):
        program.evaluated({"x": np.ones(SHAPE, np.float32)})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < PEAK_BYTES
