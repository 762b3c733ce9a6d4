# SPDX-License-Identifier: Apache-2.0
"""The networks of keras.applications that take scaled pixels, and what their preprocess_input makes of them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Backbone:
    """A family of networks: the module that prepares its images, how, its models' names, and a layer that it alone has.

    ``mode`` is that of ``keras.applications.imagenet_utils.preprocess_input``: 'tf', 'caffe' or 'torch'.
    """

    module: str
    mode: str
    name: str
    layer: str


# From keras/src/applications; networks that scale pixels themselves (EfficientNet, MobileNetV3, ConvNeXt) are not here.
BACKBONES: Final = (
    Backbone("densenet", "torch", r"densenet\d+", r"conv2_block1_concat"),
    Backbone("resnet_v2", "tf", r"resnet\d+v2", r"conv2_block1_preact_bn"),
    Backbone("resnet", "caffe", r"resnet\d+", r"conv2_block1_1_conv"),
    Backbone("vgg16", "caffe", r"vgg1[69]", r"block5_conv1"),
    Backbone("mobilenet_v2", "tf", r"mobilenetv2_.*", r"bn_Conv1"),
    Backbone("mobilenet", "tf", r"mobilenet_\d.*", r"conv_dw_1"),
    Backbone("xception", "tf", r"xception", r"block2_sepconv1"),
    Backbone("inception_v3", "tf", r"inception_v3", r"mixed0"),
    Backbone("inception_resnet_v2", "tf", r"inception_resnet_v2", r"mixed_5b"),
    Backbone("nasnet", "tf", r"nasnet.*", r"reduction_conv_1_stem_1"),
)


def backbone_of(model: "keras.Model") -> Backbone | None:
    """Return the family of a model, or of a model inside it, by its name or by the names of its layers."""
    import keras

    for each in _models(model):
        found = [family for family in BACKBONES if re.fullmatch(family.name, each.name)]
        names = {layer.name for layer in each.layers if not isinstance(layer, keras.Model)}
        found += [family for family in BACKBONES if family.layer in names]
        if found:
            return found[0]
    return None


def _models(model: Any) -> Iterator[Any]:
    import keras

    yield model
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _models(layer)
