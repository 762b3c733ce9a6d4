# SPDX-License-Identifier: Apache-2.0
"""The options of the Edge TPU compiler: the config's table [export.edgetpu], or those of the command ``edgeferry compile``."""

from dataclasses import dataclass
from typing import Final

from edgeferry.exporters.options import option

# libedgetpu, api/runtime_version.h: from the first that runs a compiled file to the last one released.
RUNTIME_VERSIONS: Final = range(10, 15)
TIMEOUT_S: Final = 180
LONGEST_TIMEOUT_S: Final = 1700
ONE_FILE: Final = (
    "is not for an artifact, which is one file; `edgeferry compile MODEL.tflite --segments N` writes one file per segment"
)


@dataclass(frozen=True)
class EdgeTpuOptions:
    """How the compiler is run, and how many operations of a model it may leave to the CPU (None: any, each is named).

    The defaults are the compiler's own. ``segments`` is for the command ``edgeferry compile`` alone.
    """

    min_runtime_version: int | None = option(
        "the oldest Edge TPU runtime that must run the file, 10 to 14 (`-m`); default: that of the compiler", default=None
    )
    multiple_subgraphs: bool = option(
        "map operations after one that stays on the CPU, too (`-a`); each part costs a transfer", default=False
    )
    search_delegate: bool = option("where compilation fails, try with fewer operations until it succeeds (`-d`)", default=False)
    delegate_search_step: int | None = option(
        "how many operations fewer each time (`-k`); only with `search_delegate`", default=None
    )
    intermediate_tensors: tuple[str, ...] = option(
        "tensors of the `.tflite` file where the Edge TPU ends (`-i`); not with `search_delegate`", default=()
    )
    timeout_s: int = option("seconds for each compilation that is tried (`-t`), 1 to 1700", default=TIMEOUT_S)
    most_cpu_operations: int | None = option(
        "how many operations may be left to the CPU; with more the format fails", default=None
    )
    segments: int = option("", default=1, refused=ONE_FILE)

    def problem(self) -> tuple[str, str] | None:
        """Return the option that is out of range or contradicts another, and why; or None."""
        return what_is_wrong(self)


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
    return "intermediate_tensors", f"has {wrong!r}; expected names of the file's tensors, one per text, none with a comma"


def _contradiction(options: EdgeTpuOptions) -> tuple[str, str] | None:
    if options.delegate_search_step is not None and not options.search_delegate:
        return "delegate_search_step", "is set and search_delegate is not; set both or neither"
    if options.intermediate_tensors and options.search_delegate:
        return (
            "intermediate_tensors",
            "says where the Edge TPU ends, and search_delegate makes the compiler search for that; keep one",
        )
    if options.intermediate_tensors and options.segments > 1:
        found = "is given with segments, and no public documentation says what the compiler makes of both; keep one"
        return "intermediate_tensors", found
    return None
