# SPDX-License-Identifier: Apache-2.0
"""``python kill.py KILLS PAIRS SEED CONFIG FOLDER``: exports killed at random moments, and two at once; prints JSON.

After each the build folder is looked at: artifacts are whole, rows are true, nothing runs on. The next run has to finish.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

from edgeferry.benchmarks.parity.results import known_rows
from edgeferry.models.artifact import MANIFEST, read_artifact, what_changed

FORMATS: Final = ("tflite-float32", "onnx-float32")
COMMAND: Final = (
    *(sys.executable, "-m", "edgeferry", "export-all"),
    *(word for name in FORMATS for word in ("--format", name)),
    *("--target", "litert", "--target", "onnxruntime-cpu"),
)
LONGEST_S: Final = 300


def start(config: Path, build: Path, *more: str) -> subprocess.Popen[str]:
    """Start an export into a build folder, which is named after the model, in a process group of its own."""
    return subprocess.Popen(
        [*COMMAND, str(config), "--build", str(build.parent), *more],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )


def children_of(process: int) -> list[int]:
    """Return every process below one."""
    import psutil

    try:
        return [each.pid for each in psutil.Process(process).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def run_on(processes: list[int]) -> list[int]:
    """Return which processes still run after five seconds; those that ended wait for nobody."""
    import psutil

    limit = time.monotonic() + 5
    while True:
        left = [each for each in processes if psutil.pid_exists(each) and psutil.Process(each).status() != psutil.STATUS_ZOMBIE]
        if not left or time.monotonic() > limit:
            return left
        time.sleep(0.05)


def problems(build: Path) -> list[str]:
    """Return what is wrong in a build folder that nobody writes to: half artifacts, and rows that say what is not so."""
    found = []
    for name in FORMATS:
        if (build / name / MANIFEST).is_file():
            changed = what_changed(read_artifact(build / name), build / name)
            found += [f"half artifact: {name}: {changed}"] if changed else []
        elif (build / name).is_dir() and {path.name for path in (build / name).iterdir()} - {"export.log"}:
            found.append(f"half artifact: {name} without a manifest")
    found += [f"false row: {row.format}: {row.reason}" for row in known_rows(build).values() if row.outcome != "passed"]
    return found


def stop(process: subprocess.Popen[str], whom: str) -> list[int]:
    """Kill a run, its process group, or one of its children; return all that ran then."""
    below = children_of(process.pid)
    if whom == "group":
        os.killpg(process.pid, signal.SIGKILL)
    elif whom == "child" and below:
        os.kill(random.choice(below), signal.SIGKILL)  # noqa: S311 - any of them
    else:
        process.send_signal(signal.SIGTERM if whom == "terminated" else signal.SIGKILL)
    try:
        process.communicate(timeout=LONGEST_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return [process.pid]
    return below


def kill_one(config: Path, build: Path, dice: random.Random, longest_s: float) -> list[str]:
    """Kill an export at a random moment; return what is wrong after it, and after the run that follows."""
    whom = dice.choice(("parent", "child", "group", "terminated"))
    process = start(config, build)
    time.sleep(dice.uniform(0, longest_s))
    left = run_on(stop(process, whom))
    # A child that was killed is a failed row of that run, and a true one.
    found = [f"{whom}: runs on: {left}"] if left else []
    found += [f"{whom}: {each}" for each in problems(build) if whom != "child" or each.startswith("half")]
    return found + healed(config, build)


def healed(config: Path, build: Path) -> list[str]:
    """Run an export to its end; return what is wrong then."""
    process = start(config, build)
    _, said = process.communicate(timeout=LONGEST_S)
    left = [str(path.relative_to(build)) for path in build.rglob(".*") if path.name.endswith((".partial", ".old"))]
    wrong = [f"next run: status {process.returncode}: {said[-300:]}"] if process.returncode else []
    return wrong + [f"next run: left {name}" for name in left] + [f"next run: {each}" for each in problems(build)]


def pair(configs: tuple[Path, Path], build: Path, dice: random.Random) -> list[str]:
    """Start two runs on one folder; return what is wrong: one has to finish, the other finish or be refused."""
    wait = dice.random() < 0.5
    first = start(configs[0], build, *(("--wait",) if wait else ()))
    time.sleep(dice.choice((0, dice.uniform(0, 3))))
    second = start(configs[1], build, *(("--wait",) if wait else ()))
    ended = [(process.communicate(timeout=LONGEST_S)[1], process.returncode) for process in (first, second)]
    refused = [said for said, status in ended if status == 2 and ("EF-build-in-use" in said or "EF-name-taken" in said)]
    found = [f"pair: status {status}: {said[-300:]}" for said, status in ended if status and said not in refused]
    if len(refused) > 1 or (refused and wait and configs[0] == configs[1]):
        found.append(f"pair: refused: {refused}")
    return found + [f"pair: {each}" for each in problems(build)]


def main(kills: int, pairs: int, seed: int, config: Path, folder: Path) -> dict[str, Any]:
    """Return how many kills and pairs left nothing wrong, and what the others left."""
    dice, found, wrong = random.Random(seed), Counter[str](), []  # noqa: S311 - to be repeated
    folder.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    other = config.with_name("other.toml")
    other.write_text(config.read_text(encoding="utf-8").replace('"bilinear"', '"tf-bilinear"'), encoding="utf-8")
    for number in range(kills):
        build = folder / f"kill-{number // 4}" / "digits"
        # Every fourth begins with an empty folder; the others find an artifact that has to be made again.
        shutil.rmtree(build / dice.choice(FORMATS), ignore_errors=True)
        wrong += kill_one(config, build, dice, 12.0 if number % 4 == 0 else 8.0)
        found["kills"] += 1
    for number in range(pairs):
        configs = (config, config if number % 2 else other)
        said = pair(configs, folder / f"pair-{number}" / "digits", dice)
        found["pairs"] += 1
        wrong += said
    return {**found, "seconds": round(time.monotonic() - begun), "wrong": wrong[:40]}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(*map(int, sys.argv[1:4]), *map(Path, sys.argv[4:6]))) + "\n")
