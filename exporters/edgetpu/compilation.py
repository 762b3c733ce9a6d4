# SPDX-License-Identifier: Apache-2.0
"""Compiles files for the Edge TPU; a useless result is refused with the compiler's own reasons."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from edgeferry.exporters.edgetpu.compiler import NAME, Compiler, find_compiler, run_compiler
from edgeferry.exporters.edgetpu.log import Compiled, CompilerLog, last_words, parse_log, with_operation_log
from edgeferry.exporters.edgetpu.options import EdgeTpuOptions, what_is_wrong
from edgeferry.exporters.readers.tflite import read_graph
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import explain_disk_errors, write_whole
from edgeferry.models.system.subprocesses import Ended

LOG: Final = "compiler.log"
# In addition to the compiler's own timer: to start, to read the file, to write it.
GRACE_S: Final = 60.0
# How long a search takes is not known in advance, and an export is ended after 1800 s.
LONGEST_S: Final = 1500.0
# What replies to public reports of these messages advise; the last is known of LSTM layers and very small models. The advice is
# only added to the message: no decision depends on it.
ADVICE: Final = {
    "Compilation timeout": "increase timeout_s, or set search_delegate",
    "large activation": "use smaller images, or set search_delegate",
    "dynamic-sized": "convert with batch 1",
    "Compilation failed!": "the compiler gives no reason; known of LSTM layers and of very small models",
}


class CompilationError(EdgeError):
    """The compiler rejected the model, or its result is not what was requested; the message holds its own words."""


@dataclass(frozen=True)
class Output:
    """One compiled file, the file it was compiled from, and the compiler's log of it."""

    path: Path
    parent: Path
    log: Compiled


@dataclass(frozen=True)
class Compilation:
    """What the compiler wrote, in the order of its input files, segments in the order they run."""

    compiler: Compiler
    arguments: tuple[str, ...]
    outputs: tuple[Output, ...]
    log: CompilerLog


def compile_files(files: Sequence[Path], folder: Path, options: EdgeTpuOptions) -> Compilation:
    """Compile files into a folder, several together: they then share the Edge TPU's memory, the first has priority.

    ``compiler.log`` next to them is the compiler's output, also where it failed.

    Raises:
        CompilationError: it failed, took too long, mapped nothing, or left more to the CPU than the options allow.
        EdgeError: options conflict, there is no compiler, or the folder cannot be written.
    """
    _refuse(files, options)
    compiler = find_compiler()
    arguments = (*_arguments(options), *(_safe(file.name) for file in files))
    with _workplace(folder, files) as place:
        ended = run_compiler(place, arguments, _limit_s(options))
        head = f"{NAME} {' '.join(arguments)}\n{'image' if compiler.image else 'program'} sha256 {compiler.sha256}\n"
        write_whole(folder / LOG, head + ended.output)
        log = parse_log(ended.output)
        _refuse_failure(ended, log)
        outputs = [_checked(place / name, file, log, options) for file in files for name in _names(file, options.segments)]
        with explain_disk_errors(folder):
            kept = tuple(Output(_kept(each.path, folder), each.parent, each.log) for each in outputs)
    return Compilation(compiler, arguments, kept, log)


def _arguments(options: EdgeTpuOptions) -> Iterator[str]:
    yield from ("-s", "-o", ".", "-t", str(options.timeout_s))
    if options.min_runtime_version is not None:
        yield from ("-m", str(options.min_runtime_version))
    if options.multiple_subgraphs:
        yield "-a"
    if options.search_delegate:
        yield "-d"
    if options.delegate_search_step is not None:
        yield from ("-k", str(options.delegate_search_step))
    if options.intermediate_tensors:
        yield from ("-i", ",".join(options.intermediate_tensors))
    if options.segments > 1:
        yield from ("-n", str(options.segments))


def _limit_s(options: EdgeTpuOptions) -> float:
    # The compiler's own timer restarts for each segment and each try of a search.
    tries = LONGEST_S if options.search_delegate else options.timeout_s * options.segments
    return max(options.timeout_s, min(tries, LONGEST_S)) + GRACE_S


def _refuse(files: Sequence[Path], options: EdgeTpuOptions) -> None:
    if problem := what_is_wrong(options):
        raise EdgeError("EF-edgetpu-options", " ".join(problem))
    if len(files) > 1 and (options.segments > 1 or options.intermediate_tensors):
        both = "segments" if options.segments > 1 else "intermediate_tensors"
        raise EdgeError(
            "EF-edgetpu-options",
            f"{both} with several models: the compiler's behaviour is not documented; compile each model alone",
        )
    names = [file.stem for file in files]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise EdgeError(
            "EF-edgetpu-model-names", f"two models are named {repeated}, so their output files would be, too; rename one"
        )


def _safe(name: str) -> str:
    return f"./{name}" if name.startswith("-") else name


def _names(file: Path, segments: int) -> list[str]:
    if segments == 1:
        return [f"{file.stem}_edgetpu.tflite"]
    return [f"{file.stem}_segment_{at}_of_{segments}_edgetpu.tflite" for at in range(segments)]


@contextmanager
def _workplace(folder: Path, files: Sequence[Path]) -> Iterator[Path]:
    """Yield a folder next to the results with copies of the files; a container sees no other."""
    with explain_disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        temporary = TemporaryDirectory(dir=folder.resolve(), prefix=".edgetpu-")
    with temporary as place:
        for file in files:
            try:
                shutil.copyfile(file, Path(place, file.name))
            except OSError as error:
                raise EdgeError("EF-file-unreadable", f"{file} cannot be read: {error.strerror}") from None
        yield Path(place)


def _refuse_failure(ended: Ended, log: CompilerLog) -> None:
    words = log.failure or last_words(ended.output)
    advice = next((f"; {advice}" for message, advice in ADVICE.items() if message in words), "")
    if ended.how:
        raise CompilationError("EF-edgetpu-compiler-failed", f"{NAME} {ended.how}: {words}{advice}")
    if log.failure:
        raise CompilationError("EF-edgetpu-compiler-failed", f"{NAME} exited 0 but compiled nothing: {words}{advice}")


def _checked(path: Path, parent: Path, log: CompilerLog, options: EdgeTpuOptions) -> Output:
    """Return one file with its log, or refuse it."""
    if not path.is_file():
        raise CompilationError("EF-edgetpu-no-output", f"{NAME} exited 0 but produced no {path.name}; its log is in {LOG}")
    entry = next((model for model in log.models if Path(model.output_file or "").name == path.name), Compiled())
    own = path.with_suffix(".log")
    entry = with_operation_log(entry, own.read_text(encoding="utf-8", errors="replace")) if own.is_file() else entry
    if entry.mapped_operations == 0 or not read_graph(path).is_compiled:
        raise CompilationError(
            "EF-edgetpu-nothing-mapped",
            f"{NAME} exited 0 but mapped no operation of {parent.name} to the Edge TPU{_reasons(entry)}",
        )
    _refuse_too_many(entry, parent, options)
    return Output(path, parent, entry)


def _refuse_too_many(entry: Compiled, parent: Path, options: EdgeTpuOptions) -> None:
    most = options.most_cpu_operations
    if most is None:
        return
    if entry.cpu_operations is None:
        raise CompilationError(
            "EF-edgetpu-cpu-operations",
            f"{NAME} does not report how many operations of {parent.name} it leaves to the CPU; at most {most} are allowed",
        )
    left = max(entry.cpu_operations, sum(row.count for row in entry.left_to_cpu))
    if left > most:
        raise CompilationError(
            "EF-edgetpu-cpu-operations",
            f"{left} operations of {parent.name} are left to the CPU; at most {most} are allowed{_reasons(entry)}",
        )


def _reasons(entry: Compiled) -> str:
    rows = [f"{row.count} {row.operation} ({row.status})" for row in entry.left_to_cpu]
    return f": {', '.join(rows)}" if rows else ""


def _kept(path: Path, folder: Path) -> Path:
    own = path.with_suffix(".log")
    if own.is_file():
        own.replace(folder / own.name)
    return path.replace(folder / path.name)
