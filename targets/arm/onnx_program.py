# SPDX-License-Identifier: Apache-2.0
"""Run on an emulated processor: images by ONNX Runtime; ``onnx_program.py MODEL IMAGES SCORES ABOUT``.

The images are the model's inputs, [count, height, width, channels]; the scores are its outputs, [count, classes]; about.json
says what ran. Nothing of edgeferry is imported.
"""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path


def main(model: str, images: str, scores: str, about: str) -> None:
    """Run every image by itself, on one thread."""
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    found = [session.run(None, {name: image[None]})[0][0] for image in np.load(images, mmap_mode="r")]
    np.save(scores, np.stack(found))
    ran = {"runtime": "onnxruntime", "version": onnxruntime.__version__, "machine": platform.machine()}
    Path(about).write_text(json.dumps({**ran, "providers": session.get_providers()}), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
