# SPDX-License-Identifier: Apache-2.0
"""What a user may choose about compiling for the Edge TPU: the contract's table [export.edgetpu], or a command's options."""

from dataclasses import dataclass
from typing import Final

from edgeferry.models.config.table import Table

# libedgetpu, api/runtime_version.h: from the first that runs a compiled file to the last one released.
RUNTIME_VERSIONS: Final = range(10, 15)
TIMEOUT_S: Final = 180
LONGEST_TIMEOUT_S: Final = 1700
ONE_FILE: Final = (
    "is not for an artifact, which is one file that answers; `python -m exporters compile MODEL.tflite --segments N` "
    "writes a file a segment"
)


@dataclass(frozen=True)
class EdgeTpuOptions:
    """What the compiler is told, and how many operations of a model it may leave to the CPU (None: any, each is named).

    The defaults are the compiler's own. ``timeout_s`` holds for each time it tries, ``segments`` for its command alone.
    """

    min_runtime_version: int | None = None
    multiple_subgraphs: bool = False
    search_delegate: bool = False
    delegate_search_step: int | None = None
    intermediate_tensors: tuple[str, ...] = ()
    timeout_s: int = TIMEOUT_S
    most_cpu_operations: int | None = None
    segments: int = 1


def read_edgetpu_options(table: Table) -> EdgeTpuOptions:
    """Return what a contract's table says.

    Raises:
        EdgeError: a value is of the wrong type, out of range, or contradicts another.
    """
    default = EdgeTpuOptions()
    if "segments" in table.values:
        table.fail("segments", ONE_FILE)
    options = EdgeTpuOptions(
        min_runtime_version=_number(table, "min_runtime_version"),
        multiple_subgraphs=table.flag("multiple_subgraphs", default.multiple_subgraphs),
        search_delegate=table.flag("search_delegate", default.search_delegate),
        delegate_search_step=_number(table, "delegate_search_step"),
        intermediate_tensors=_names(table, "intermediate_tensors"),
        timeout_s=table.whole("timeout_s", default.timeout_s),
        most_cpu_operations=_number(table, "most_cpu_operations"),
    )
    if problem := what_is_wrong(options):
        table.fail(*problem)
    return options


def what_is_wrong(options: EdgeTpuOptions) -> tuple[str, str] | None:
    """Return the option that is out of range or contradicts another, and why; or None."""
    for name, least in (("timeout_s", 1), ("delegate_search_step", 1), ("segments", 1), ("most_cpu_operations", 0)):
        value = getattr(options, name)
        if value is not None and value < least:
            return name, f"is {value}; expected at least {least}"
    if options.timeout_s > LONGEST_TIMEOUT_S:
        found = f"is {options.timeout_s}; expected at most {LONGEST_TIMEOUT_S}, since an export is ended after 1800 s"
        return "timeout_s", found
    return _wrong_version(options) or _wrong_tensors(options) or _contradiction(options)


def _wrong_version(options: EdgeTpuOptions) -> tuple[str, str] | None:
    version = options.min_runtime_version
    if version is None or version in RUNTIME_VERSIONS:
        return None
    return "min_runtime_version", f"is {version}; expected {RUNTIME_VERSIONS[0]} to {RUNTIME_VERSIONS[-1]}"


def _wrong_tensors(options: EdgeTpuOptions) -> tuple[str, str] | None:
    # The compiler takes one text with the names between commas; TF Lite itself joins names with semicolons.
    wrong = next((name for name in options.intermediate_tensors if not name.strip() or "," in name), None)
    if wrong is None:
        return None
    return "intermediate_tensors", f"has {wrong!r}; expected names of the file's tensors, one a text, none with a comma"


def _contradiction(options: EdgeTpuOptions) -> tuple[str, str] | None:
    if options.delegate_search_step is not None and not options.search_delegate:
        return "delegate_search_step", "says how a search goes on, and search_delegate is not set; set both or neither"
    if options.intermediate_tensors and options.search_delegate:
        return (
            "intermediate_tensors",
            "says where the Edge TPU ends, and search_delegate has the compiler search for that; keep one",
        )
    if options.intermediate_tensors and options.segments > 1:
        found = "stands beside segments, and no public record says what the compiler makes of both; keep one"
        return "intermediate_tensors", found
    return None


def _number(table: Table, key: str) -> int | None:
    return int(table.take(key, (int,))) if table.has(key) else None


def _names(table: Table, key: str) -> tuple[str, ...]:
    names = table.take(key, (list,)) if table.has(key) else []
    if not all(isinstance(name, str) for name in names):
        table.fail(key, f"is {names!r}; expected a list of texts, names of the file's tensors")
    return tuple(names)
