# SPDX-License-Identifier: Apache-2.0
"""Each operation, in a package that coremltools writes and the evaluator reads from disk, compared with TensorFlow or numpy."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from edgeferry.targets.mil.constants import CONSTANT_EXPRESSIONS
from edgeferry.targets.mil.operations import OPERATIONS

pytestmark = pytest.mark.slow

ct = pytest.importorskip("coremltools", reason="coremltools is not installed")
tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")

DRAW: Final = np.random.default_rng(5)
# float32 in another order.
CLOSE: Final = {"rtol": 1e-4, "atol": 2e-5}
Array = np.ndarray[Any, np.dtype[Any]]
Build = Callable[[Any], Any]
Evaluate = Callable[..., Array]


def draw(*shape: int) -> Array:
    return DRAW.normal(size=shape).astype(np.float32)


@pytest.fixture(name="evaluate")
def _evaluate(tmp_path: Path) -> Evaluate:
    """Return ``evaluate(build, x)``: the output of a program of one input, saved and read from disk."""

    def run(build: Build, x: Array, *, float16: bool = False, rounds: bool = False, ios: str = "iOS18") -> Array:
        from edgeferry.targets.mil.package import open_package
        from edgeferry.targets.mil.program import read_program

        path = saved(build, x.shape, tmp_path / "program.mlpackage", float16=float16, ios=ios)
        program = read_program(open_package(path), rounds_to_float16=rounds)
        (output,) = program.evaluated({"x": x}).values()
        return np.asarray(output)

    return run


def saved(build: Build, shape: tuple[int, ...], path: Path, *, float16: bool = False, ios: str = "iOS18") -> Path:
    from coremltools.converters.mil import Builder as mb  # noqa: N813 - its usual name

    @mb.program(input_specs=[mb.TensorSpec(shape)], opset_version=getattr(ct.target, ios))
    def program(x: Any) -> Any:
        return build(x)

    ct.convert(
        program,
        convert_to="mlprogram",
        compute_precision=ct.precision.FLOAT16 if float16 else ct.precision.FLOAT32,
        minimum_deployment_target=getattr(ct.target, ios),
        # Nothing fused or folded: the operation itself is tested.
        pass_pipeline=ct.PassPipeline.EMPTY if not float16 else ct.PassPipeline.DEFAULT,
        skip_model_load=True,
    ).save(str(path))
    return path


def mb() -> Any:
    from coremltools.converters.mil import Builder

    return Builder


def nhwc(x: Array) -> Array:
    return x.transpose(0, 2, 3, 1)


def nchw(x: Any) -> Array:
    return np.asarray(x).transpose(0, 3, 1, 2)


@pytest.mark.parametrize("name", sorted(OPERATIONS | CONSTANT_EXPRESSIONS))
def test_inputs_are_those_of_coremltools_definition(name: str) -> None:
    from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

    forms = SSAOpRegistry.core_ops[name].values()
    defined = {each for form in forms for each in form.input_spec.input_types}
    parameters = set(inspect.signature({**OPERATIONS, **CONSTANT_EXPRESSIONS}[name]).parameters)
    assert parameters == defined


UNARY: Final = {
    "abs": np.abs, "atan": np.arctan, "ceil": np.ceil, "cos": np.cos, "cosh": np.cosh, "erf": tf.math.erf, "exp": np.exp,
    "exp2": np.exp2, "floor": np.floor, "relu": tf.nn.relu, "relu6": tf.nn.relu6, "round": tf.round, "sigmoid": tf.sigmoid,
    "sign": np.sign, "silu": tf.nn.silu, "sin": np.sin, "sinh": np.sinh, "softplus": tf.nn.softplus,
    "softsign": tf.nn.softsign, "square": np.square, "tan": np.tan, "tanh": np.tanh,
}  # fmt: skip


@pytest.mark.parametrize("name", UNARY)
def test_a_function_of_one_value(evaluate: Evaluate, name: str) -> None:
    x = draw(3, 5) * 2
    np.testing.assert_allclose(evaluate(lambda x: getattr(mb(), name)(x=x), x), np.asarray(UNARY[name](x)), **CLOSE)


IN_DOMAIN: Final = {"acos": np.arccos, "asin": np.arcsin, "atanh": np.arctanh, "log": np.log, "sqrt": np.sqrt}


@pytest.mark.parametrize("name", IN_DOMAIN)
def test_a_function_that_not_all_numbers_have(evaluate: Evaluate, name: str) -> None:
    x = DRAW.uniform(0.1, 0.9, (3, 5)).astype(np.float32)
    np.testing.assert_allclose(evaluate(lambda x: getattr(mb(), name)(x=x), x), IN_DOMAIN[name](x), **CLOSE)


def test_epsilon_is_added_before_the_root_and_the_inverse(evaluate: Evaluate) -> None:
    x = DRAW.uniform(0.1, 2, (3, 5)).astype(np.float32)
    np.testing.assert_allclose(evaluate(lambda x: mb().rsqrt(x=x, epsilon=0.5), x), (x + 0.5) ** -0.5, **CLOSE)
    np.testing.assert_allclose(evaluate(lambda x: mb().inverse(x=x, epsilon=0.5), x), 1 / (x + 0.5), **CLOSE)
    np.testing.assert_allclose(evaluate(lambda x: mb().log(x=x, epsilon=0.5), x), np.log(x + 0.5), **CLOSE)


BINARY: Final = {
    "add": np.add, "floor_div": np.floor_divide, "maximum": np.maximum, "minimum": np.minimum, "mod": np.mod,
    "mul": np.multiply, "pow": np.power, "real_div": np.divide, "sub": np.subtract,
}  # fmt: skip


@pytest.mark.parametrize("name", BINARY)
def test_a_function_of_two_values_broadcasts(evaluate: Evaluate, name: str) -> None:
    x, y = np.abs(draw(2, 1, 5)) + 0.5, np.abs(draw(3, 1)) + 0.5
    np.testing.assert_allclose(evaluate(lambda x: getattr(mb(), name)(x=x, y=y), x), BINARY[name](x, y), **CLOSE)


COMPARE: Final = {
    "equal": np.equal, "greater": np.greater, "greater_equal": np.greater_equal, "less": np.less,
    "less_equal": np.less_equal, "not_equal": np.not_equal,
}  # fmt: skip


@pytest.mark.parametrize("name", COMPARE)
def test_a_comparison_selects(evaluate: Evaluate, name: str) -> None:
    x, y = np.round(draw(3, 4)), np.round(draw(3, 4))
    build = lambda x: mb().select(cond=getattr(mb(), name)(x=x, y=y), a=x, b=np.float32(9))  # noqa: E731
    np.testing.assert_array_equal(evaluate(build, x), np.where(COMPARE[name](x, y), x, 9))


LOGIC: Final = {"logical_and": np.logical_and, "logical_or": np.logical_or, "logical_xor": np.logical_xor}


@pytest.mark.parametrize("name", LOGIC)
def test_logic_of_two_truths(evaluate: Evaluate, name: str) -> None:
    x = draw(4, 5)
    build = lambda x: mb().cast(  # noqa: E731
        x=mb().logical_not(x=getattr(mb(), name)(x=mb().greater(x=x, y=0.0), y=mb().less(x=x, y=0.5))), dtype="fp32"
    )
    np.testing.assert_array_equal(evaluate(build, x), ~LOGIC[name](x > 0, x < 0.5))


PARAMETRIC: Final = {
    "clamped_relu": ({"alpha": 0.3, "beta": 1.2}, lambda x: np.minimum(np.where(x >= 0, x, np.float32(0.3) * x), 1.2)),
    "clip": ({"alpha": -0.4, "beta": 0.9}, lambda x: np.clip(x, -0.4, 0.9)),
    "elu": ({"alpha": 1.0}, tf.nn.elu),
    "leaky_relu": ({"alpha": 0.2}, lambda x: tf.nn.leaky_relu(x, 0.2)),
    "linear_activation": ({"alpha": 0.2, "beta": 3.0}, lambda x: 0.2 * x + 3),
    "scaled_tanh": ({"alpha": 1.5, "beta": 0.7}, lambda x: 1.5 * np.tanh(0.7 * x)),
    "sigmoid_hard": ({"alpha": 0.2, "beta": 0.5}, lambda x: np.clip(0.2 * x + 0.5, 0, 1)),
    "threshold": ({"alpha": 0.2}, lambda x: np.maximum(x, 0.2)),
    "thresholded_relu": ({"alpha": 0.4}, lambda x: np.where(x >= 0.4, x, 0)),
}


@pytest.mark.parametrize("name", PARAMETRIC)
def test_an_activation_with_parameters(evaluate: Evaluate, name: str) -> None:
    x, (parameters, expected) = draw(2, 3, 5), PARAMETRIC[name]
    np.testing.assert_allclose(evaluate(lambda x: getattr(mb(), name)(x=x, **parameters), x), np.asarray(expected(x)), **CLOSE)


@pytest.mark.parametrize("mode", ["EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION"])
def test_gelu(evaluate: Evaluate, mode: str) -> None:
    x = draw(3, 7)
    exact, tanh = tf.nn.gelu(x, approximate=False), tf.nn.gelu(x, approximate=True)
    expected = {"EXACT": exact, "TANH_APPROXIMATION": tanh, "SIGMOID_APPROXIMATION": x * tf.sigmoid(1.702 * x)}[mode]
    np.testing.assert_allclose(evaluate(lambda x: mb().gelu(x=x, mode=mode), x), np.asarray(expected), **CLOSE)


def test_parameters_by_channel(evaluate: Evaluate) -> None:
    x, alpha, beta = draw(1, 3, 4, 5), np.abs(draw(3)), draw(3)
    by = (1, 3, 1, 1)
    expected = np.where(x > 0, x, alpha.reshape(by) * x)
    np.testing.assert_allclose(evaluate(lambda x: mb().prelu(x=x, alpha=alpha), x), expected, **CLOSE)
    expected = alpha.reshape(by) * np.asarray(tf.nn.softplus(beta.reshape(by) * x))
    np.testing.assert_allclose(evaluate(lambda x: mb().softplus_parametric(x=x, alpha=alpha, beta=beta), x), expected, **CLOSE)


@pytest.mark.parametrize("axis", [-1, 1])
def test_softmax(evaluate: Evaluate, axis: int) -> None:
    x = draw(2, 3, 4) * 60
    np.testing.assert_allclose(evaluate(lambda x: mb().softmax(x=x, axis=axis), x), tf.nn.softmax(x, axis), **CLOSE)


# height and width, channels in and out, kernel, strides, dilations, groups
CONVOLUTIONS: Final = [
    ((7, 9), 3, 4, (3, 3), (1, 1), (1, 1), 1),
    ((8, 7), 3, 4, (1, 1), (1, 1), (1, 1), 1),
    ((8, 7), 3, 4, (1, 1), (2, 2), (1, 1), 1),
    ((9, 8), 2, 5, (2, 4), (2, 3), (1, 1), 1),
    ((11, 10), 3, 4, (3, 2), (1, 1), (2, 3), 1),
    ((9, 10), 6, 4, (3, 3), (2, 1), (1, 1), 2),
    ((9, 10), 5, 5, (3, 3), (1, 1), (1, 1), 5),
    ((10, 9), 5, 5, (3, 3), (2, 2), (1, 1), 5),
    ((10, 11), 5, 5, (5, 4), (3, 2), (1, 1), 5),
    ((10, 11), 5, 5, (3, 3), (1, 1), (2, 3), 5),
    ((8, 9), 3, 6, (3, 3), (2, 2), (1, 1), 3),
]


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
@pytest.mark.parametrize("pad_type", ["valid", "same"])
def test_convolution(evaluate: Evaluate, case: Any, pad_type: str) -> None:
    size, channels, filters, kernel, strides, dilations, groups = case
    x, weight, bias = draw(2, channels, *size), draw(filters, channels // groups, *kernel), draw(filters)
    build = lambda x: mb().conv(  # noqa: E731
        x=x, weight=weight, bias=bias, strides=strides, dilations=dilations, groups=groups, pad_type=pad_type
    )
    parts = [
        tf.nn.convolution(nhwc(part), kernels.transpose(2, 3, 1, 0), strides, pad_type.upper(), dilations=dilations)
        if max(strides) == 1 or max(dilations) == 1
        else None
        for part, kernels in zip(np.split(x, groups, axis=1), np.split(weight, groups), strict=True)
    ]
    np.testing.assert_allclose(evaluate(build, x), nchw(tf.concat(parts, -1)) + bias.reshape(1, -1, 1, 1), **CLOSE)


def test_convolution_steps_and_dilates_at_once(evaluate: Evaluate) -> None:
    x, weight = draw(1, 2, 13, 12), draw(2, 1, 3, 3)
    build = lambda x: mb().conv(x=x, weight=weight, strides=(2, 3), dilations=(2, 1), groups=2)  # noqa: E731
    dense = nchw(tf.nn.depthwise_conv2d(nhwc(x), weight.transpose(2, 3, 0, 1), (1, 1, 1, 1), "VALID", dilations=(2, 1)))
    np.testing.assert_allclose(evaluate(build, x), dense[:, :, ::2, ::3], **CLOSE)


@pytest.mark.parametrize(("groups", "filters"), [(1, 4), (3, 3)])
def test_custom_padding_is_before_and_after_each_axis(evaluate: Evaluate, groups: int, filters: int) -> None:
    x, weight = draw(1, 3, 6, 5), draw(filters, 3 // groups, 3, 3)
    build = lambda x: mb().conv(x=x, weight=weight, pad_type="custom", pad=(0, 1, 2, 3), groups=groups)  # noqa: E731
    around = np.pad(x, ((0, 0), (0, 0), (0, 1), (2, 3)))
    parts = [
        tf.nn.conv2d(nhwc(part), kernels.transpose(2, 3, 1, 0), 1, "VALID")
        for part, kernels in zip(np.split(around, groups, axis=1), np.split(weight, groups), strict=True)
    ]
    np.testing.assert_allclose(evaluate(build, x), nchw(tf.concat(parts, -1)), **CLOSE)


def test_same_lower_puts_the_odd_one_first(evaluate: Evaluate) -> None:
    x, weight = draw(1, 2, 5, 6), draw(3, 2, 2, 2)
    build = lambda x: mb().conv(x=x, weight=weight, pad_type="same_lower")  # noqa: E731
    around = np.pad(x, ((0, 0), (0, 0), (1, 0), (1, 0)))
    np.testing.assert_allclose(
        evaluate(build, x), nchw(tf.nn.conv2d(nhwc(around), weight.transpose(2, 3, 1, 0), 1, "VALID")), **CLOSE
    )


@pytest.mark.parametrize("rank", [1, 3])
def test_convolution_of_one_and_three_axes(evaluate: Evaluate, rank: int) -> None:
    x, weight = draw(1, 2, *(7, 6, 5)[:rank]), draw(3, 2, *(3, 2, 3)[:rank])
    last, first = (0, *range(2, 2 + rank), 1), (0, rank + 1, *range(1, 1 + rank))
    expected = tf.nn.convolution(x.transpose(last), weight.transpose(*range(2, 2 + rank), 1, 0), padding="SAME")
    build = lambda x: mb().conv(x=x, weight=weight, pad_type="same")  # noqa: E731
    np.testing.assert_allclose(evaluate(build, x), np.asarray(expected).transpose(first), **CLOSE)


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(("kernel", "strides"), [((3, 3), (2, 2)), ((2, 4), (3, 2)), ((3, 2), (1, 1)), ((2, 2), (3, 3))])
def test_transposed_convolution(evaluate: Evaluate, padding: str, kernel: Any, strides: Any) -> None:
    x, weight = draw(1, 3, 4, 5), draw(3, 2, *kernel)
    full = [size * step + (max(at - step, 0) if padding == "valid" else 0) for size, step, at in zip((4, 5), strides, kernel)]  # noqa: B905
    expected = tf.nn.conv2d_transpose(nhwc(x), weight.transpose(2, 3, 1, 0), (1, *full, 2), strides, padding.upper())
    build = lambda x: mb().conv_transpose(  # noqa: E731
        x=x, weight=weight, strides=strides, pad_type=padding, output_shape=(1, 2, *full)
    )
    np.testing.assert_allclose(evaluate(build, x), nchw(expected), **CLOSE)


def test_transposed_convolution_with_groups_padding_and_bias(evaluate: Evaluate) -> None:
    x, weight, bias = draw(1, 4, 4, 5), draw(4, 3, 3, 3), draw(6)
    build = lambda x: mb().conv_transpose(  # noqa: E731
        x=x, weight=weight, bias=bias, strides=(2, 2), pad_type="custom", pad=(1, 0, 0, 2), groups=2
    )
    parts = [
        tf.nn.conv2d_transpose(nhwc(part), kernels.transpose(2, 3, 1, 0), (1, 9, 11, 3), 2, "VALID")
        for part, kernels in zip(np.split(x, 2, axis=1), np.split(weight, 2), strict=True)
    ]
    expected = nchw(tf.concat(parts, -1))[:, :, 1:, :-2] + bias.reshape(1, -1, 1, 1)
    np.testing.assert_allclose(evaluate(build, x), expected, **CLOSE)


@pytest.mark.parametrize("pad_type", ["valid", "same"])
@pytest.mark.parametrize("pooling", [("max_pool", "MAX"), ("avg_pool", "AVG")])
@pytest.mark.parametrize(("kernel", "strides"), [((3, 3), (2, 2)), ((2, 3), (1, 2)), ((4, 3), (3, 3))])
def test_pooling(evaluate: Evaluate, pooling: tuple[str, str], pad_type: str, kernel: Any, strides: Any) -> None:
    (name, kind), x = pooling, draw(1, 3, 9, 8) - 5
    how = {"exclude_padding_from_average": True} if kind == "AVG" else {}
    build = lambda x: getattr(mb(), name)(x=x, kernel_sizes=kernel, strides=strides, pad_type=pad_type, **how)  # noqa: E731
    expected = tf.nn.pool(nhwc(x), kernel, kind, strides, pad_type.upper())
    np.testing.assert_allclose(evaluate(build, x), nchw(expected), **CLOSE)


def test_padding_counts_in_an_average_unless_excluded(evaluate: Evaluate) -> None:
    x = np.ones((1, 1, 2, 2), np.float32)
    build = lambda x: mb().avg_pool(x=x, kernel_sizes=(2, 2), pad_type="custom", pad=(1, 0, 1, 0))  # noqa: E731
    np.testing.assert_allclose(evaluate(build, x)[0, 0], [[0.25, 0.5], [0.5, 1]])


def test_l2_pooling(evaluate: Evaluate) -> None:
    x = draw(1, 2, 4, 4)
    build = lambda x: mb().l2_pool(x=x, kernel_sizes=(2, 2), strides=(2, 2), pad_type="valid")  # noqa: E731
    expected = np.sqrt(np.square(x).reshape(1, 2, 2, 2, 2, 2).sum(axis=(3, 5)))
    np.testing.assert_allclose(evaluate(build, x), expected, **CLOSE)


def test_matrix_products(evaluate: Evaluate) -> None:
    x, weight, bias, y = draw(3, 2, 5), draw(4, 5), draw(4), draw(3, 5, 6)
    np.testing.assert_allclose(evaluate(lambda x: mb().linear(x=x, weight=weight, bias=bias), x), x @ weight.T + bias, **CLOSE)
    np.testing.assert_allclose(evaluate(lambda x: mb().matmul(x=x, y=y), x), x @ y, **CLOSE)
    both = lambda x: mb().matmul(x=x, y=y, transpose_x=True, transpose_y=True)  # noqa: E731
    square = draw(3, 6, 5)
    np.testing.assert_allclose(evaluate(both, square), square.swapaxes(1, 2) @ y.swapaxes(1, 2), **CLOSE)
    equation = "nchw,nwhu->nchu"
    left, right = draw(1, 2, 3, 4), draw(1, 4, 3, 5)
    summed = lambda x: mb().einsum(values=(x, right), equation=equation)  # noqa: E731
    np.testing.assert_allclose(evaluate(summed, left), np.einsum(equation, left, right), **CLOSE)


def test_attention(evaluate: Evaluate) -> None:
    query, key, value, mask = draw(2, 3, 4), draw(2, 5, 4), draw(2, 5, 6), draw(3, 5)
    build = lambda x: mb().scaled_dot_product_attention(query=x, key=key, value=value, attn_mask=mask)  # noqa: E731
    expected = tf.nn.softmax(query @ key.swapaxes(1, 2) / 2 + mask) @ value
    np.testing.assert_allclose(evaluate(build, query), np.asarray(expected), **CLOSE)


REDUCTIONS: Final = {
    "reduce_l1_norm": lambda x, **how: np.abs(x).sum(**how), "reduce_l2_norm": lambda x, **how: np.sqrt((x**2).sum(**how)),
    "reduce_log_sum": lambda x, **how: np.log(x.sum(**how)), "reduce_log_sum_exp": lambda x, **how: np.log(np.exp(x).sum(**how)),
    "reduce_max": np.max, "reduce_mean": np.mean, "reduce_min": np.min, "reduce_prod": np.prod, "reduce_sum": np.sum,
    "reduce_sum_square": lambda x, **how: (x**2).sum(**how),
}  # fmt: skip


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("axes", [(-1, 1), None])
def test_reduction(evaluate: Evaluate, name: str, axes: Any) -> None:
    x, kept = np.abs(draw(2, 3, 4)) + 0.1, axes is not None
    how = {"axes": axes} if kept else {}
    build = lambda x: getattr(mb(), name)(x=x, keep_dims=kept, **how)  # noqa: E731
    np.testing.assert_allclose(evaluate(build, x), REDUCTIONS[name](x, axis=axes, keepdims=kept), **CLOSE)


@pytest.mark.parametrize("name", ["argmax", "argmin"])
def test_place_of_the_largest_and_smallest(evaluate: Evaluate, name: str) -> None:
    x = draw(3, 5)
    output = evaluate(lambda x: getattr(mb(), f"reduce_{name}")(x=x, axis=1), x)
    np.testing.assert_array_equal(output, getattr(np, name)(x, axis=1))


def test_normalisations(evaluate: Evaluate) -> None:
    x, mean, variance, gamma, beta = draw(2, 3, 4, 5), draw(3), np.abs(draw(3)), draw(3), draw(3)
    batch = lambda x: mb().batch_norm(x=x, mean=mean, variance=variance, gamma=gamma, beta=beta, epsilon=0.01)  # noqa: E731
    expected = tf.nn.batch_normalization(nhwc(x), mean, variance, beta, gamma, 0.01)
    np.testing.assert_allclose(evaluate(batch, x), nchw(expected), **CLOSE)
    of_each, spread = tf.nn.moments(tf.constant(x), (2, 3), keepdims=True)
    by = (1, 3, 1, 1)
    instance = lambda x: mb().instance_norm(x=x, gamma=gamma, beta=beta, epsilon=0.01)  # noqa: E731
    expected = tf.nn.batch_normalization(x, of_each, spread, beta.reshape(by), gamma.reshape(by), 0.01)
    np.testing.assert_allclose(evaluate(instance, x), np.asarray(expected), **CLOSE)
    total = np.square(x).sum(axis=(1, 2, 3), keepdims=True)
    np.testing.assert_allclose(evaluate(lambda x: mb().l2_norm(x=x, epsilon=0.1), x), x / np.sqrt(total + 0.1), **CLOSE)


def test_layer_normalisation_over_some_axes(evaluate: Evaluate) -> None:
    x, gamma, beta = draw(2, 3, 4), draw(3, 4), draw(3, 4)
    mean, variance = tf.nn.moments(tf.constant(x), (1, 2), keepdims=True)
    build = lambda x: mb().layer_norm(x=x, axes=(-1, 1), gamma=gamma, beta=beta, epsilon=0.01)  # noqa: E731
    expected = tf.nn.batch_normalization(x, mean, variance, beta, gamma, 0.01)
    np.testing.assert_allclose(evaluate(build, x), np.asarray(expected), **CLOSE)


def test_local_response_normalisation(evaluate: Evaluate) -> None:
    x = draw(1, 7, 3, 4)
    build = lambda x: mb().local_response_norm(x=x, size=5, alpha=0.5, beta=0.75, k=2.0)  # noqa: E731
    expected = tf.nn.local_response_normalization(nhwc(x), depth_radius=2, bias=2.0, alpha=0.1, beta=0.75)
    np.testing.assert_allclose(evaluate(build, x), nchw(expected), **CLOSE)


SHAPES: Final[dict[str, tuple[tuple[int, ...], Callable[[Any], Any], Callable[[Array], Any]]]] = {
    "concat": ((2, 3), lambda x: mb().concat(values=(x, x), axis=-1), lambda x: np.concatenate([x, x], 1)),
    "interleaved": (
        (2, 3),
        lambda x: mb().concat(values=(x, mb().mul(x=x, y=2.0)), axis=1, interleave=True),
        lambda x: np.stack([x, 2 * x], 2).reshape(2, 6),
    ),
    "stack": ((2, 3), lambda x: mb().stack(values=(x, x), axis=1), lambda x: np.stack([x, x], 1)),
    "even split": ((2, 6), lambda x: mb().split(x=x, num_splits=3, axis=-1)[1], lambda x: x[:, 2:4]),
    "uneven split": ((2, 6), lambda x: mb().split(x=x, split_sizes=(1, 3, 2), axis=1)[1], lambda x: x[:, 1:4]),
    "expand_dims": ((2, 3), lambda x: mb().expand_dims(x=x, axes=(0, -1)), lambda x: x[None, ..., None]),
    "squeeze": ((1, 2, 1, 3), lambda x: mb().squeeze(x=x, axes=(-2,)), lambda x: x[:, :, 0]),
    "squeeze all": ((1, 2, 1, 3), lambda x: mb().squeeze(x=x), lambda x: x[0, :, 0]),
    "reshape": ((2, 3, 4), lambda x: mb().reshape(x=x, shape=(0, 2, -1)), lambda x: x.reshape(2, 2, 6)),
    "flatten2d": ((2, 3, 4), lambda x: mb().flatten2d(x=x, axis=2), lambda x: x.reshape(6, 4)),
    "transpose": ((2, 3, 4), lambda x: mb().transpose(x=x, perm=(-1, 0, -2)), lambda x: x.transpose(2, 0, 1)),
    "reverse": ((2, 3), lambda x: mb().reverse(x=x, axes=(-1,)), lambda x: x[:, ::-1]),
    "slice_by_index": (
        (5, 6, 3),
        lambda x: mb().slice_by_index(
            x=x, begin=(4, 1, -2), end=(1, 0, 0), stride=(-2, 2, 1), end_mask=(False, True, False),
            squeeze_mask=(False, False, True),
        ),
        lambda x: x[4:1:-2, 1::2, -2],
    ),
    "slice_by_size": ((5, 6), lambda x: mb().slice_by_size(x=x, begin=(1, 2), size=(3, -1)), lambda x: x[1:4, 2:]),
    "pad": (
        (2, 3, 4),
        lambda x: mb().pad(x=x, pad=(1, 0, 0, 2), constant_val=3.0),
        lambda x: np.pad(x, ((0, 0), (1, 0), (0, 2)), constant_values=3),
    ),
    "reflect": (
        (1, 2, 3, 4),
        lambda x: mb().pad(x=x, pad=(1, 2, 0, 3), mode="reflect"),
        lambda x: np.pad(x, ((0, 0), (0, 0), (1, 2), (0, 3)), mode="reflect"),
    ),
    "replicate": (
        (1, 2, 3, 4),
        lambda x: mb().pad(x=x, pad=(1, 2, 0, 3), mode="replicate"),
        lambda x: np.pad(x, ((0, 0), (0, 0), (1, 2), (0, 3)), mode="edge"),
    ),
    "tile": ((2, 3), lambda x: mb().tile(x=x, reps=(2, 3)), lambda x: np.tile(x, (2, 3))),
    "gather": ((4, 3), lambda x: mb().gather(x=x, indices=np.int32([2, 0, -1]), axis=0), lambda x: x[[2, 0, -1]]),
    "depth_to_space": (
        (1, 12, 2, 3), lambda x: mb().depth_to_space(x=x, block_size=2), lambda x: nchw(tf.nn.depth_to_space(nhwc(x), 2))
    ),
    "space_to_depth": (
        (1, 3, 4, 6), lambda x: mb().space_to_depth(x=x, block_size=2), lambda x: nchw(tf.nn.space_to_depth(nhwc(x), 2))
    ),
    "space_to_batch": (
        (1, 2, 4, 5),
        lambda x: mb().space_to_batch(x=x, block_shape=(2, 3), paddings=((1, 1), (0, 1))),
        lambda x: nchw(tf.space_to_batch(nhwc(x), (2, 3), ((1, 1), (0, 1)))),
    ),
    "batch_to_space": (
        (6, 2, 3, 2),
        lambda x: mb().batch_to_space(x=x, block_shape=(2, 3), crops=((1, 1), (0, 1))),
        lambda x: nchw(tf.batch_to_space(nhwc(x), (2, 3), ((1, 1), (0, 1)))),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SHAPES)
def test_shape_and_order(evaluate: Evaluate, case: str) -> None:
    shape, build, expected = SHAPES[case]
    x = draw(*shape)
    np.testing.assert_array_equal(evaluate(build, x, ios="iOS16"), np.asarray(expected(x)))


@pytest.mark.parametrize(("corners", "half"), [(True, False), (False, True), (False, False)])
def test_bilinear_upsampling(evaluate: Evaluate, corners: bool, half: bool) -> None:  # noqa: FBT001
    x = draw(1, 2, 3, 5)
    build = lambda x: mb().upsample_bilinear(  # noqa: E731
        x=x, scale_factor_height=3.0, scale_factor_width=2.0, align_corners=corners, half_pixel_centers=half
    )
    expected = tf.raw_ops.ResizeBilinear(images=nhwc(x), size=(9, 10), align_corners=corners, half_pixel_centers=half)
    np.testing.assert_allclose(evaluate(build, x), nchw(expected), **CLOSE)


# The documentation's own examples, from 2 values to 5 and to 6, where they are rounded to two digits.
GRIDS: Final = {
    "UNALIGN_CORNERS": [0, 0, 0.33, 0.67, 1, 1],
    "ALIGN_CORNERS": [0, 0.2, 0.4, 0.6, 0.8, 1],
    "STRICT_ALIGN_CORNERS": [0, 0.2, 0.4, 0.6, 0.8, 1],
    "DEFAULT": [0, 0.33, 0.67, 1, 1, 1],
    "OFFSET_CORNERS": [0.08, 0.25, 0.42, 0.58, 0.75, 0.92],
}


@pytest.mark.parametrize("mode", GRIDS)
def test_bilinear_resizing_takes_the_documented_points(evaluate: Evaluate, mode: str) -> None:
    x = np.array([0, 1], np.float32).reshape(1, 1, 1, 2)
    build = lambda x: mb().resize_bilinear(x=x, target_size_height=1, target_size_width=6, sampling_mode=mode)  # noqa: E731
    np.testing.assert_allclose(evaluate(build, x)[0, 0, 0], GRIDS[mode], atol=0.005)


def test_nearest_neighbours(evaluate: Evaluate) -> None:
    x = draw(1, 2, 3, 4)
    up = lambda x: mb().upsample_nearest_neighbor(x=x, scale_factor_height=2, scale_factor_width=3)  # noqa: E731
    np.testing.assert_array_equal(evaluate(up, x), x.repeat(2, axis=2).repeat(3, axis=3))
    to = lambda x: mb().resize_nearest_neighbor(x=x, target_size_height=5, target_size_width=3)  # noqa: E731
    expected = tf.raw_ops.ResizeNearestNeighbor(images=nhwc(x), size=(5, 3))
    np.testing.assert_array_equal(evaluate(to, x), nchw(expected))


def test_exact_mode_keeps_what_float16_would_round(evaluate: Evaluate) -> None:
    x = np.full((1, 4), 1.0001, np.float32)
    build = lambda x: mb().mul(x=x, y=np.float32(3))  # noqa: E731
    np.testing.assert_allclose(evaluate(build, x, float16=True), 3.0003, rtol=1e-6)
    np.testing.assert_array_equal(evaluate(build, x, float16=True, rounds=True), 3.0)


def test_emulated_float16_overflows_to_infinity(evaluate: Evaluate) -> None:
    x = np.full((1, 4), 60000, np.float32)
    build = lambda x: mb().mul(x=x, y=np.float32(2))  # noqa: E731
    assert np.isinf(evaluate(build, x, float16=True, rounds=True)).all()


def test_emulated_float16_rounds_every_result_and_accumulates_in_float32(evaluate: Evaluate) -> None:
    x, weight = draw(1, 300), draw(2, 300)
    build = lambda x: mb().linear(x=x, weight=weight)  # noqa: E731
    half = [each.astype(np.float16).astype(np.float32) for each in (x, weight)]
    np.testing.assert_array_equal(
        evaluate(build, x, float16=True, rounds=True), (half[0] @ half[1].T).astype(np.float16).astype(np.float32)
    )
