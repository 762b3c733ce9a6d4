# SPDX-License-Identifier: Apache-2.0
"""Which version of each TF Lite operation a runtime accepts, asked of the runtime itself.

A file of one operation is made for every builtin operation and version, and the runtime is asked to load it: its resolver either
has an operation of that version or says that it has not. Nothing is computed. A runtime that dies of a file is started again
after it.
"""

import base64
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import write_json
from edgeferry.models.system.places import ROOT
from edgeferry.targets.host.installed import versions_of

HERE: Final = Path(__file__).parent
PROGRAM: Final = "probe_device.py"
SCHEMA: Final = 1
# Twice the newest version that any operation has had.
VERSIONS: Final = 32
# How an old resolver and a new one say no; anything else is said after the operation was found.
REFUSALS: Final = re.compile(r"Didn't find op for builtin opcode|[Oo]p builtin_code out of range")
NOT_PROBED: Final = ("CUSTOM", "DELEGATE", "PLACEHOLDER_FOR_GREATER_OP_CODES")
LONGEST_S: Final = 300.0
# Every runtime has these; a probe that finds otherwise asked wrongly.
ALWAYS_THERE: Final = ("ADD", "SOFTMAX")
NOT_INSTALLED: Final = (
    "it is not installed (looked for {}); `make setup-old-runtimes` installs 2.5 and 2.7, "
    "a virtual environment of that name with its wheel does for any other"
)


@dataclass(frozen=True)
class Runtime:
    """One runtime to be asked: the name of its table, and the Python that has it."""

    name: str
    python: Path
    distributions: tuple[str, ...]

    def installed(self) -> str | None:
        """Return the runtime's distribution and version, or None where it is not installed."""
        if not self.python.is_file():
            return None
        folders = (self.python.parent.parent / "lib").glob("python3*/site-packages")
        found = [
            f"{name} {version}" for folder in folders for name, version in versions_of(*self.distributions, below=folder).items()
        ]
        return found[0].replace("tflrt", "tflite-runtime") if found else None


def runtimes() -> dict[str, Runtime]:
    """Return the runtimes that have a table, by its name."""
    old = [
        Runtime(f"tflite-{version}", ROOT / f".venv-tflite-{version}" / "bin" / "python", ("tflite-runtime", "tflrt"))
        for version in ("2.5", "2.7", "2.10", "2.14")
    ]
    new = Runtime("litert-2.3", Path(sys.executable), ("ai-edge-litert",))
    return {each.name: each for each in (*old, new)}


def operations() -> dict[str, int]:
    """Return the number of every builtin operation by its name, from the newest runtime's schema."""
    from ai_edge_litert import schema_py_generated as schema

    found = {name: number for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
    return {name: number for name, number in found.items() if name not in NOT_PROBED}


def one_operation(number: int, version: int) -> bytes:
    """Return a .tflite file of one operation without tensors."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    code = schema.OperatorCodeT()
    # Runtimes before 2.4 read the older field, which ends at 127.
    code.builtinCode, code.deprecatedBuiltinCode, code.version = number, min(number, 127), version
    graph = schema.SubGraphT()
    operator = schema.OperatorT()
    operator.inputs, operator.outputs = [], []
    graph.tensors, graph.inputs, graph.outputs, graph.operators = [], [], [], [operator]
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], [schema.BufferT()]
    builder = flatbuffers.Builder(256)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def probe(runtime: Runtime, names: Iterable[str] | None = None) -> dict[str, int]:
    """Return the highest version a runtime accepts of each operation it has at all.

    Raises:
        EdgeError: it is not installed, answers what cannot be, or accepts every version that was asked for.
    """
    known = operations()
    wanted = set(known if names is None else names)
    chosen = {name: number for name, number in known.items() if name in wanted | set(ALWAYS_THERE)}
    models = {f"{name} {at}": one_operation(number, at) for name, number in chosen.items() for at in range(1, VERSIONS + 1)}
    answers = ask(runtime, models)
    accepted = {name: [at for at in range(1, VERSIONS + 1) if not REFUSALS.search(answers[f"{name} {at}"])] for name in chosen}
    endless = [name for name, versions in accepted.items() if VERSIONS in versions]
    absent = [name for name in ALWAYS_THERE if not accepted[name]]
    if endless or absent:
        raise EdgeError(f"{runtime.name} accepts every version of {endless} and no {absent}: it was asked wrongly")
    return {name: max(versions) for name, versions in accepted.items() if versions and name in wanted}


def ask(runtime: Runtime, models: Mapping[str, bytes]) -> dict[str, str]:
    """Return a runtime's answer to each file: 'ok', its own words, or 'killed' where the file ended it.

    Raises:
        EdgeError: the runtime is not installed, or answers nothing.
    """
    if runtime.installed() is None:
        raise EdgeError(f"{runtime.name}: {NOT_INSTALLED.format(runtime.python)}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copyfile(HERE / PROGRAM, folder / PROGRAM)
        write_json(folder / "edgeferry.models.json", {name: base64.b64encode(model).decode() for name, model in models.items()})
        answers: dict[str, str] = {}
        while models.keys() - answers.keys():
            before = len(answers)
            said = _ask_on(runtime, folder)
            answers = _answers(folder / "answers.txt")
            if len(answers) == before:
                raise EdgeError(f"{runtime.name} answers nothing: {said}")
    return answers


def _ask_on(runtime: Runtime, folder: Path) -> str:
    command: list[str | Path] = [runtime.python.absolute(), "-E", "-s", PROGRAM, "edgeferry.models.json", "answers.txt"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, timeout=LONGEST_S, check=False)  # noqa: S603 - a Python of ours
    except subprocess.TimeoutExpired:
        return f"it took longer than {LONGEST_S:.0f} s"
    said = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return said[-1] if said else f"it ended with status {done.returncode}"


def _answers(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    pairs = [line.partition("\t") for line in lines]
    return {name: said or "killed" for name, _, said in pairs if name}


def table(runtime: Runtime) -> dict[str, Any]:
    """Return a runtime's table, ready for JSON."""
    highest = probe(runtime)
    source = (
        "probed by `edgeferry probe-ops`: a file of one operation for every builtin operation and version, "
        "loaded by this runtime on Linux x86-64"
    )
    return {"schema": SCHEMA, "runtime": runtime.installed(), "source": source, "highest": dict(sorted(highest.items()))}
