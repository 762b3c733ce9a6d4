# SPDX-License-Identifier: Apache-2.0
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeferry.targets.litert.tflite_file import dequantized, labels_in, quantized

UINT8: dict[str, Any] = {"dtype": np.uint8, "quantization": (0.5, 10)}
INT8: dict[str, Any] = {"dtype": np.int8, "quantization": (0.5, -10)}
FLOAT32: dict[str, Any] = {"dtype": np.float32, "quantization": (0.0, 0)}


def test_integers_stand_for_values_by_scale_and_zero_point() -> None:
    values = np.array([-5.0, 0.0, 0.5, 100.0], np.float32)
    assert quantized(values, UINT8).tolist() == [0, 10, 11, 210]
    assert dequantized(quantized(values, UINT8), UINT8).tolist() == values.tolist()


@pytest.mark.parametrize(("tensor", "limits"), [(UINT8, [0, 255]), (INT8, [-128, 127])])
def test_values_beyond_the_type_are_clipped_not_wrapped(tensor: dict[str, Any], limits: list[int]) -> None:
    assert quantized(np.array([-1e6, 1e6], np.float32), tensor).tolist() == limits


def test_floats_stay_as_they_are() -> None:
    values = np.array([-1.25, 3.5], np.float32)
    assert (quantized(values, FLOAT32) == values).all()
    assert (dequantized(values, FLOAT32) == values).all()


def test_labels_are_read_from_the_archive_after_the_model(tmp_path: Path) -> None:
    file = tmp_path / "model.tflite"
    file.write_bytes(b"\x1c\0\0\0TFL3" + bytes(500))
    assert labels_in(file) is None
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("labels.txt", "cat\nDünnhäuter\n")
    assert labels_in(file) == ("cat", "Dünnhäuter")
