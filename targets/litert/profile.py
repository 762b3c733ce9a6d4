# SPDX-License-Identifier: Apache-2.0
"""What each operation of a TF Lite file takes, by LiteRT's own profiler.

Neither the interpreter nor the compiled model has it in Python, so the library's C functions are called (litert/c, LiteRT 2.3).
XNNPACK reports the operations that it took one by one, under its own names: a 1 x 1 convolution is "Fully Connected" to it.
"""

import ctypes
import statistics
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from edgeferry.targets.target import Job, Operation, Unsupported

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Handle = ctypes.c_void_p
CPU: Final = 1
WRITE: Final = 1
ELEMENT_TYPES: Final = {"float32": 1, "int32": 2, "uint8": 3, "int8": 9}
# Events: an operation of the runtime's own kernels, and one of those that a delegate took.
BUILTIN: Final = 2
DELEGATED: Final = 8
OWNERS: Final = {BUILTIN: "LiteRT", DELEGATED: "XNNPACK"}
# What begins an answer.
INVOKE: Final = 16
PROFILING: Final = (b"runtime_options_string", b"enable_profiling = true\n")
CALLS: Final = 30


class _Layout(ctypes.Structure):
    _fields_ = (
        ("rank", ctypes.c_uint, 7),
        ("has_strides", ctypes.c_uint, 1),
        ("dimensions", ctypes.c_int32 * 8),
        ("strides", ctypes.c_uint32 * 8),
    )


class _TensorType(ctypes.Structure):
    _fields_ = (("element_type", ctypes.c_int), ("layout", _Layout))


class _Event(ctypes.Structure):
    _fields_ = (
        ("tag", ctypes.c_char_p),
        ("event_type", ctypes.c_int),
        ("start_us", ctypes.c_uint64),
        ("elapsed_us", ctypes.c_uint64),
        ("memory_before", ctypes.c_size_t * 3),
        ("memory_after", ctypes.c_size_t * 3),
        ("index", ctypes.c_uint64),
        ("more", ctypes.c_uint64),
        ("source", ctypes.c_int),
    )


class _Told(NamedTuple):
    tag: str
    kind: int
    elapsed_us: int


def profile(job: Job) -> list[Operation]:
    """Return the operations of a file in the order in which they run, each with its mean milliseconds of an answer.

    Raises:
        Unsupported: this version of LiteRT has no such profiler, or the file is nothing that it compiles.
    """
    if job.threads != 1:
        raise Unsupported(f"its operations are told of one thread, not of {job.threads}")
    with ExitStack() as stack:
        library = _Library(stack)
        model = _Model(library, job)
        for _ in range(CALLS // 3):
            model.run()
        with library.profiled(model.compiled) as events:
            for _ in range(CALLS):
                model.run()
    return _operations(events)


class _Library:
    """LiteRT's C functions, and what was created with them, which goes with the stack."""

    def __init__(self, stack: ExitStack) -> None:
        folders = getattr(find_spec("ai_edge_litert"), "submodule_search_locations", None) or []
        found = [path for folder in folders for path in Path(folder).glob("libLiteRt.*")]
        if not found:
            raise Unsupported("the ai-edge-litert that is installed has no libLiteRt, which holds the profiler")
        self._functions = ctypes.CDLL(str(found[0]))
        self._stack = stack

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function.

        Raises:
            Unsupported: there is none of this name, or it fails.
        """
        try:
            function = getattr(self._functions, f"LiteRt{name}")
        except AttributeError:
            raise Unsupported(f"this LiteRT has no LiteRt{name}; its profiler is of another version") from None
        if status := function(*arguments):
            raise Unsupported(f"LiteRt{name} failed with status {status}")

    def made(self, name: str, *arguments: Any, kind: str = "") -> Handle:
        """Return what a function makes; it is destroyed with the stack, as of a kind, where one is named."""
        handle = Handle()
        self.call(name, *arguments, ctypes.byref(handle))
        if kind:
            self._stack.callback(getattr(self._functions, f"LiteRtDestroy{kind}"), handle)
        return handle

    @contextmanager
    def profiled(self, compiled: Handle) -> Iterator[list[_Told]]:
        """Yield a list that holds every event at the end."""
        profiler, count = self.made("CompiledModelGetProfiler", compiled), ctypes.c_int()
        self.call("ResetProfiler", profiler)
        self.call("StartProfiler", profiler)
        found: list[_Told] = []
        yield found
        self.call("StopProfiler", profiler)
        self.call("GetNumProfilerEvents", profiler, ctypes.byref(count))
        events = (_Event * max(count.value, 1))()
        self.call("GetProfilerEvents", profiler, count, events)
        for event in events[: count.value]:
            told = _Told(event.tag.decode(errors="replace"), event.event_type, event.elapsed_us)
            found.append(told)


class _Model:
    """A compiled model with the first golden image in its input."""

    def __init__(self, library: _Library, job: Job) -> None:
        from ai_edge_litert.interpreter import Interpreter

        from edgeferry.targets.litert.tflite_file import quantized
        from edgeferry.targets.timing import normalised_images

        described = Interpreter(model_path=str(job.main_file))
        takes, answers = described.get_input_details()[0], described.get_output_details()[0]
        self._library = library
        self._environment = library.made("CreateEnvironment", 0, None, kind="Environment")
        file = library.made("CreateModelFromFile", self._environment, str(job.main_file).encode(), kind="Model")
        self.compiled = library.made("CreateCompiledModel", self._environment, file, self._options(), kind="CompiledModel")
        self._input, self._output = self._buffers("Input", takes), self._buffers("Output", answers)
        self._write(quantized(normalised_images(job)[0], takes))

    def run(self) -> None:
        """Answer the image."""
        one = ctypes.c_size_t(1)
        self._library.call("RunCompiledModel", self.compiled, ctypes.c_size_t(0), one, self._input, one, self._output)

    def _options(self) -> Handle:
        options = self._library.made("CreateOptions", kind="Options")
        self._library.call("SetOptionsHardwareAccelerators", options, CPU)
        identifier, text = PROFILING
        # The library frees neither; both stay as long as the process, which ends soon.
        self._kept = ctypes.create_string_buffer(text), ctypes.CFUNCTYPE(None, Handle)(lambda _: None)
        profiling = self._library.made("CreateOpaqueOptions", identifier, *self._kept)
        self._library.call("AddOpaqueOptions", options, profiling)
        return options

    def _buffers(self, name: str, described: dict[str, Any]) -> Any:
        """Return the buffers of the inputs or outputs, of which a classifier has one."""
        import numpy as np

        zero = ctypes.c_size_t(0)
        needs = self._library.made(f"GetCompiledModel{name}BufferRequirements", self.compiled, zero, zero)
        shape, element = described["shape"], np.dtype(described["dtype"]).name
        if element not in ELEMENT_TYPES:
            raise Unsupported(f"its profiler is handed no tensors of {element}")
        kind = _TensorType(ELEMENT_TYPES[element], _Layout(len(shape), 0, tuple(int(size) for size in shape)))
        arguments = self._environment, ctypes.byref(kind), needs
        buffer = self._library.made("CreateManagedTensorBufferFromRequirements", *arguments, kind="TensorBuffer")
        return (Handle * 1)(buffer)

    def _write(self, stored: "NDArray[np.generic]") -> None:
        (buffer,) = self._input
        address = Handle()
        self._library.call("LockTensorBuffer", Handle(buffer), ctypes.byref(address), WRITE)
        data = stored.tobytes()
        ctypes.memmove(address, data, len(data))
        self._library.call("UnlockTensorBuffer", Handle(buffer))


def _operations(events: list[_Told]) -> list[Operation]:
    """Return the operations in the order in which they run, with their mean times: those of a call are in whole microseconds."""
    answers: list[list[_Told]] = []
    for event in events:
        if event.kind == INVOKE:
            answers.append([])
        elif event.kind in {BUILTIN, DELEGATED} and answers:
            answers[-1].append(event)
    # Each part that a delegate took counts its operations from 0, so that only the place in the order tells them apart.
    whole = [answer for answer in answers if len(answer) == len(answers[0])]
    return [
        Operation(f"{at}, {OWNERS[same[0].kind]}", same[0].tag, statistics.fmean(event.elapsed_us for event in same) / 1000)
        for at, same in enumerate(zip(*whole, strict=True))
    ]
