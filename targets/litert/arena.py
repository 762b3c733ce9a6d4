# SPDX-License-Identifier: Apache-2.0
"""How large TF Lite's arena is: the block of memory that holds all tensors that are not in the file.

The interpreter has no word for it, but shows where each tensor stands.
"""

from typing import Any, Final

from edgeferry.targets.target import Job

# Tensors are laid on multiples of it: what lies closer together belongs to one block.
ALIGNMENT: Final = 64


def arena_bytes(job: Job, **options: Any) -> int:
    """Return the bytes of the arena; ``options`` are more of the interpreter's own.

    What XNNPACK plans for the operations that it took is its own, and not in it.
    """
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    content = job.main_file.read_bytes()
    begin = np.frombuffer(content, np.uint8).ctypes.data
    interpreter = Interpreter(model_content=content, num_threads=job.threads, **options)
    interpreter.allocate_tensors()
    spans = []
    # Only those that it describes: to ask for one of the others kills the process.
    for index in (tensor["index"] for tensor in interpreter.get_tensor_details()):
        try:
            held = interpreter.tensor(index)()
        except ValueError:
            # It has no place: what would read it was taken by a delegate.
            continue
        if isinstance(held, np.ndarray) and held.nbytes and not begin <= held.ctypes.data < begin + len(content):
            spans.append((held.ctypes.data, held.ctypes.data + held.nbytes))
    return covered(spans)


def covered(spans: list[tuple[int, int]]) -> int:
    """Return how many bytes the spans [begin, end) of addresses cover, with what alignment leaves free between them."""
    total, reached = 0, 0
    for begin, end in sorted(spans):
        start = reached if begin - reached < ALIGNMENT else begin
        total += max(end - start, 0)
        reached = max(reached, end)
    return total
