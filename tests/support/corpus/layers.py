# SPDX-License-Identifier: Apache-2.0
"""A network for each layer, in the forms in which converters differ."""

from collections.abc import Callable, Iterator
from typing import Any

from corpus.network import Network, On


def networks() -> Iterator[Network]:
    """Yield a network for each layer and form."""
    for part in (
        _convolutions,
        _pools,
        _normalisations,
        _attentions,
        _shapes,
        _recurrent,
        _merges,
        _preprocessing,
        _augmentation,
    ):
        yield from part()


def _of(on: On, **blocks: Callable[[Any], Any]) -> Iterator[Network]:
    """Yield a network per block; a name is a layer of Keras, then ``__`` and the form it has."""
    for name, block in blocks.items():
        layer, _, form = name.partition("__")
        title = f"{layer} ({form.replace('_', ' ')})" if form else layer
        yield Network(title, (f"layers.{layer}",), on, block)


def _convolutions() -> Iterator[Network]:
    from keras import layers as k

    yield from _of(
        "features",
        Conv2D=lambda x: k.Conv2D(12, 3, activation="relu")(x),
        Conv2D__strides_2_same=lambda x: k.Conv2D(12, 3, strides=2, padding="same")(x),
        Conv2D__even_kernel_strides_3=lambda x: k.Conv2D(12, 4, strides=3, padding="same")(x),
        Conv2D__unequal_strides=lambda x: k.Conv2D(12, (3, 5), strides=(2, 1), padding="same")(x),
        Conv2D__dilated=lambda x: k.Conv2D(12, 3, dilation_rate=2, padding="same")(x),
        Conv2D__dilated_valid=lambda x: k.Conv2D(12, 3, dilation_rate=(2, 3))(x),
        Conv2D__groups=lambda x: k.Conv2D(16, 3, groups=4, padding="same", activation="relu")(x),
        Conv2D__groups_dilated=lambda x: k.Conv2D(16, 3, groups=2, dilation_rate=2, padding="same")(x),
        Conv2D__groups_strides_2=lambda x: k.Conv2D(16, 3, groups=8, strides=2, padding="same")(x),
        Conv2D__shared=_shared,
        Conv2DTranspose=lambda x: k.Conv2DTranspose(6, 3, strides=2, padding="same")(x),
        Conv2DTranspose__valid=lambda x: k.Conv2DTranspose(6, 4, strides=2)(x),
        Conv2DTranspose__output_padding=lambda x: k.Conv2DTranspose(6, 3, strides=2, padding="same", output_padding=1)(x),
        DepthwiseConv2D=lambda x: k.DepthwiseConv2D(3, padding="same", activation="relu6")(x),
        DepthwiseConv2D__multiplier_strides_2=lambda x: k.DepthwiseConv2D(3, strides=2, depth_multiplier=2)(x),
        DepthwiseConv2D__dilated=lambda x: k.DepthwiseConv2D(3, dilation_rate=2, padding="same")(x),
        SeparableConv2D=lambda x: k.SeparableConv2D(12, 3, padding="same", activation="relu")(x),
        SeparableConv2D__strides_2_multiplier=lambda x: k.SeparableConv2D(12, 3, strides=2, depth_multiplier=2)(x),
        SpectralNormalization=lambda x: k.SpectralNormalization(k.Conv2D(8, 3))(x),
        TimeDistributed=lambda x: k.TimeDistributed(k.Conv1D(6, 3))(x),
        Conv3D=lambda x: k.Conv3D(4, 3, padding="same")(k.Reshape((12, 12, 8, 1))(x)),
        Conv3DTranspose=lambda x: k.Conv3DTranspose(2, 2, strides=2)(k.Reshape((6, 12, 8, 2))(x)),
    )
    yield from _of(
        "rows",
        Conv1D=lambda x: k.Conv1D(12, 3, strides=2, padding="same")(x),
        Conv1D__causal=lambda x: k.Conv1D(12, 3, padding="causal", dilation_rate=2)(x),
        Conv1D__groups=lambda x: k.Conv1D(12, 3, groups=4)(x),
        Conv1DTranspose=lambda x: k.Conv1DTranspose(12, 3, strides=2)(x),
        DepthwiseConv1D=lambda x: k.DepthwiseConv1D(3, padding="same")(x),
        SeparableConv1D=lambda x: k.SeparableConv1D(12, 3)(x),
        Dense__on_rows=lambda x: k.Dense(12, activation="relu")(x),
        EinsumDense=lambda x: k.EinsumDense("abc,cd->abd", output_shape=(12, 10), bias_axes="d")(x),
        EinsumDense__heads=lambda x: k.EinsumDense("abc,cde->abde", output_shape=(12, 2, 8), bias_axes="de")(x),
    )
    yield from _of(
        "vector",
        Dense=lambda x: k.Dense(24, activation="relu")(x),
        Dense__no_bias=lambda x: k.Dense(24, use_bias=False)(x),
    )


def _shared(x: Any) -> Any:
    from keras import layers as k

    shared = k.Conv2D(8, 3, padding="same", activation="relu")
    return k.Concatenate()([shared(x), shared(k.AveragePooling2D(3, strides=1, padding="same")(x))])


def _pools() -> Iterator[Network]:
    from keras import layers as k

    yield from _of(
        "features",
        MaxPooling2D=lambda x: k.MaxPooling2D()(x),
        MaxPooling2D__same_odd=lambda x: k.MaxPooling2D(3, strides=2, padding="same")(x),
        MaxPooling2D__overlapping=lambda x: k.MaxPooling2D((3, 2), strides=(2, 1))(x),
        AveragePooling2D=lambda x: k.AveragePooling2D(2)(x),
        AveragePooling2D__same=lambda x: k.AveragePooling2D(3, strides=2, padding="same")(x),
        AveragePooling2D__same_strides_1=lambda x: k.AveragePooling2D(5, strides=1, padding="same")(x),
        GlobalAveragePooling2D=lambda x: k.GlobalAveragePooling2D()(_wide(x)),
        GlobalAveragePooling2D__keepdims=lambda x: k.Conv2D(48, 1)(k.GlobalAveragePooling2D(keepdims=True)(_wide(x))),
        GlobalMaxPooling2D=lambda x: k.GlobalMaxPooling2D()(_wide(x)),
        AdaptiveAveragePooling2D=lambda x: k.AdaptiveAveragePooling2D((5, 7))(x),
        AdaptiveMaxPooling2D=lambda x: k.AdaptiveMaxPooling2D((5, 7))(x),
        MaxPooling3D=lambda x: k.MaxPooling3D(2)(k.Reshape((12, 12, 4, 2))(x)),
        AveragePooling3D=lambda x: k.AveragePooling3D(2)(k.Reshape((12, 12, 4, 2))(x)),
        GlobalAveragePooling3D=lambda x: k.GlobalAveragePooling3D()(k.Reshape((6, 2, 6, 16))(x)),
        GlobalMaxPooling3D=lambda x: k.GlobalMaxPooling3D()(k.Reshape((6, 2, 6, 16))(x)),
        AdaptiveAveragePooling3D=lambda x: k.AdaptiveAveragePooling3D((3, 4, 2))(k.Reshape((12, 12, 4, 2))(x)),
        AdaptiveMaxPooling3D=lambda x: k.AdaptiveMaxPooling3D((3, 4, 2))(k.Reshape((12, 12, 4, 2))(x)),
    )
    yield from _of(
        "rows",
        MaxPooling1D=lambda x: k.MaxPooling1D(3, strides=2, padding="same")(x),
        AveragePooling1D=lambda x: k.AveragePooling1D(2)(x),
        GlobalAveragePooling1D=lambda x: k.GlobalAveragePooling1D()(x),
        GlobalMaxPooling1D=lambda x: k.GlobalMaxPooling1D()(x),
        AdaptiveAveragePooling1D=lambda x: k.AdaptiveAveragePooling1D(5)(x),
        AdaptiveMaxPooling1D=lambda x: k.AdaptiveMaxPooling1D(5)(x),
    )


def _wide(x: Any) -> Any:
    """Return more features, of which a few numbers for each image are enough to know it by."""
    from keras import layers as k

    return k.Conv2D(48, 5, activation="relu", padding="same")(x)


def _normalisations() -> Iterator[Network]:
    from keras import layers as k

    yield from _of(
        "features",
        BatchNormalization=lambda x: k.ReLU()(k.BatchNormalization()(k.Conv2D(8, 3)(x))),
        BatchNormalization__before=lambda x: k.Conv2D(8, 3, padding="same")(k.BatchNormalization()(x)),
        BatchNormalization__no_scale=lambda x: k.BatchNormalization(scale=False, center=False)(x),
        LayerNormalization=lambda x: k.LayerNormalization()(x),
        LayerNormalization__two_axes=lambda x: k.LayerNormalization(axis=(2, 3))(x),
        LayerNormalization__no_scale=lambda x: k.LayerNormalization(center=False, scale=False)(x),
        GroupNormalization=lambda x: k.GroupNormalization(groups=2)(x),
        GroupNormalization__instance=lambda x: k.GroupNormalization(groups=-1)(x),
        RMSNormalization=lambda x: k.RMSNormalization()(x),
        UnitNormalization=lambda x: k.UnitNormalization()(x),
        Normalization=lambda x: k.Normalization(mean=[0.5] * 8, variance=[2.0] * 8)(x),
        Rescaling=lambda x: k.Rescaling(0.5, offset=-1)(x),
        ActivityRegularization=lambda x: k.ActivityRegularization(l2=0.1)(x),
        Dropout=lambda x: k.Dropout(0.5)(x),
        AlphaDropout=lambda x: k.AlphaDropout(0.5)(x),
        GaussianDropout=lambda x: k.GaussianDropout(0.5)(x),
        GaussianNoise=lambda x: k.GaussianNoise(0.5)(x),
        SpatialDropout2D=lambda x: k.SpatialDropout2D(0.5)(x),
        SpatialDropout3D=lambda x: k.SpatialDropout3D(0.5)(k.Reshape((12, 12, 4, 2))(x)),
        Identity=lambda x: k.Identity()(x),
    )
    yield from _of("rows", SpatialDropout1D=lambda x: k.SpatialDropout1D(0.5)(x))


def _attentions() -> Iterator[Network]:
    from keras import layers as k

    yield from _of(
        "rows",
        MultiHeadAttention=lambda x: k.MultiHeadAttention(2, 8)(x, x),
        MultiHeadAttention__block=_block,
        MultiHeadAttention__no_flash=lambda x: k.MultiHeadAttention(4, 6, value_dim=5, use_bias=False)(x, x),
        MultiHeadAttention__causal=lambda x: k.MultiHeadAttention(2, 8)(x, x, use_causal_mask=True),
        MultiHeadAttention__shifted_windows=_windows,
        GroupQueryAttention=lambda x: k.GroupQueryAttention(8, 4, 2)(x, x),
        Attention=lambda x: k.Attention()([x, x]),
        Attention__scaled=lambda x: k.Attention(use_scale=True)([x, x]),
        AdditiveAttention=lambda x: k.AdditiveAttention()([x, x]),
    )


def _windows(x: Any) -> Any:
    """Return attention as a shifted-window transformer masks it: -100 is added where a row belongs to another window."""
    import numpy as np
    from keras import layers as k
    from keras import ops as o

    window = np.arange(x.shape[1]) // (x.shape[1] // 2)
    apart = np.where(window[:, None] == window, 0.0, -100.0).astype(np.float32)
    queries, keys, values = (k.Dense(16)(x) for _ in range(3))
    seen = o.softmax(o.matmul(queries, o.transpose(keys, (0, 2, 1))) / 4 + apart)
    return o.matmul(seen, values)


def _block(x: Any) -> Any:
    """Return the output of a block of a vision transformer."""
    from keras import layers as k

    x = k.Dense(24)(x)
    normal = k.LayerNormalization(epsilon=1e-6)(x)
    x = k.Add()([x, k.MultiHeadAttention(3, 8)(normal, normal)])
    wide = k.Dense(48, activation="gelu")(k.LayerNormalization(epsilon=1e-6)(x))
    return k.GlobalAveragePooling1D()(k.Add()([x, k.Dense(24)(wide)]))


def _shapes() -> Iterator[Network]:
    from keras import layers as k

    yield from _of(
        "features",
        Flatten=lambda x: k.Flatten()(x),
        Reshape=lambda x: k.Dense(8)(k.Reshape((-1, 48))(x)),
        Permute=lambda x: k.Conv2D(6, 3)(k.Permute((3, 1, 2))(x)),
        Cropping2D=lambda x: k.Cropping2D(((1, 2), (3, 0)))(x),
        ZeroPadding2D=lambda x: k.Conv2D(8, 3)(k.ZeroPadding2D(((0, 1), (2, 0)))(x)),
        ZeroPadding2D__strides_2=lambda x: k.Conv2D(8, 3, strides=2)(k.ZeroPadding2D(((0, 1), (0, 1)))(x)),
        UpSampling2D=lambda x: k.UpSampling2D()(x),
        UpSampling2D__bilinear=lambda x: k.UpSampling2D((2, 3), interpolation="bilinear")(x),
        UpSampling2D__bicubic=lambda x: k.UpSampling2D(2, interpolation="bicubic")(x),
        UpSampling3D=lambda x: k.UpSampling3D()(k.Reshape((6, 6, 4, 8))(x)),
        ZeroPadding3D=lambda x: k.ZeroPadding3D()(k.Reshape((6, 6, 4, 8))(x)),
        Cropping3D=lambda x: k.Cropping3D()(k.Reshape((6, 6, 4, 8))(x)),
    )
    yield from _of(
        "rows",
        Cropping1D=lambda x: k.Cropping1D((1, 2))(x),
        ZeroPadding1D=lambda x: k.Conv1D(8, 3)(k.ZeroPadding1D((1, 2))(x)),
        UpSampling1D=lambda x: k.UpSampling1D(2)(x),
        Masking=lambda x: k.GlobalAveragePooling1D()(k.Masking(mask_value=0.0)(x)),
    )
    yield from _of(
        "vector",
        RepeatVector=lambda x: k.Conv1D(4, 2)(k.RepeatVector(3)(x)),
        Embedding=lambda x: k.Embedding(8, 6)(_whole_numbers(x)),
        ReversibleEmbedding=lambda x: k.ReversibleEmbedding(8, 6)(_whole_numbers(x)),
        Discretization=lambda x: k.Embedding(4, 5)(k.Discretization(bin_boundaries=[-1.0, 0.0, 1.0])(x)),
        CategoryEncoding=lambda x: k.CategoryEncoding(8, output_mode="one_hot")(_whole_numbers(x)),
    )


def _whole_numbers(x: Any) -> Any:
    from keras import ops

    return ops.cast(ops.clip(x + 4, 0, 7), "int32")


def _recurrent() -> Iterator[Network]:
    from keras import layers as k

    yield from _of(
        "rows",
        LSTM=lambda x: k.LSTM(16)(x),
        LSTM__sequences=lambda x: k.LSTM(8, return_sequences=True)(x),
        LSTM__unrolled=lambda x: k.LSTM(8, unroll=True)(x),
        GRU=lambda x: k.GRU(16)(x),
        GRU__reset_before=lambda x: k.GRU(16, reset_after=False)(x),
        SimpleRNN=lambda x: k.SimpleRNN(16)(x),
        RNN=lambda x: k.RNN(k.LSTMCell(8))(x),
        StackedRNNCells=lambda x: k.RNN(k.StackedRNNCells([k.GRUCell(8), k.SimpleRNNCell(6)]))(x),
        Bidirectional=lambda x: k.Bidirectional(k.GRU(8))(x),
        ConvLSTM1D=lambda x: k.ConvLSTM1D(4, 3)(k.Reshape((6, 12, 16))(x)),
        ConvLSTM2D=lambda x: k.ConvLSTM2D(4, 3)(k.Reshape((3, 12, 8, 4))(x)),
    )


def _merges() -> Iterator[Network]:
    from keras import layers as k

    yield from _of(
        "features",
        Add=lambda x: k.Add()([x, k.Conv2D(8, 1)(x)]),
        Add__three=lambda x: k.Add()([x, k.Conv2D(8, 1)(x), k.Conv2D(8, 3, padding="same")(x)]),
        Subtract=lambda x: k.Subtract()([x, k.Conv2D(8, 1)(x)]),
        Multiply=lambda x: k.Multiply()([x, k.Conv2D(8, 1, activation="sigmoid")(x)]),
        Multiply__squeeze_and_excite=_squeezed,
        Average=lambda x: k.Average()([x, k.Conv2D(8, 1)(x)]),
        Maximum=lambda x: k.Maximum()([x, k.Conv2D(8, 1)(x)]),
        Minimum=lambda x: k.Minimum()([x, k.Conv2D(8, 1)(x)]),
        Concatenate=lambda x: k.Concatenate()([x, k.Conv2D(3, 1)(x)]),
        Concatenate__rows=lambda x: k.Concatenate(axis=1)([x, k.Conv2D(8, 3)(k.ZeroPadding2D(((0, 0), (1, 1)))(x))]),
    )
    yield from _of(
        "rows",
        Dot=lambda x: k.Dot(axes=2)([x, x]),
        Dot__normalized=lambda x: k.Dot(axes=2, normalize=True)([x, x]),
    )


def _squeezed(x: Any) -> Any:
    from keras import layers as k

    squeezed = k.Dense(4, activation="relu")(k.GlobalAveragePooling2D(keepdims=True)(x))
    return k.Multiply()([x, k.Dense(8, activation="hard_sigmoid")(squeezed)])


def _preprocessing() -> Iterator[Network]:
    """Yield layers of pictures, which are given the image."""
    from keras import layers as k

    yield from _of(
        "image",
        Resizing=lambda x: _small(k.Resizing(16, 20)(x)),
        Resizing__nearest=lambda x: _small(k.Resizing(15, 33, interpolation="nearest")(x)),
        Resizing__bicubic=lambda x: _small(k.Resizing(16, 20, interpolation="bicubic")(x)),
        Resizing__antialias=lambda x: _small(k.Resizing(10, 14, antialias=True)(x)),
        Resizing__lanczos=lambda x: _small(k.Resizing(16, 20, interpolation="lanczos3")(x)),
        Resizing__area=lambda x: _small(k.Resizing(12, 8, interpolation="area")(x)),
        Resizing__crop_to_aspect_ratio=lambda x: _small(k.Resizing(16, 20, crop_to_aspect_ratio=True)(x)),
        Resizing__pad_to_aspect_ratio=lambda x: _small(k.Resizing(16, 20, pad_to_aspect_ratio=True)(x)),
        CenterCrop=lambda x: _small(k.CenterCrop(18, 20)(x)),
        AutoContrast=lambda x: _small(k.AutoContrast(value_range=(0, 1))(x)),
        ContrastLimitedAdaptiveHistogramEqualization=lambda x: _small(
            k.ContrastLimitedAdaptiveHistogramEqualization(value_range=(0, 1), tile_grid_size=(4, 4))(x)
        ),
        Solarization=lambda x: _small(k.Solarization(value_range=(0, 1))(x)),
    )


def _augmentation() -> Iterator[Network]:
    """Yield layers that change pictures in training alone."""
    from keras import layers as k

    augments = {
        name: getattr(k, name)
        for name in (
            "AugMix",
            "MixUp",
            "CutMix",
            "RandAugment",
            "RandomErasing",
            "RandomGrayscale",
            "RandomInvert",
            "RandomElasticTransform",
        )
    }
    one = {
        **dict.fromkeys(("RandomContrast", "RandomHue", "RandomPerspective", "RandomPosterization", "RandomRotation"), 0.2),
        **dict.fromkeys(
            ("RandomSaturation", "RandomShear", "RandomSharpness", "RandomColorDegeneration", "RandomBrightness"), 0.2
        ),
        "RandomZoom": 0.1,
    }
    for name, kind in augments.items():
        yield from _of("image", **{name: lambda x, kind=kind: _small(kind()(x))})
    for name, factor in one.items():
        yield from _of("image", **{name: lambda x, name=name, factor=factor: _small(_augment(name, factor)(x))})
    yield from _of(
        "image",
        RandomShear=lambda x: _small(k.RandomShear((0.0, 0.2), (0.0, 0.2))(x)),
        RandomFlip=lambda x: _small(k.RandomFlip()(x)),
        RandomTranslation=lambda x: _small(k.RandomTranslation(0.1, 0.1)(x)),
        RandomColorJitter=lambda x: _small(k.RandomColorJitter(brightness_factor=0.1, value_range=(0, 1))(x)),
        RandomGaussianBlur=lambda x: _small(k.RandomGaussianBlur(value_range=(0, 1))(x)),
    )


def _augment(name: str, factor: float) -> Any:
    import keras

    kind = getattr(keras.layers, name)
    if name == "RandomPosterization":
        return kind(4, value_range=(0, 1))
    ranged = {"RandomHue", "RandomSharpness", "RandomBrightness", "RandomSaturation", "RandomContrast", "RandomColorDegeneration"}
    return kind(factor, value_range=(0, 1)) if name in ranged else kind(factor)


def _small(x: Any) -> Any:
    from keras import layers as k

    return k.Conv2D(8, 3, strides=2, activation="relu")(x)
