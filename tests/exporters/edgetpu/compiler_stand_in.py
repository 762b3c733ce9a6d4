# SPDX-License-Identifier: Apache-2.0
"""A stand-in for Google's closed edgetpu_compiler: it replays a recorded log and copies a file that only looks compiled.

It compiles nothing, and what it writes says nothing of an Edge TPU. Environment variables say what it does:
STAND_IN_VERSION what it answers to -v, STAND_IN_LOG the log (names in it become those asked for), STAND_IN_SAYS what it says
before, again and again where STAND_IN_ENDLESS is set, STAND_IN_WRITES the file it copies for each output,
STAND_IN_OPERATION_LOG the one beside, STAND_IN_CHILD where it writes the number of a process that it leaves running,
STAND_IN_SLEEP_S how long it waits, STAND_IN_SIGNAL what it kills itself with, STAND_IN_STATUS how it ends, STAND_IN_ASKED
where it writes its arguments.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

WITH_VALUE = ("-o", "-t", "-m", "-k", "-i", "-n")
TOLD = {name.removeprefix("STAND_IN_"): value for name, value in os.environ.items() if name.startswith("STAND_IN_")}


def main(arguments: list[str]) -> int:
    """Do what the environment says."""
    if arguments == ["-v"]:
        say(TOLD.get("VERSION", "Edge TPU Compiler version 16.0.384591198"))
        return 0
    if "ASKED" in TOLD:
        Path(TOLD["ASKED"]).write_text("\n".join(arguments), encoding="utf-8")
    names = names_of(arguments)
    say(TOLD.get("SAYS", ""))
    while "ENDLESS" in TOLD:
        say(TOLD["SAYS"])
    say(replayed(names))
    if "CHILD" in TOLD:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        Path(TOLD["CHILD"]).write_text(str(child.pid), encoding="utf-8")
    time.sleep(float(TOLD.get("SLEEP_S", "0")))
    if "SIGNAL" in TOLD:
        os.kill(os.getpid(), int(TOLD["SIGNAL"]))
    write(names, Path(arguments[arguments.index("-o") + 1]))
    return int(TOLD.get("STATUS", "0"))


def names_of(arguments: list[str]) -> list[str]:
    """Return the names of what is asked for: the models', or those of a model's segments."""
    models = [Path(each) for before, each in zip(["", *arguments], arguments, strict=False) if before not in WITH_VALUE]
    segments = int(arguments[arguments.index("-n") + 1]) if "-n" in arguments else 1
    cuts = [f"_segment_{at}_of_{segments}" for at in range(segments)] if segments > 1 else [""]
    return [model.stem + cut for model in models if model.suffix == ".tflite" for cut in cuts]


def replayed(names: list[str]) -> str:
    """Return the recorded log with the names asked for in the place of its own, one after another."""
    text = Path(TOLD["LOG"]).read_text(encoding="utf-8") if "LOG" in TOLD else ""
    for label, ending in (("Input model", ".tflite"), ("Output model", "_edgetpu.tflite"), ("Operation log", "_edgetpu.log")):
        for name in names:
            text = re.sub(rf"(?m)^{label}: .*$", f"{label} {name}{ending}", text, count=1)
        text = text.replace(f"{label} ", f"{label}: ")
    return text


def write(names: list[str], folder: Path) -> None:
    """Copy a file, and a log where there is one, for each name."""
    for name in names:
        if "WRITES" in TOLD:
            shutil.copyfile(TOLD["WRITES"], folder / f"{name}_edgetpu.tflite")
        if "OPERATION_LOG" in TOLD:
            shutil.copyfile(TOLD["OPERATION_LOG"], folder / f"{name}_edgetpu.log")


def say(text: str) -> None:
    """Write a text, whatever its bytes, and see that it arrives."""
    sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
