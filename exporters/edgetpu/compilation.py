# SPDX-License-Identifier: Apache-2.0
"""Files compiled for the Edge TPU, and the compilations that are no use refused with the compiler's own reasons."""

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
from edgeferry.exporters.lint.edgetpu import COMPILED
from edgeferry.exporters.readers.tflite import read_graph
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import explain_disk_errors, write_whole
from edgeferry.models.system.subprocesses import Ended

LOG: Final = "compiler.log"
# Beyond the compiler's own timer: to start, to read the file, to write it.
GRACE_S: Final = 60.0
# A search has no end that is known before, and an export is ended after 1800 s.
LONGEST_S: Final = 1500.0
# What the answers to public reports of these words advise; of the last, LSTM layers and very small models are known.
ADVICE: Final = {
    "Compilation timeout": "raise timeout_s, or let it search (search_delegate)",
    "large activation": "take smaller images, or let it search (search_delegate)",
    "dynamic-sized": "convert with batch 1",
    "Compilation failed!": "it gives no reason; it is known of LSTM layers and of very small models",
}


class CompilationError(EdgeError):
    """The compiler would not have the model, or what it made of it is not what was asked for; in its own words."""


@dataclass(frozen=True)
class Output:
    """One compiled file, what it was compiled from, and what the log says of it."""

    path: Path
    parent: Path
    told: Compiled


@dataclass(frozen=True)
class Compilation:
    """What the compiler made, in the order of the files it was given, segments in the order they run."""

    compiler: Compiler
    arguments: tuple[str, ...]
    outputs: tuple[Output, ...]
    log: CompilerLog


def compile_files(files: Sequence[Path], folder: Path, options: EdgeTpuOptions) -> Compilation:
    """Compile files into a folder, several together: they then share the Edge TPU's memory, the first named first.

    ``compiler.log`` beside them is what the compiler said, also where it failed.

    Raises:
        CompilationError: it failed, took too long, mapped nothing, or left more to the CPU than the options allow.
        EdgeError: the options contradict each other, there is no compiler, or the folder cannot be written.
    """
    _refuse(files, options)
    compiler = find_compiler()
    arguments = (*_arguments(options), *(_safe(file.name) for file in files))
    with _workplace(folder, files) as place:
        ended = run_compiler(place, arguments, _limit_s(options))
        told = f"{NAME} {' '.join(arguments)}\n{'image' if compiler.image else 'program'} sha256 {compiler.sha256}\n"
        write_whole(folder / LOG, told + ended.output)
        log = parse_log(ended.output)
        _refuse_failure(ended, log)
        outputs = [_checked(place / name, file, log, options) for file in files for name in _names(file, options.segments)]
        with explain_disk_errors(folder):
            kept = tuple(Output(_kept(each.path, folder), each.parent, each.told) for each in outputs)
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
    # The compiler's own timer starts anew for each segment and each try of a search.
    tries = LONGEST_S if options.search_delegate else options.timeout_s * options.segments
    return max(options.timeout_s, min(tries, LONGEST_S)) + GRACE_S


def _refuse(files: Sequence[Path], options: EdgeTpuOptions) -> None:
    if problem := what_is_wrong(options):
        raise EdgeError(" ".join(problem))
    if len(files) > 1 and (options.segments > 1 or options.intermediate_tensors):
        both = "segments" if options.segments > 1 else "intermediate_tensors"
        raise EdgeError(f"{both} and several models: no public record says what the compiler makes of both; compile each alone")
    names = [file.stem for file in files]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise EdgeError(f"two models are named {repeated}, and so would be what they are compiled to; rename one")


def _safe(name: str) -> str:
    return f"./{name}" if name.startswith("-") else name


def _names(file: Path, segments: int) -> list[str]:
    if segments == 1:
        return [f"{file.stem}_edgetpu.tflite"]
    return [f"{file.stem}_segment_{at}_of_{segments}_edgetpu.tflite" for at in range(segments)]


@contextmanager
def _workplace(folder: Path, files: Sequence[Path]) -> Iterator[Path]:
    """Yield a folder beside the results with copies of the files, for a container sees no other."""
    with explain_disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        temporary = TemporaryDirectory(dir=folder.resolve(), prefix=".edgetpu-")
    with temporary as place:
        for file in files:
            try:
                shutil.copyfile(file, Path(place, file.name))
            except OSError as error:
                raise EdgeError(f"{file} cannot be read: {error.strerror}") from None
        yield Path(place)


def _refuse_failure(ended: Ended, log: CompilerLog) -> None:
    words = log.failure or last_words(ended.output)
    advice = next((f"; {advice}" for said, advice in ADVICE.items() if said in words), "")
    if ended.how:
        raise CompilationError(f"{NAME} {ended.how}: {words}{advice}")
    if log.failure:
        raise CompilationError(f"{NAME} ended well and compiled nothing: {words}{advice}")


def _checked(path: Path, parent: Path, log: CompilerLog, options: EdgeTpuOptions) -> Output:
    """Return one file with what the log says of it, or refuse it."""
    if not path.is_file():
        raise CompilationError(f"{NAME} ended well, but wrote no {path.name}; its log is in {LOG}")
    told = next((model for model in log.models if Path(model.output_file or "").name == path.name), Compiled())
    own = path.with_suffix(".log")
    told = with_operation_log(told, own.read_text(encoding="utf-8", errors="replace")) if own.is_file() else told
    if told.mapped_operations == 0 or not any(each.custom == COMPILED for each in read_graph(path).operations):
        raise CompilationError(f"{NAME} ended well, but mapped no operation of {parent.name} to the Edge TPU{_reasons(told)}")
    _refuse_too_many(told, parent, options)
    return Output(path, parent, told)


def _refuse_too_many(told: Compiled, parent: Path, options: EdgeTpuOptions) -> None:
    most = options.most_cpu_operations
    if most is None:
        return
    if told.cpu_operations is None:
        raise CompilationError(
            f"{NAME} does not say how many operations of {parent.name} it leaves to the CPU; {most} are allowed"
        )
    left = max(told.cpu_operations, sum(row.count for row in told.left_to_cpu))
    if left > most:
        raise CompilationError(f"{left} operations of {parent.name} are left to the CPU, {most} are allowed{_reasons(told)}")


def _reasons(told: Compiled) -> str:
    rows = [f"{row.count} {row.operation} ({row.status})" for row in told.left_to_cpu]
    return f": {', '.join(rows)}" if rows else ""


def _kept(path: Path, folder: Path) -> Path:
    own = path.with_suffix(".log")
    if own.is_file():
        own.replace(folder / own.name)
    return path.replace(folder / path.name)
