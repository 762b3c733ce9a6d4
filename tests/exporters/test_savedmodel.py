# SPDX-License-Identifier: Apache-2.0
from typing import Any

import tensorflow as tf


def test_it_has_one_named_signature(exported_digits: Any) -> None:
    signatures = tf.saved_model.load(str(exported_digits.build / "savedmodel")).signatures
    assert list(signatures) == ["serving_default"]
    assert list(signatures["serving_default"].structured_outputs) == ["probabilities"]


def test_it_takes_any_batch_size(exported_digits: Any) -> None:
    run = tf.saved_model.load(str(exported_digits.build / "savedmodel")).signatures["serving_default"]
    assert run(image=tf.zeros((3, 32, 32, 1)))["probabilities"].shape == (3, 10)
