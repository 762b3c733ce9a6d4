# SPDX-License-Identifier: Apache-2.0
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from edgeferry.benchmarks.parity.judging.expected import NO_CLASS
from edgeferry.benchmarks.selftest.laboratory import _images
from edgeferry.models.reference import PIXELS, PROBE_SCORES, PROBES, SCORES


def test_golden_images_without_labels_have_no_class(tmp_path: Path) -> None:
    place, scores = tmp_path / "reference", np.full((3, 2), 0.5, np.float32)
    place.mkdir()
    for name, values in {PIXELS: np.zeros((3, 2, 2, 1), np.uint8), SCORES: scores}.items():
        np.save(place / name, values)
    np.save(place / PROBES, np.zeros((0, 2, 2, 1), np.uint8))
    np.save(place / PROBE_SCORES, scores[:0])
    bench: Any = SimpleNamespace(build=tmp_path, reference=SimpleNamespace(labels=("a", "b")))
    images, labels = _images(bench, tmp_path, None)
    assert np.load(images).shape == (3, 2, 2, 1)
    assert labels.tolist() == [NO_CLASS] * 3
