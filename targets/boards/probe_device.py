# SPDX-License-Identifier: Apache-2.0
"""The program that asks a TF Lite runtime which operations it accepts, where this toolkit is not.

    python3 probe_device.py models.json answers.txt

Python 3.7 and a TF Lite runtime are enough. models.json holds {name: a .tflite file in base64}. Each answer is one line, written
at once: ``name<TAB>ok``, or ``name<TAB>`` and the runtime's own words; names that have a line are left out, so that a run which a
model ended can go on. A line without an answer stands for the model that is being asked.
"""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any


def main(models_file: str, answers_file: str) -> int:
    """Ask for every model that has no line yet; the first line names the runtime."""
    models = json.loads(Path(models_file).read_text(encoding="utf-8"))
    asked = answered(Path(answers_file))
    runtime, interpreter_class = load_runtime()
    options = without_delegates(interpreter_class)
    with Path(answers_file).open("a", encoding="utf-8") as answers:
        if not asked:
            print("runtime", getattr(runtime, "__version__", "unknown"), sep="\t", file=answers)
        for name in [name for name in models if name not in asked]:
            print(name, end="\t", file=answers, flush=True)
            print(answer(interpreter_class, base64.b64decode(models[name]), options), file=answers, flush=True)
    return 0


def answered(path: Path) -> set[str]:
    """Return the names that have a line, after ending one that was broken off."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if text and not text.endswith("\n"):
        path.write_text(text + "killed\n", encoding="utf-8")
    return {line.split("\t")[0] for line in text.splitlines()}


def answer(interpreter_class: Any, model: bytes, options: dict[str, Any]) -> str:
    """Return 'ok', or what the runtime says of the model on one line."""
    try:
        interpreter_class(model_content=model, **options)
    except Exception as error:  # noqa: BLE001 - every refusal is an answer
        return " ".join(str(error).split()) or type(error).__name__
    return "ok"


def without_delegates(interpreter_class: Any) -> dict[str, Any]:
    """Return the options that leave out XNNPACK, which has no part in the question, where the runtime can be told."""
    kinds = getattr(sys.modules[interpreter_class.__module__], "OpResolverType", None)
    return {} if kinds is None else {"experimental_op_resolver_type": kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES}


def load_runtime() -> tuple[Any, Any]:
    """Return the runtime's package and its Interpreter: tflite_runtime, or its successor ai_edge_litert."""
    try:
        import tflite_runtime
        from tflite_runtime.interpreter import Interpreter
    except ImportError:
        import ai_edge_litert
        from ai_edge_litert.interpreter import Interpreter

        return ai_edge_litert, Interpreter
    return tflite_runtime, Interpreter


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
