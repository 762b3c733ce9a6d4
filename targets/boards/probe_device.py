# SPDX-License-Identifier: Apache-2.0
"""The program that tries which models a TF Lite runtime loads, where edgeferry is not installed.

    python3 probe_device.py models.json results.txt

Python 3.7 and a TF Lite runtime are enough. models.json holds {name: a .tflite file in base64}. Each result is one line, written
at once: ``name<TAB>ok``, or ``name<TAB>`` and the runtime's error; names that have a line are left out, so that a run that a
model crashed can continue. A line without a result is that of the model being loaded.
"""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any


def main(models_file: str, results_file: str) -> int:
    """Load every model that has no line yet; the first line names the runtime."""
    models = json.loads(Path(models_file).read_text(encoding="utf-8"))
    done = names_with_a_line(Path(results_file))
    runtime, interpreter_class = load_runtime()
    options = without_delegates(interpreter_class)
    with Path(results_file).open("a", encoding="utf-8") as results:
        if not done:
            print("runtime", getattr(runtime, "__version__", "unknown"), sep="\t", file=results)
        for name in [name for name in models if name not in done]:
            print(name, end="\t", file=results, flush=True)
            print(load(interpreter_class, base64.b64decode(models[name]), options), file=results, flush=True)
    return 0


def names_with_a_line(path: Path) -> set[str]:
    """Return the names that have a line, after completing one that was cut short."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if text and not text.endswith("\n"):
        path.write_text(text + "killed\n", encoding="utf-8")
    return {line.split("\t")[0] for line in text.splitlines()}


def load(interpreter_class: Any, model: bytes, options: dict[str, Any]) -> str:
    """Return 'ok', or the runtime's error on one line."""
    try:
        interpreter_class(model_content=model, **options)
    except Exception as error:  # noqa: BLE001 - every error is a result
        return " ".join(str(error).split()) or type(error).__name__
    return "ok"


def without_delegates(interpreter_class: Any) -> dict[str, Any]:
    """Return the options that leave out XNNPACK, which does not matter here, where the runtime has such options."""
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
