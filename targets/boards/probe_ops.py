# SPDX-License-Identifier: Apache-2.0
"""Which version of each TF Lite operation a runtime accepts, found by loading files into the runtime itself.

A file of one operation is made for every builtin operation and version, and the runtime loads it: its resolver either has an
operation of that version or reports that it has not. Nothing is computed. Where a file crashes the runtime, it is started again.
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
from edgeferry.models.system.packages import versions_of
from edgeferry.models.system.places import ROOT

HERE: Final = Path(__file__).parent
PROGRAM: Final = "probe_device.py"
MODELS: Final = "models.json"
RESULTS: Final = "results.txt"
SCHEMA: Final = 1
# Twice the newest version that any operation has had.
VERSIONS: Final = 32
# How an old resolver and a new one refuse (they report it only as text); any other error comes after the operation was found.
REFUSALS: Final = re.compile(r"Didn't find op for builtin opcode|[Oo]p builtin_code out of range")
NOT_PROBED: Final = ("CUSTOM", "DELEGATE", "PLACEHOLDER_FOR_GREATER_OP_CODES")
LONGEST_S: Final = 300.0
# Every runtime has these; a probe that finds none of them is wrong.
ALWAYS_THERE: Final = ("ADD", "SOFTMAX")
NOT_INSTALLED: Final = (
    "it is not installed ({} does not exist); in a checkout, `make setup-old-runtimes` installs 2.5 and 2.7, "
    "and any other is found in a virtual environment of that name"
)


@dataclass(frozen=True)
class ProbedRuntime:
    """One runtime to probe: the name of its table, and the Python that has it."""

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


def runtimes() -> dict[str, ProbedRuntime]:
    """Return the runtimes that have a table, by its name."""
    old = [
        ProbedRuntime(f"tflite-{version}", ROOT / f".venv-tflite-{version}" / "bin" / "python", ("tflite-runtime", "tflrt"))
        for version in ("2.5", "2.7", "2.10", "2.14")
    ]
    new = ProbedRuntime("litert-2.3", Path(sys.executable), ("ai-edge-litert",))
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


def probe(runtime: ProbedRuntime, names: Iterable[str] | None = None) -> dict[str, int]:
    """Return the highest version that a runtime accepts of each operation that it has.

    Raises:
        EdgeError: it is not installed, has none of the operations that every runtime has, or accepts every version.
    """
    known = operations()
    wanted = set(known if names is None else names)
    chosen = {name: number for name, number in known.items() if name in wanted | set(ALWAYS_THERE)}
    models = {f"{name} {at}": one_operation(number, at) for name, number in chosen.items() for at in range(1, VERSIONS + 1)}
    results = load_all(runtime, models)
    accepted = {name: [at for at in range(1, VERSIONS + 1) if not REFUSALS.search(results[f"{name} {at}"])] for name in chosen}
    endless = [name for name, versions in accepted.items() if VERSIONS in versions]
    absent = [name for name in ALWAYS_THERE if not accepted[name]]
    if endless or absent:
        raise EdgeError(
            "EF-probe-wrong",
            f"{runtime.name} accepts every version of {endless} and no version of {absent}: the probe is wrong; report it",
        )
    return {name: max(versions) for name, versions in accepted.items() if versions and name in wanted}


def load_all(runtime: ProbedRuntime, models: Mapping[str, bytes]) -> dict[str, str]:
    """Return the result of loading each file: 'ok', the runtime's error, or 'killed' where the file crashed it.

    Raises:
        EdgeError: the runtime is not installed, or writes no result.
    """
    if runtime.installed() is None:
        raise EdgeError("EF-runtime-not-installed", f"{runtime.name}: {NOT_INSTALLED.format(runtime.python)}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copyfile(HERE / PROGRAM, folder / PROGRAM)
        write_json(folder / MODELS, {name: base64.b64encode(model).decode() for name, model in models.items()})
        results: dict[str, str] = {}
        while models.keys() - results.keys():
            before = len(results)
            last_line = _continue(runtime, folder)
            results = _results(folder / RESULTS)
            if len(results) == before:
                raise EdgeError("EF-probe-failed", f"{runtime.name} wrote no result: {last_line}")
    return results


def _continue(runtime: ProbedRuntime, folder: Path) -> str:
    command: list[str | Path] = [runtime.python.absolute(), "-E", "-s", PROGRAM, MODELS, RESULTS]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, timeout=LONGEST_S, check=False)  # noqa: S603 - a Python set up for edgeferry
    except subprocess.TimeoutExpired:
        return f"it took longer than {LONGEST_S:.0f} s"
    printed = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return printed[-1] if printed else f"it exited with status {done.returncode}"


def _results(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    pairs = [line.partition("\t") for line in lines]
    return {name: result or "killed" for name, _, result in pairs if name}


def table(runtime: ProbedRuntime) -> dict[str, Any]:
    """Return a runtime's table, ready for JSON."""
    highest = probe(runtime)
    source = (
        "probed by `edgeferry probe-ops`: a file of one operation for every builtin operation and version, "
        "loaded by this runtime on Linux x86-64"
    )
    return {"schema": SCHEMA, "runtime": runtime.installed(), "source": source, "highest": dict(sorted(highest.items()))}
