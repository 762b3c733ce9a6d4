# SPDX-License-Identifier: Apache-2.0
"""Run by the Python of OpenVINO's environment: write an ONNX file as IR with float16 weights; ``convert_openvino.py ONNX XML``.

OpenVINO keeps the ONNX file's metadata. Nothing of edgeferry is imported.
"""

import sys


def main(source: str, target: str) -> None:
    """Convert a file."""
    import openvino  # type: ignore[import-not-found]

    openvino.save_model(openvino.Core().read_model(source), target, compress_to_fp16=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
