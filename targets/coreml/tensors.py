# SPDX-License-Identifier: Apache-2.0
"""What a Core ML package computes between its input and its output, by the evaluator, each result rounded as declared."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from edgeferry.targets.coreml.pictures import pictures
from edgeferry.targets.target import Job, Tensors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def tensors(job: Job) -> Tensors:
    """Return the results of a package's operations by name; the picture that it takes is none of them."""
    from edgeferry.targets.mil.package import open_package
    from edgeferry.targets.mil.program import read_program

    package = open_package(job.main_file)
    program = read_program(package, rounds_to_float16=True, fuses=False)
    return Tensors(_values(program, package.inputs[0].name, pictures(job, package)))


def _values(program: Any, name: str, images: "list[NDArray[np.float32]]") -> "Iterator[Mapping[str, NDArray[np.float32]]]":
    import numpy as np

    for image in images:
        found: dict[str, NDArray[np.float32]] = {}

        def keep(results: Mapping[str, Any], found: "dict[str, NDArray[np.float32]]" = found) -> None:
            for key, value in results.items():
                if isinstance(value, np.ndarray) and np.issubdtype(value.dtype, np.floating):
                    found[key] = value.astype(np.float32)

        program.evaluated({name: image}, keep)
        yield found
