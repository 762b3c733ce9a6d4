# SPDX-License-Identifier: Apache-2.0
"""Limits of a program, at exactly the limit, which fuzzing would not find."""

import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.places import ROOT
from edgeferry.targets.mil.constants import CONSTANT_EXPRESSIONS
from edgeferry.targets.mil.limits import LARGEST_ARRAY, MOST_WORK, allowed, check_work, damage
from edgeferry.targets.mil.operations import OPERATIONS
from edgeferry.targets.mil.operations.activation import relu6
from edgeferry.targets.target import Unsupported

pytestmark = pytest.mark.slow

DOCUMENT: Final = ROOT / "docs" / "targets" / "mac.md"


def test_the_largest_array_is_allowed_and_one_more_value_is_not() -> None:
    assert allowed((2, LARGEST_ARRAY // 2), "x") == (2, LARGEST_ARRAY // 2)
    with pytest.raises(EdgeError, match=f"x would be .* {LARGEST_ARRAY} ", check=lambda error: error.code == "EF-mil-too-large"):
        allowed((LARGEST_ARRAY + 1,), "x")
    with pytest.raises(EdgeError, match="-1", check=lambda error: error.code == "EF-mil-too-large"):
        allowed((-1, 3), "x")


def test_the_most_work_is_allowed_and_one_more_is_not() -> None:
    check_work(MOST_WORK, "x")
    with pytest.raises(EdgeError, match=f"{MOST_WORK + 1} multiply-adds", check=lambda error: error.code == "EF-mil-too-large"):
        check_work(MOST_WORK + 1, "x")


def test_an_error_with_a_code_is_unchanged() -> None:
    with pytest.raises(Unsupported, match="^as it was$", check=lambda error: error.code == "EF-test"), damage("x"):
        raise Unsupported("EF-test", "as it was")
    with pytest.raises(EdgeError, match="x .*'lost'", check=lambda error: error.code == "EF-mil-damaged"), damage("x"):
        raise KeyError("lost")


WIDE: Final = np.ones((1, 1, 2**15), np.float32)
TALL: Final = np.ones((1, 2**15, 1), np.float32)
ABSURD: Final[dict[str, dict[str, Any]]] = {
    "add": {"x": WIDE, "y": TALL},
    "select": {"cond": WIDE > 0, "a": TALL, "b": TALL},
    "matmul": {"x": TALL, "y": WIDE},
    "einsum": {"values": (TALL, WIDE), "equation": "nij,njk->nik"},
    "tile": {"x": WIDE, "reps": np.int32([1, 2**15, 1])},
    "gather": {"x": TALL, "indices": np.zeros(2**15, np.int32), "axis": 2},
    "concat": {"values": (np.broadcast_to(TALL, (2**12, 2**15, 1)),) * 3, "axis": np.int32(0)},
    "resize_bilinear": {"x": TALL[None], "target_size_height": np.int32(2**15), "target_size_width": np.int32(2**15)},
    "space_to_batch": {"x": WIDE[None], "block_shape": np.int32([1, 1]), "paddings": np.int32([[0, 2**30], [0, 0]])},
    "local_response_norm": {"x": TALL[None], "size": np.int32(2**30)},
    "conv": {"x": TALL[None], "weight": np.ones((2**14, 1, 1, 1), np.float32)},
    "conv_transpose": {"x": TALL[None], "weight": np.ones((1, 1, 1, 1), np.float32), "strides": np.int32([2**15, 1])},
    "scaled_dot_product_attention": {"query": TALL, "key": TALL, "value": TALL},
}


@pytest.mark.parametrize("name", ABSURD)
def test_a_result_that_is_too_large_is_refused_before_it_is_allocated(name: str) -> None:
    with pytest.raises(EdgeError, match="expected at most", check=lambda error: error.code == "EF-mil-too-large"):
        OPERATIONS[name](**ABSURD[name])


def test_an_activation_over_its_own_input_is_used_only_where_nothing_else_reads_it(tmp_path: Path) -> None:
    ct = pytest.importorskip("coremltools", reason="coremltools is not installed")
    from coremltools.converters.mil import Builder as mb  # noqa: N813 - its usual name

    from edgeferry.targets.mil.package import open_package
    from edgeferry.targets.mil.program import read_program

    @mb.program(input_specs=[mb.TensorSpec((2, 3))], opset_version=ct.target.iOS16)
    def program(x: Any) -> Any:
        alone = mb.relu6(x=mb.add(x=x, y=np.float32(1)))
        shared = mb.mul(x=x, y=np.float32(2))
        view = mb.reshape(x=shared, shape=(3, 2))
        both = mb.add(x=mb.relu6(x=shared), y=mb.relu6(x=x))
        return mb.matmul(x=mb.add(x=both, y=alone), y=view)

    path = tmp_path / "model.mlpackage"
    ct.convert(
        program,
        convert_to="mlprogram",
        compute_precision=ct.precision.FLOAT32,
        pass_pipeline=ct.PassPipeline.EMPTY,
        minimum_deployment_target=ct.target.iOS16,
        skip_model_load=True,
    ).save(str(path))
    x = np.array([[-3, 2, 9], [1, -5, 4]], np.float32)
    kept, ready = x.copy(), read_program(open_package(path), rounds_to_float16=False)
    assert [step.function.__name__ for step in ready.steps if step.operation == "relu6"].count("relu6_over") == 1
    (output,) = ready.evaluated({"x": x}).values()
    expected = (relu6(2 * kept) + relu6(kept) + relu6(kept + 1)) @ (2 * kept).reshape(3, 2)
    np.testing.assert_allclose(output, expected, rtol=1e-6)
    np.testing.assert_array_equal(x, kept)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc is Linux's")
def test_freed_memory_is_kept() -> None:
    program = """
import resource, sys
import numpy as np
from edgeferry.targets.mil.memory import keep_memory
kept = keep_memory() if sys.argv[1] == "keep" else None
def faults():
    for _ in range(50):
        np.ones(2**20, np.float32)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
faults()
before = faults()
print(kept, faults() - before)
"""
    root = ROOT

    done = subprocess.run([sys.executable, "-c", program, "keep"], cwd=root, capture_output=True, text=True, check=True)
    kept, faults = done.stdout.split()
    if kept == "False":
        pytest.skip("the C library is not glibc")
    assert int(faults) < 100


def test_the_document_names_every_operation() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    section = text[text.index("## The evaluator") :].split("\n## ")[0]
    rows = [line.split("|")[2].split() for line in section.splitlines() if line.startswith("| ")]
    listed = {word.strip("`") for row in rows for word in row if word.startswith("`")}
    assert listed == {*OPERATIONS, *CONSTANT_EXPRESSIONS, "const", "classify"}
