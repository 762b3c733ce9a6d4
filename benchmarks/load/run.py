# SPDX-License-Identifier: Apache-2.0
"""``python -m edgeferry.benchmarks.load.run build/digits``: the endpoint's program under load, on this machine.

Prints the CPU time of a request next to ONNX Runtime's, and what locust measured; ends with status 1 where a request failed.
"""

import csv
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from edgeferry.benchmarks.load.cost import costs
from edgeferry.models.system.errors import EdgeError
from edgeferry.targets.endpoint.program import Program, program
from edgeferry.targets.target import Job

FORMAT: Final = "container-float32"
LOCUST: Final = "EDGEFERRY_LOCUST"
PERCENTILES: Final = ("50%", "90%", "99%")


def main(arguments: Sequence[str]) -> int:
    """Run the load test of a build folder; return 1 where a request failed or was answered wrongly."""
    build = Path(arguments[0])
    with tempfile.TemporaryDirectory() as work:
        job = Job(build / FORMAT, build / "reference" / "pixels.npy", Path(work))
        with program(job) as started:
            print(f"{'':20}{'CPU ms':>8}{'wall ms':>9}{'n':>7}")  # noqa: T201 - a program of its own
            for cost in costs(job, started):
                print(f"{cost.name:20}{cost.cpu_ms:8.3f}{cost.wall_ms:9.3f}{cost.requests:7}")  # noqa: T201 - likewise
            totals = _locust(job, started, Path(work))
    failed, count = int(totals["Failure Count"]), int(totals["Request Count"])
    rate = f"{float(totals['Requests/s']):.0f} requests/s"
    times = ", ".join(f"{each} {totals[each]} ms" for each in PERCENTILES)
    print(f"locust: {count} requests, {rate}, {times}, {failed} failed")  # noqa: T201 - likewise
    return int(failed > 0)


def _locust(job: Job, started: Program, work: Path) -> Mapping[str, str]:
    """Return the totals that locust wrote of the requests for inference."""
    locust = os.environ.get(LOCUST, "locust")
    file = Path(__file__).with_name("locustfile.py")
    command = [locust, "-f", str(file), "-H", started.address, "--headless", "--csv", str(work / "load"), "--only-summary"]
    environment = {**os.environ, "EDGEFERRY_LOAD_MODEL": job.main_file.stem}
    environment.pop("PYTHONPATH", None)
    try:
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603 - locust
    except OSError as error:
        raise EdgeError("EF-load-locust", f"{locust} cannot be run: {error.strerror}; `make load-test` installs it.") from None
    with (work / "load_stats.csv").open(newline="", encoding="utf-8") as table:
        rows = {row["Name"]: row for row in csv.DictReader(table)}
    if "infer" not in rows:
        raise EdgeError("EF-load-locust", f"locust sent no request: {ended.stderr[-300:]}")
    return rows["infer"]


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except EdgeError as problem:
        sys.exit(f"{problem} [{problem.code}]")
