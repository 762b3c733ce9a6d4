# SPDX-License-Identifier: Apache-2.0
"""Run on an emulated processor: prints as JSON which one it is, and its answers to a known question.

``python check_processor.py known.tflite`` needs a TF Lite runtime; without the file it prints the processor alone. Python 3.7 is
enough, and nothing of edgeferry is imported.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import platform
import struct
import sys
from typing import Any

# mrs x0, midr_el1; ret. Linux lets programs read the register, and QEMU answers for the processor that it emulates
# (Arm Architecture Reference Manual, D19.2.97, Main ID Register).
READ_MAIN_ID = struct.pack("<II", 0xD5380000, 0xD65F03C0)
QUESTIONS = 4


def main_id() -> dict[str, int] | None:
    """Return implementer and part number of a 64-bit ARM processor, or None on any other."""
    if platform.machine() != "aarch64":
        return None
    memory = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory.write(READ_MAIN_ID)
    value = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(ctypes.c_char.from_buffer(memory)))()
    return {"implementer": value >> 24 & 0xFF, "part": value >> 4 & 0xFFF}


def question(number: int, shape: Any) -> Any:
    """Return the input of a question: uint8, pseudo-random."""
    import numpy as np

    count = int(np.prod(shape))
    values = (np.arange(count, dtype=np.uint64) * np.uint64(2654435761 + 2 * number) + np.uint64(number * 977)) >> np.uint64(13)
    return (values % np.uint64(256)).astype(np.uint8).reshape(shape)


def answers(model: str) -> list[list[int]]:
    """Return the runtime's integers for every question."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        from tflite_runtime.interpreter import Interpreter

    interpreter = Interpreter(model)
    interpreter.allocate_tensors()
    image, scores = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    found = []
    for number in range(QUESTIONS):
        interpreter.set_tensor(image["index"], question(number, image["shape"]))
        interpreter.invoke()
        found.append(interpreter.get_tensor(scores["index"])[0].tolist())
    return found


if __name__ == "__main__":
    found = {"machine": platform.machine(), "main_id": main_id(), "answers": answers(sys.argv[1]) if len(sys.argv) > 1 else None}
    sys.stdout.write(json.dumps(found) + "\n")
