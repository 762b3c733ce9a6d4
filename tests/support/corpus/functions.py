# SPDX-License-Identifier: Apache-2.0
"""A network for each function of keras.ops that belongs into an image classifier."""

from collections.abc import Callable, Iterator
from typing import Any

from corpus.network import Network, On


def networks() -> Iterator[Network]:
    """Yield a network for each function."""
    for part in (_elementwise, _conditions, _pairs, _reductions, _shapes, _products, _images):
        yield from part()


def _of(on: On, **blocks: Callable[[Any], Any]) -> Iterator[Network]:
    for name, block in blocks.items():
        function, _, form = name.partition("__")
        title = f"ops.{function.replace('image_', 'image.')}"
        yield Network(f"{title} ({form.replace('_', ' ')})" if form else title, (title,), on, block)


def _elementwise() -> Iterator[Network]:
    from keras import ops as o

    plain = (
        "abs",
        "arctan",
        "arcsinh",
        "ceil",
        "cos",
        "cosh",
        "erf",
        "erfc",
        "exp",
        "exp2",
        "expm1",
        "floor",
        "negative",
        "round",
        "sign",
        "sin",
        "sinc",
        "sinh",
        "square",
        "trunc",
        "deg2rad",
        "cbrt",
        "nan_to_num",
    )
    for name in plain:
        function = getattr(o, name)
        yield from _of("features", **{name: lambda x, function=function: function(x * 0.5)})
    positive = ("log", "log10", "log1p", "log2", "sqrt", "rsqrt", "reciprocal", "arccosh")
    for name in positive:
        function, least = getattr(o, name), 1.0 if name == "arccosh" else 0.1
        yield from _of("features", **{name: lambda x, function=function, least=least: function(o.abs(x) + least)})
    for name in ("arccos", "arcsin", "arctanh", "erfinv", "tan"):
        function = getattr(o, name)
        yield from _of("features", **{name: lambda x, function=function: function(o.clip(x * 0.3, -0.9, 0.9))})


def _conditions() -> Iterator[Network]:
    from keras import ops as o

    yield from _of(
        "features",
        clip=lambda x: o.clip(x, -1.5, 2.5),
        cast=lambda x: o.cast(o.cast(x * 8, "int32"), "float32"),
        isfinite=lambda x: o.where(o.isfinite(x), x, 0.0),
        logical_and=lambda x: o.cast(o.logical_and(x > -1, x < 1), "float32") * x,
        logical_not=lambda x: o.cast(o.logical_not(x > 0), "float32") * x,
        logical_or=lambda x: o.cast(o.logical_or(x < -1, x > 1), "float32") * x,
        zeros_like=lambda x: o.zeros_like(x) + x,
        ones_like=lambda x: o.ones_like(x) * x,
        stop_gradient=lambda x: o.stop_gradient(x),
    )


def _pairs() -> Iterator[Network]:
    from keras import layers as k
    from keras import ops as o

    def other(x: Any) -> Any:
        return k.Conv2D(8, 1)(x)

    simple = ("add", "arctan2", "logaddexp", "maximum", "minimum", "multiply", "subtract", "hypot")
    for name in simple:
        function = getattr(o, name)
        yield from _of("features", **{name: lambda x, function=function: function(x, other(x))})
    for name in ("divide", "divide_no_nan", "floor_divide", "mod"):
        function = getattr(o, name)
        yield from _of("features", **{name: lambda x, function=function: function(x, o.abs(other(x)) + 1.0)})
    for name in ("equal", "greater", "greater_equal", "less", "less_equal", "not_equal"):
        function = getattr(o, name)
        yield from _of("features", **{name: lambda x, function=function: o.where(function(x, other(x)), x, 0.5 * x)})
    yield from _of(
        "features",
        power=lambda x: o.power(o.abs(x) + 0.1, 1.7),
        power__square=lambda x: o.power(x, 2.0),
        where=lambda x: o.where(x > other(x), x, other(x)),
    )


def _reductions() -> Iterator[Network]:
    from keras import ops as o

    from corpus.layers import _wide

    for name in ("amax", "amin", "max", "mean", "min", "std", "sum", "var", "logsumexp", "median", "count_nonzero"):
        function = getattr(o, name)

        def block(x: Any, name: str = name, function: Callable[..., Any] = function) -> Any:
            x = o.maximum(x, 0) if name == "count_nonzero" else x
            return o.cast(function(x, axis=(1,)), "float32")

        yield from _of("features", **{name: block})
    yield from _of(
        "features",
        mean__rows_and_columns=lambda x: o.mean(_wide(x), axis=(1, 2)),
        prod=lambda x: o.prod(o.sigmoid(x), axis=3),
        norm=lambda x: o.norm(x, axis=3),
        normalize=lambda x: o.normalize(x, axis=3),
        any=lambda x: o.cast(o.any(x > 1, axis=3), "float32"),
        all=lambda x: o.cast(o.all(x > -2, axis=3), "float32"),
        argmax=lambda x: o.cast(o.argmax(x, axis=3), "float32"),
        argmin=lambda x: o.cast(o.argmin(x, axis=3), "float32"),
        moments=lambda x: o.concatenate(o.moments(_wide(x), axes=(1, 2)), axis=-1),
        cumsum=lambda x: o.cumsum(x, axis=1),
        cumprod=lambda x: o.cumprod(o.sigmoid(x), axis=3),
        sort=lambda x: o.sort(x, axis=3),
        top_k=lambda x: o.top_k(x, 3)[0],
        one_hot=lambda x: o.one_hot(o.argmax(x, axis=3), 8),
        softmax=lambda x: o.softmax(x, axis=2),
        log_softmax=lambda x: o.log_softmax(x, axis=1),
        layer_normalization=lambda x: o.layer_normalization(x, axis=-1),
        rms_normalization=lambda x: o.rms_normalization(x, axis=-1),
    )


def _shapes() -> Iterator[Network]:
    from keras import ops as o

    yield from _of(
        "features",
        broadcast_to=lambda x: (
            x * o.broadcast_to(o.mean(x, axis=(1, 2), keepdims=True), (1, 1, 1, 8))
            if False
            else x + o.broadcast_to(o.ones((1, 1, 8)), (12, 12, 8))
        ),
        concatenate=lambda x: o.concatenate([x, -x], axis=2),
        depth_to_space=lambda x: o.depth_to_space(x, 2),
        diff=lambda x: o.diff(x, axis=1),
        expand_dims=lambda x: o.squeeze(o.expand_dims(x, 1) * 2.0, 1),
        flip=lambda x: o.concatenate([x, o.flip(x, axis=2)], axis=-1),
        moveaxis=lambda x: o.moveaxis(x, 1, 3)[:, 1:5],
        pad=lambda x: o.pad(x, ((0, 0), (1, 2), (0, 1), (0, 0))),
        pad__reflect=lambda x: o.pad(x, ((0, 0), (1, 2), (0, 1), (0, 0)), mode="reflect"),
        pad__symmetric=lambda x: o.pad(x, ((0, 0), (1, 2), (0, 1), (0, 0)), mode="symmetric"),
        pad__constant=lambda x: o.pad(x, ((0, 0), (1, 2), (0, 1), (0, 0)), constant_values=1.0),
        repeat=lambda x: o.repeat(x, 2, axis=1),
        reshape=lambda x: o.mean(o.reshape(x, (-1, 6, 2, 6, 2, 8)), axis=(2, 4)),
        roll=lambda x: o.concatenate([x, o.roll(x, (2, -3), axis=(1, 2))], axis=-1),
        rot90=lambda x: o.concatenate([x, o.rot90(x, axes=(1, 2))], axis=-1),
        slice=lambda x: x[:, 2:9, ::2, 1:],
        space_to_depth=lambda x: o.space_to_depth(x, 2),
        split=lambda x: o.concatenate(
            [part * scale for part, scale in zip(o.split(x, 4, axis=3), (1.0, 2.0, 0.5, -1.0), strict=True)], axis=1
        ),
        squeeze=lambda x: o.squeeze(o.mean(x, axis=1, keepdims=True), 1),
        stack=lambda x: o.stack([x, o.relu(x)], axis=2),
        swapaxes=lambda x: o.swapaxes(x, 1, 3)[:, :, 2:],
        take=lambda x: o.take(x, [0, 3, 5], axis=3),
        tile=lambda x: o.tile(x, (1, 1, 2, 1)),
        transpose=lambda x: o.transpose(x, (0, 3, 2, 1))[:, 2:],
        tril=lambda x: o.tril(o.transpose(x, (0, 3, 1, 2))),
        triu=lambda x: o.triu(o.transpose(x, (0, 3, 1, 2))),
        unstack=lambda x: o.concatenate(o.unstack(x, axis=3)[:3], axis=1),
    )


def _products() -> Iterator[Network]:
    from keras import ops as o

    yield from _of(
        "rows",
        matmul=lambda x: o.matmul(x, o.transpose(x, (0, 2, 1))),
        einsum=lambda x: o.einsum("bij,bkj->bik", x, x),
        einsum__heads=lambda x: o.einsum("bihd,bjhd->bhij", o.reshape(x, (-1, 12, 4, 24)), o.reshape(x, (-1, 12, 4, 24))),
        dot_product_attention=lambda x: o.dot_product_attention(*[o.reshape(x, (-1, 12, 4, 24))] * 3),
        outer=lambda x: o.einsum("bi,bj->bij", x[:, 0, :12], x[:, 1, :12]),
    )


def _images() -> Iterator[Network]:
    from keras import ops as o

    from corpus.layers import _small

    yield from _of(
        "image",
        image_resize=lambda x: _small(o.image.resize(x, (16, 18))),
        image_resize__antialias=lambda x: _small(o.image.resize(x, (10, 14), antialias=True)),
        image_resize__bicubic=lambda x: _small(o.image.resize(x, (40, 30), interpolation="bicubic")),
        image_rgb_to_grayscale=lambda x: _small(o.image.rgb_to_grayscale(x)),
        image_rgb_to_hsv=lambda x: _small(o.image.rgb_to_hsv(x)),
        image_hsv_to_rgb=lambda x: _small(o.image.hsv_to_rgb(x)),
        image_extract_patches=lambda x: o.image.extract_patches(x, 6),
        image_extract_patches__overlapping=lambda x: o.image.extract_patches(x, 6, strides=4, padding="same"),
        image_crop_images=lambda x: _small(
            o.image.crop_images(x, top_cropping=2, left_cropping=3, target_height=20, target_width=18)
        ),
        image_pad_images=lambda x: _small(
            o.image.pad_images(x, top_padding=1, left_padding=2, bottom_padding=1, right_padding=3)
        ),
        image_gaussian_blur=lambda x: _small(o.image.gaussian_blur(x)),
        image_sobel_edges=lambda x: _small(o.reshape(o.image.sobel_edges(x), (-1, 24, 24, 6))),
        image_affine_transform=lambda x: _small(
            o.image.affine_transform(x, o.convert_to_tensor([[1.0, 0.1, -1.0, 0.0, 0.9, 1.0, 0.0, 0.0]]))
        ),
    )
