# SPDX-License-Identifier: Apache-2.0
"""Size: the bytes of an artifact's files, and as gzip compresses them."""

import zlib
from functools import cache
from pathlib import Path

from edgeferry.benchmarks.latency.costs.cost import Cost, CostNumbers
from edgeferry.benchmarks.report.words import size
from edgeferry.models.artifact import read_artifact
from edgeferry.targets.target import Job


def measure_size(target: str, job: Job) -> CostNumbers:
    """Return the size of an artifact's files, which is the same on every target."""
    del target
    artifact = job.artifact
    return CostNumbers({"bytes": artifact.bytes, "compressed_bytes": compressed_bytes(job.folder, artifact.sha256)})


@cache
def compressed_bytes(folder: Path, sha256: str) -> int:
    """Return how many bytes an artifact's files are as gzip compresses each, as most of them travel; ``sha256`` is theirs."""
    del sha256  # what the result is cached by
    total = 0
    for file in read_artifact(folder).files:
        packer = zlib.compressobj(wbits=31)
        with (folder / file).open("rb") as stream:
            while block := stream.read(1 << 20):
                total += len(packer.compress(block))
        total += len(packer.flush())
    return total


COSTS = (
    Cost(
        name="bytes",
        title="size",
        unit="bytes",
        meaning="all files of the artifact",
        text=lambda number, _: size(number),
        measure=measure_size,
        needs_runtime=False,
    ),
    Cost(
        name="compressed_bytes",
        title="gzip",
        unit="bytes",
        meaning="the same files, each compressed by gzip",
        text=lambda number, _: size(number),
        measure=measure_size,
        needs_runtime=False,
    ),
)
