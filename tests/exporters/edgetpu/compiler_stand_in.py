# SPDX-License-Identifier: Apache-2.0
"""A stand-in for Google's closed-source edgetpu_compiler: it replays a recorded log and copies a file that only looks compiled.

It compiles nothing, and its files show nothing about an Edge TPU. Environment variables configure it: STAND_IN_VERSION is its
output for -v, STAND_IN_LOG the log (names in it become the requested ones), STAND_IN_PRINTS what it prints first, again and again
where STAND_IN_ENDLESS is set, STAND_IN_WRITES the file it copies for each output, STAND_IN_OPERATION_LOG the log next to it,
STAND_IN_CHILD where it writes the id of a process that it leaves running, STAND_IN_SLEEP_S how long it waits, STAND_IN_SIGNAL
the signal it kills itself with, STAND_IN_STATUS its exit status, STAND_IN_ARGUMENTS where it writes its arguments.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

WITH_VALUE = ("-o", "-t", "-m", "-k", "-i", "-n")
OPTIONS = {name.removeprefix("STAND_IN_"): value for name, value in os.environ.items() if name.startswith("STAND_IN_")}


def main(arguments: list[str]) -> int:
    """Do what the environment configures."""
    if arguments == ["-v"]:
        show(OPTIONS.get("VERSION", "Edge TPU Compiler version 16.0.384591198"))
        return 0
    if "ARGUMENTS" in OPTIONS:
        Path(OPTIONS["ARGUMENTS"]).write_text("\n".join(arguments), encoding="utf-8")
    names = names_of(arguments)
    show(OPTIONS.get("PRINTS", ""))
    while "ENDLESS" in OPTIONS:
        show(OPTIONS["PRINTS"])
    show(replayed(names))
    if "CHILD" in OPTIONS:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        Path(OPTIONS["CHILD"]).write_text(str(child.pid), encoding="utf-8")
    time.sleep(float(OPTIONS.get("SLEEP_S", "0")))
    if "SIGNAL" in OPTIONS:
        os.kill(os.getpid(), int(OPTIONS["SIGNAL"]))
    write(names, Path(arguments[arguments.index("-o") + 1]))
    return int(OPTIONS.get("STATUS", "0"))


def names_of(arguments: list[str]) -> list[str]:
    """Return the names of the requested outputs: the models', or those of a model's segments."""
    models = [Path(each) for before, each in zip(["", *arguments], arguments, strict=False) if before not in WITH_VALUE]
    segments = int(arguments[arguments.index("-n") + 1]) if "-n" in arguments else 1
    cuts = [f"_segment_{at}_of_{segments}" for at in range(segments)] if segments > 1 else [""]
    return [model.stem + cut for model in models if model.suffix == ".tflite" for cut in cuts]


def replayed(names: list[str]) -> str:
    """Return the recorded log with its names replaced by the requested ones, one after another."""
    text = Path(OPTIONS["LOG"]).read_text(encoding="utf-8") if "LOG" in OPTIONS else ""
    for label, ending in (("Input model", ".tflite"), ("Output model", "_edgetpu.tflite"), ("Operation log", "_edgetpu.log")):
        for name in names:
            text = re.sub(rf"(?m)^{label}: .*$", f"{label} {name}{ending}", text, count=1)
        text = text.replace(f"{label} ", f"{label}: ")
    return text


def write(names: list[str], folder: Path) -> None:
    """Copy a file, and a log where there is one, for each name."""
    for name in names:
        if "WRITES" in OPTIONS:
            shutil.copyfile(OPTIONS["WRITES"], folder / f"{name}_edgetpu.tflite")
        if "OPERATION_LOG" in OPTIONS:
            shutil.copyfile(OPTIONS["OPERATION_LOG"], folder / f"{name}_edgetpu.log")


def show(text: str) -> None:
    """Write a text, whatever its bytes, and flush it."""
    sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
