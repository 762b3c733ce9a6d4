# SPDX-License-Identifier: Apache-2.0
"""The size of TF Lite's arena: the block of memory that holds all tensors that are not in the file.

The interpreter does not report it, but it shows the address of each tensor.
"""

from typing import Any, Final

from edgeferry.targets.target import Job

# Tensors begin at multiples of it: tensors that are closer together belong to one block.
ALIGNMENT: Final = 64


def arena_bytes(job: Job, **options: Any) -> int:
    """Return the bytes of the arena; ``options`` are further options of the interpreter.

    What XNNPACK plans for the operations that it took is not part of it.
    """
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    content = job.main_file.read_bytes()
    begin = np.frombuffer(content, np.uint8).ctypes.data
    interpreter = Interpreter(model_content=content, num_threads=job.threads, **options)
    interpreter.allocate_tensors()
    spans = []
    # Only the described ones: reading any other kills the process.
    for index in (tensor["index"] for tensor in interpreter.get_tensor_details()):
        try:
            held = interpreter.tensor(index)()
        except ValueError:
            # It has no memory: a delegate took the operations that read it.
            continue
        if isinstance(held, np.ndarray) and held.nbytes and not begin <= held.ctypes.data < begin + len(content):
            spans.append((held.ctypes.data, held.ctypes.data + held.nbytes))
    return covered(spans)


def covered(spans: list[tuple[int, int]]) -> int:
    """Return how many bytes the address spans [begin, end) cover, including the gaps that alignment leaves between them."""
    total, reached = 0, 0
    for begin, end in sorted(spans):
        start = reached if begin - reached < ALIGNMENT else begin
        total += max(end - start, 0)
        reached = max(reached, end)
    return total
