# SPDX-License-Identifier: Apache-2.0
"""What of Keras has no network of its own in the corpus, and why."""

from typing import Final

# Other names of the same classes.
ALIASES: Final = frozenset(
    {
        *(f"{kind}Pool{rank}D" for kind in ("Avg", "Max", "GlobalAvg", "GlobalMax") for rank in (1, 2, 3)),
        *(f"Convolution{rank}D" for rank in (1, 2, 3)),
        *(f"Convolution{rank}DTranspose" for rank in (1, 2, 3)),
        *("SeparableConvolution1D", "SeparableConvolution2D"),
    }
)
LAYERS: Final = {
    **dict.fromkeys(ALIASES, "another name of the same layer"),
    **dict.fromkeys(("Layer", "Wrapper", "InputSpec", "Pipeline", "InputLayer"), "no layer that computes"),
    **dict.fromkeys(("Lambda", "FlaxLayer", "JaxLayer", "TFSMLayer", "TorchModuleWrapper"), "runs code of the model's own"),
    **dict.fromkeys(
        ("TextVectorization", "StringLookup", "IntegerLookup", "Hashing", "HashedCrossing", "MaxNumBoundingBoxes"),
        "for text, tables or boxes",
    ),
    **dict.fromkeys(("MelSpectrogram", "STFTSpectrogram"), "for sound"),
    **dict.fromkeys(("GRUCell", "LSTMCell", "SimpleRNNCell"), "within RNN and StackedRNNCells"),
    "ConvLSTM3D": "for films of volumes",
    "RandomCrop": "Keras 3.15 declares another shape than it returns at inference",
    "Equalization": "Keras 3.15 cannot put it into a functional model",
}
ACTIVATIONS: Final = {
    **dict.fromkeys(("get", "serialize", "deserialize"), "no activation"),
    **dict.fromkeys(("hard_swish", "swish"), "another name of the same activation"),
}
