# SPDX-License-Identifier: Apache-2.0
"""What a TensorFlow.js graph model computes between its input and its output, in Node."""

import json
import shutil
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import write_json
from edgeferry.targets.host.program import run_program
from edgeferry.targets.target import Job, Tensors
from edgeferry.targets.timing import normalised_images
from edgeferry.targets.web.javascript import CLIENT, SCORES, TFJS, describe_job

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Nodes that compute nothing, or what is no array of numbers.
NOT_COMPUTED: Final = ("Const", "Placeholder", "NoOp", "Shape")
FLOAT: Final = "DT_FLOAT"


def tensors(job: Job) -> Tensors:
    """Return the values of the nodes of a graph model, computed by the wasm backend.

    Raises:
        EdgeError: the model cannot be read.
    """
    nodes, takes = _nodes(job)
    described = describe_job(job, TFJS, "wasm")
    result = job.work / "tensors.json"
    more = {"folder": str(job.folder.resolve()), "result": result.name, "nodes": nodes, "input": takes}
    write_json(job.work / "job.json", {**described, **more})
    run_program([shutil.which("node") or "node", CLIENT.resolve() / "node_tensors.js", "job.json"], job.work)
    return Tensors(_values(job, takes, json.loads(result.read_text(encoding="utf-8"))))


def _nodes(job: Job) -> tuple[list[str], str]:
    """Return the names of the nodes that compute float numbers, and that of the input."""
    try:
        nodes = json.loads(job.main_file.read_text(encoding="utf-8"))["modelTopology"]["node"]
        takes = next(each["name"] for each in nodes if each["op"] == "Placeholder")
        return [each["name"] for each in nodes if each["op"] not in NOT_COMPUTED and _is_float(each)], takes
    except (ValueError, KeyError, TypeError, StopIteration) as error:
        raise EdgeError(
            "EF-file-damaged", f"{job.main_file}: not a graph model that can be read ({error}); export again"
        ) from error


def _is_float(node: Mapping[str, Any]) -> bool:
    return bool(node.get("attr", {}).get("T", {}).get("type", FLOAT) == FLOAT)


def _values(job: Job, takes: str, described: list[dict[str, Any]]) -> "Iterator[Mapping[str, NDArray[np.float32]]]":
    import numpy as np

    every = np.memmap(job.work / SCORES, np.float32, "r")
    at = 0
    for image in normalised_images(job):
        found = {takes: image}
        for each in described:
            size = int(np.prod(each["shape"]))
            found[each["name"]] = np.array(every[at : at + size]).reshape(each["shape"])
            at += size
        yield found
