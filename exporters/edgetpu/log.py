# SPDX-License-Identifier: Apache-2.0
"""Parses the log of edgetpu_compiler into records; text that cannot be parsed leaves fields None, and never raises.

The formats are those of public logs of versions 2.1 to 16.0, kept with their sources in tests/exporters/edgetpu/logs.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

MAPPED: Final = "Mapped to Edge TPU"
UNITS: Final = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
LAST_LINES: Final = 6
# The compiler writes no longer number.
NUMBER: Final = r"(\d{1,12})"
SIZE: Final = r"(\d{1,12}(?:\.\d{1,6})?)(B|KiB|MiB|GiB)"
ROW: Final = re.compile(rf"(\S+)\s+{NUMBER}\s+(\S.*)")
DURATION: Final = rf"Models? compiled successfully in {NUMBER} ms"
INPUT: Final = "Input model:"
SEARCH: Final = "Searching for valid delegate"
# Each line begins one try: in a search, and without one.
SEARCH_TRY: Final = "Try to compile segment"
TRY: Final = "Started a compilation timeout timer"
# Each of them ends a try without a file; ERROR lines only give a reason: TF Lite also writes some before a success.
FATAL: Final = (
    "Compilation failed",
    "Compilation timeout",
    "Internal compiler error",
    "Invalid model",
    "Model could not be parsed",
    "Model not quantized",
    "libc++abi: terminating",
)
BARE_FAILURE: Final = "Compilation failed!"


@dataclass(frozen=True)
class OperationStatus:
    """How many of one operation share a status, in the compiler's words; one operation may have several."""

    operation: str
    count: int
    status: str


@dataclass(frozen=True)
class Compiled:
    """The log of one compiled model, or of one segment; None is what it does not report.

    Sizes are in bytes, as exact as the two decimals of the log. ``duration_ms`` is shared by models compiled together.
    ``contradictions`` describe numbers of the log that do not add up.
    """

    input_file: str | None = None
    input_bytes: int | None = None
    output_file: str | None = None
    output_bytes: int | None = None
    on_chip_bytes: int | None = None
    on_chip_free_bytes: int | None = None
    off_chip_bytes: int | None = None
    subgraphs: int | None = None
    operations: int | None = None
    mapped_operations: int | None = None
    cpu_operations: int | None = None
    table: tuple[OperationStatus, ...] = ()
    duration_ms: int | None = None
    intermediate_tensors: str | None = None
    contradictions: tuple[str, ...] = ()

    @property
    def left_to_cpu(self) -> tuple[OperationStatus, ...]:
        """Return the operations that the Edge TPU does not compute, with the compiler's reason."""
        return tuple(row for row in self.table if row.status != MAPPED)


@dataclass(frozen=True)
class CompilerLog:
    """A whole log: the models that were compiled, and the compiler's reason why one was not, or None."""

    version: str | None
    models: tuple[Compiled, ...]
    failure: str | None
    tries: int


def parse_log(text: str) -> CompilerLog:
    """Return a log as records; of a search, and of a file that was compiled more than once, the last try counts."""
    lines = [line.strip() for line in text.splitlines()]
    before, *searches = _split(lines, SEARCH)
    # The version comes before the first timer; logs before version 16 have no timer.
    head, *plain = _split(before, TRY)
    tries = [_split(search, SEARCH_TRY) for search in searches]
    last = [*plain, *(group[-1] for group in tries)]
    found = [model for part in (head, *last) for model in _models(part)]
    models = {model.output_file or f"number {at}": model for at, model in enumerate(found)}
    return CompilerLog(
        version=_text(lines, "Edge TPU Compiler version "),
        models=tuple(models.values()),
        failure=_failure(lines, head, last, compiled=bool(models)),
        tries=len(plain) + sum(len(group) - 1 for group in tries),
    )


def with_operation_log(model: Compiled, text: str) -> Compiled:
    """Return a model with the table of its _edgetpu.log, where the compiler's output has none."""
    table = _table([line.strip() for line in text.splitlines()])
    return model if model.table or not table else _counted(replace(model, table=table))


def last_words(text: str) -> str:
    """Return the last lines of a log as one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " / ".join(lines[-LAST_LINES:]) or "no output"


def _split(lines: Sequence[str], start: str) -> list[list[str]]:
    """Return the lines before the first that begins with ``start``, then one group for each line that does."""
    parts: list[list[str]] = [[]]
    for line in lines:
        if line.startswith(start):
            parts.append([])
        parts[-1].append(line)
    return parts


def _failure(lines: Sequence[str], head: Sequence[str], tries: Sequence[Sequence[str]], *, compiled: bool) -> str | None:
    failed = [each for each in tries if _is_fatal(each) or not any(line.startswith(INPUT) for line in each)]
    if not failed and compiled and not _is_fatal(head):
        return None
    # Lines of stderr may come before the line that opens their try.
    reasons = list(dict.fromkeys(line for part in (head, *failed) for line in part if line.startswith(("ERROR", *FATAL))))
    words = [line for line in reasons if line != BARE_FAILURE] or reasons
    return " / ".join(words[-LAST_LINES:]) or last_words("\n".join(lines))


def _is_fatal(lines: Iterable[str]) -> bool:
    return any(line.startswith(FATAL) for line in lines)


def _models(lines: Sequence[str]) -> list[Compiled]:
    before, *blocks = _split(lines, INPUT)
    tensors = _text(before, "Intermediate tensors: ")
    models, duration = [], _number(before, DURATION)
    for block in blocks:
        models.append(replace(_model(block), duration_ms=duration, intermediate_tensors=tensors))
        # Before version 16 the line is repeated before each segment; models compiled together share one.
        newer = _number(block, DURATION)
        duration = duration if newer is None else newer
    return models


def _model(block: Sequence[str]) -> Compiled:
    model = Compiled(
        input_file=_text(block, INPUT),
        input_bytes=_size(block, "Input size: "),
        output_file=_text(block, "Output model: "),
        output_bytes=_size(block, "Output size: "),
        on_chip_bytes=_size(block, "On-chip memory used for caching model parameters: "),
        on_chip_free_bytes=_size(block, "On-chip memory remaining for caching model parameters: "),
        off_chip_bytes=_size(block, "Off-chip memory used for streaming uncached model parameters: "),
        subgraphs=_number(block, "Number of Edge TPU subgraphs: " + NUMBER),
        operations=_number(block, "Total number of operations: " + NUMBER),
        mapped_operations=_number(block, "Number of operations that will run on Edge TPU: " + NUMBER),
        cpu_operations=_number(block, "Number of operations that will run on CPU: " + NUMBER),
        table=_table(block),
    )
    # Where all are mapped the two counts are left out.
    whole = model.cpu_operations is None and any(line.startswith("See the operation log") for line in block)
    if whole and model.operations is not None and not model.table:
        mapped = model.operations if model.subgraphs else 0
        model = replace(model, mapped_operations=mapped, cpu_operations=model.operations - mapped)
    return _counted(model)


def _counted(model: Compiled) -> Compiled:
    """Return a model with the counts that its table gives, and its contradictions."""
    mapped = sum(row.count for row in model.table if row.status == MAPPED)
    on_cpu = sum(row.count for row in model.left_to_cpu)
    if model.table and model.mapped_operations is None and model.cpu_operations is None:
        model = replace(model, mapped_operations=mapped, cpu_operations=on_cpu)
    return replace(model, contradictions=tuple(_contradictions(model, mapped, on_cpu)))


def _contradictions(model: Compiled, mapped: int, on_cpu: int) -> Iterator[str]:
    total, counts = model.operations, (model.mapped_operations, model.cpu_operations)
    if total is not None and None not in counts and sum(map(int, filter(None, counts))) != total:
        yield f"{counts[0]} operations on the Edge TPU and {counts[1]} on the CPU, {total} in all"
    if model.table and total is not None and mapped + on_cpu != total:
        yield f"{mapped + on_cpu} operations in the table, {total} in all"
    if model.table and counts not in {(mapped, on_cpu), (None, on_cpu), (mapped, None)}:
        yield f"{mapped} operations mapped and {on_cpu} not in the table, {counts[0]} and {counts[1]} above it"
    if model.subgraphs == 0 and counts[0]:
        yield f"{counts[0]} operations on the Edge TPU, in no subgraph"


def _table(lines: Sequence[str]) -> tuple[OperationStatus, ...]:
    start = next((at for at, line in enumerate(lines) if line.split() == ["Operator", "Count", "Status"]), len(lines))
    rows = []
    for line in filter(None, lines[start + 1 :]):
        row = ROW.fullmatch(line)
        if row is None:
            break
        rows.append(OperationStatus(row[1], int(row[2]), row[3]))
    return tuple(rows)


def _text(lines: Iterable[str], label: str) -> str | None:
    return next((line.removeprefix(label).strip() for line in lines if line.startswith(label)), None)


def _number(lines: Iterable[str], pattern: str) -> int | None:
    found = next((match for line in lines if (match := re.match(pattern, line))), None)
    return int(found[1]) if found else None


def _size(lines: Iterable[str], label: str) -> int | None:
    found = re.fullmatch(SIZE, _text(lines, label) or "")
    return round(float(found[1]) * UNITS[found[2]]) if found else None
