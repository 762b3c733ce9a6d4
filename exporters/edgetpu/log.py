# SPDX-License-Identifier: Apache-2.0
"""What edgetpu_compiler says of its work, as records; text that makes no sense leaves gaps, it never raises.

The forms are those of public logs of versions 2.1 to 16.0, kept with their sources in tests/exporters/edgetpu_logs.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

MAPPED: Final = "Mapped to Edge TPU"
UNITS: Final = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
LAST_LINES: Final = 6
# A longer number is none that the compiler would write.
NUMBER: Final = r"(\d{1,12})"
SIZE: Final = r"(\d{1,12}(?:\.\d{1,6})?)(B|KiB|MiB|GiB)"
ROW: Final = re.compile(rf"(\S+)\s+{NUMBER}\s+(\S.*)")
DURATION: Final = rf"Models? compiled successfully in {NUMBER} ms"
INPUT: Final = "Input model:"
SEARCH: Final = "Searching for valid delegate"
# One try each: of a search, and without one.
SEARCH_TRY: Final = "Try to compile segment"
TRY: Final = "Started a compilation timeout timer"
# Any of them ends a try without a file; ERROR lines only say why: TF Lite writes some of those on the way to a success.
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
    """What the log says of one compiled model, or of one segment; None is what it does not say.

    Sizes are in bytes, as exact as the two decimals of the log. ``duration_ms`` is shared by models compiled together.
    ``contradictions`` are numbers of the log that do not fit each other, in words.
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
        """Return the operations that the Edge TPU will not compute, with the compiler's reason."""
        return tuple(row for row in self.table if row.status != MAPPED)


@dataclass(frozen=True)
class CompilerLog:
    """A whole log: the models that were compiled in the end, and why one was not, in the compiler's words, or None."""

    version: str | None
    models: tuple[Compiled, ...]
    failure: str | None
    tries: int


def parse_log(text: str) -> CompilerLog:
    """Return what a log says; of a search, and of a file that was compiled more than once, the last try counts."""
    lines = [line.strip() for line in text.splitlines()]
    before, *searches = _split(lines, SEARCH)
    # Before the first timer stands the version, and all there is before version 16.
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
    """Return a model with the table of its _edgetpu.log, where the compiler's output did not hold one."""
    table = _table([line.strip() for line in text.splitlines()])
    return model if model.table or not table else _counted(replace(model, table=table))


def last_words(text: str) -> str:
    """Return the last lines of a log as one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " / ".join(lines[-LAST_LINES:]) or "it said nothing"


def _split(lines: Sequence[str], start: str) -> list[list[str]]:
    """Return the lines before the first that begins so, then those of each one that does."""
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
    # What goes to stderr may overtake the line that opens its try.
    said = list(dict.fromkeys(line for part in (head, *failed) for line in part if line.startswith(("ERROR", *FATAL))))
    words = [line for line in said if line != BARE_FAILURE] or said
    return " / ".join(words[-LAST_LINES:]) or last_words("\n".join(lines))


def _is_fatal(lines: Iterable[str]) -> bool:
    return any(line.startswith(FATAL) for line in lines)


def _models(lines: Sequence[str]) -> list[Compiled]:
    before, *blocks = _split(lines, INPUT)
    tensors = _text(before, "Intermediate tensors: ")
    models, duration = [], _number(before, DURATION)
    for block in blocks:
        models.append(replace(_model(block), duration_ms=duration, intermediate_tensors=tensors))
        # Before version 16 the line stands anew before each segment; of models compiled together there is one.
        newer = _number(block, DURATION)
        duration = duration if newer is None else newer
    return models


def _model(block: Sequence[str]) -> Compiled:
    told = Compiled(
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
    whole = told.cpu_operations is None and any(line.startswith("See the operation log") for line in block)
    if whole and told.operations is not None and not told.table:
        mapped = told.operations if told.subgraphs else 0
        told = replace(told, mapped_operations=mapped, cpu_operations=told.operations - mapped)
    return _counted(told)


def _counted(told: Compiled) -> Compiled:
    """Return a model with the counts that its table gives, and what in it does not add up."""
    mapped = sum(row.count for row in told.table if row.status == MAPPED)
    on_cpu = sum(row.count for row in told.left_to_cpu)
    if told.table and told.mapped_operations is None and told.cpu_operations is None:
        told = replace(told, mapped_operations=mapped, cpu_operations=on_cpu)
    return replace(told, contradictions=tuple(_contradictions(told, mapped, on_cpu)))


def _contradictions(told: Compiled, mapped: int, on_cpu: int) -> Iterator[str]:
    total, counts = told.operations, (told.mapped_operations, told.cpu_operations)
    if total is not None and None not in counts and sum(map(int, filter(None, counts))) != total:
        yield f"{counts[0]} operations on the Edge TPU and {counts[1]} on the CPU, {total} in all"
    if told.table and total is not None and mapped + on_cpu != total:
        yield f"{mapped + on_cpu} operations in the table, {total} in all"
    if told.table and counts not in {(mapped, on_cpu), (None, on_cpu), (mapped, None)}:
        yield f"{mapped} operations mapped and {on_cpu} not in the table, {counts[0]} and {counts[1]} above it"
    if told.subgraphs == 0 and counts[0]:
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
