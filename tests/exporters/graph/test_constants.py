# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import pytest
from keras import layers

from edgeferry.exporters.graph.constants import keep_constants
from edgeferry.exporters.graph.fold import fold_constants
from edgeferry.exporters.graph.source import Source, _frozen
from edgeferry.exporters.weights.constants import RECORD
from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.preprocessing import Preprocessing

pytestmark = pytest.mark.slow


def gated() -> keras.Model:
    """Return a network with a layer of one channel, as attention to parts of an image has, and its bias of one number."""
    x = keras.Input((8, 6, 3))
    y = layers.Conv2D(4, 3, name="stem")(x)
    gate = layers.Conv2D(1, 1, activation="sigmoid", bias_initializer="ones", name="gate")(y)
    return keras.Model(x, layers.Dense(3, activation="softmax", name="head")(layers.Flatten()(layers.Multiply()([y, gate]))))


def test_every_bias_that_a_weight_names_is_kept(tmp_path: Path) -> None:
    gated().save(tmp_path / "my.keras")
    how = Preprocessing(8, 6, "rgb", (0.0,) * 3, (1.0,) * 3)
    spec = ModelSpec("my", tmp_path / "my.toml", tmp_path / "my.keras", ("a", "b", "c"), how, tmp_path / "golden")
    reference: Any = SimpleNamespace(source_sha256="0" * 64, output="probabilities")
    graph = fold_constants(_frozen(spec, "probabilities", None), "probabilities")
    keep_constants(Source(spec, reference, tmp_path, graph, ()), tmp_path / "weights", "key")
    kept = json.loads((tmp_path / "weights" / RECORD).read_text(encoding="utf-8"))["constants"]
    named = {each["layer"]: each["biases"] for each in kept if each["role"] == "weight"}
    assert set(named) == {"stem", "gate", "head"}
    assert named["gate"] == []
    assert len(named["stem"]) == len(named["head"]) == 1
    assert {name for biases in named.values() for name in biases} <= {each["name"] for each in kept}
