# SPDX-License-Identifier: Apache-2.0
"""The time of each operation of a TF Lite file, by LiteRT's own profiler.

Neither the interpreter nor the compiled model offers it in Python, so C functions of the library are called (litert/c of 2.3).
XNNPACK reports each operation that it took, under its own names: it calls a 1 x 1 convolution "Fully Connected".
"""

import ctypes
import statistics
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from edgeferry.targets.target import Job, OperationTime, Unsupported

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Handle = ctypes.c_void_p
CPU: Final = 1
WRITE: Final = 1
ELEMENT_TYPES: Final = {"float32": 1, "int32": 2, "uint8": 3, "int8": 9}
# Events: an operation of the runtime's own kernels, and one that a delegate took.
BUILTIN: Final = 2
DELEGATED: Final = 8
OWNERS: Final = {BUILTIN: "LiteRT", DELEGATED: "XNNPACK"}
# The event that begins an inference.
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


class _ProfileEvent(NamedTuple):
    tag: str
    kind: int
    elapsed_us: int


def profile(job: Job) -> list[OperationTime]:
    """Return the operations of a file in the order in which they run, each with its mean milliseconds per inference.

    Raises:
        Unsupported: this version of LiteRT has no such profiler, or does not compile the file.
    """
    if job.threads != 1:
        raise Unsupported("EF-profiler-threads", f"the profiler reports operations on 1 thread; the job has {job.threads}")
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
    """LiteRT's C functions; the stack destroys what was created with them."""

    def __init__(self, stack: ExitStack) -> None:
        folders = getattr(find_spec("ai_edge_litert"), "submodule_search_locations", None) or []
        found = [path for folder in folders for path in Path(folder).glob("libLiteRt.*")]
        if not found:
            raise Unsupported("EF-profiler-missing", "the installed ai-edge-litert has no libLiteRt, which contains the profiler")
        self._functions = ctypes.CDLL(str(found[0]))
        self._stack = stack

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function.

        Raises:
            Unsupported: the library has no such function, or it fails.
        """
        try:
            function = getattr(self._functions, f"LiteRt{name}")
        except AttributeError:
            raise Unsupported(
                "EF-profiler-version", f"this LiteRT has no function LiteRt{name}: its profiler has another version"
            ) from None
        if status := function(*arguments):
            raise Unsupported("EF-profiler-failed", f"LiteRt{name} failed with status {status}")

    def made(self, name: str, *arguments: Any, kind: str = "") -> Handle:
        """Return what a function creates; where ``kind`` names its type, the stack destroys it."""
        handle = Handle()
        self.call(name, *arguments, ctypes.byref(handle))
        if kind:
            self._stack.callback(getattr(self._functions, f"LiteRtDestroy{kind}"), handle)
        return handle

    @contextmanager
    def profiled(self, compiled: Handle) -> Iterator[list[_ProfileEvent]]:
        """Yield a list that holds every event at the end."""
        profiler, count = self.made("CompiledModelGetProfiler", compiled), ctypes.c_int()
        self.call("ResetProfiler", profiler)
        self.call("StartProfiler", profiler)
        found: list[_ProfileEvent] = []
        yield found
        self.call("StopProfiler", profiler)
        self.call("GetNumProfilerEvents", profiler, ctypes.byref(count))
        events = (_Event * max(count.value, 1))()
        self.call("GetProfilerEvents", profiler, count, events)
        found += [
            _ProfileEvent(event.tag.decode(errors="replace"), event.event_type, event.elapsed_us)
            for event in events[: count.value]
        ]


class _Model:
    """A compiled model with the first golden image in its input."""

    def __init__(self, library: _Library, job: Job) -> None:
        from ai_edge_litert.interpreter import Interpreter

        from edgeferry.targets.litert.tflite_file import quantized
        from edgeferry.targets.timing import normalised_images

        described = Interpreter(model_path=str(job.main_file))
        takes, gives = described.get_input_details()[0], described.get_output_details()[0]
        self._library = library
        self._environment = library.made("CreateEnvironment", 0, None, kind="Environment")
        file = library.made("CreateModelFromFile", self._environment, str(job.main_file).encode(), kind="Model")
        self.compiled = library.made("CreateCompiledModel", self._environment, file, self._options(), kind="CompiledModel")
        self._input, self._output = self._buffers("Input", takes), self._buffers("Output", gives)
        self._write(quantized(normalised_images(job)[0], takes))

    def run(self) -> None:
        """Run the image."""
        one = ctypes.c_size_t(1)
        self._library.call("RunCompiledModel", self.compiled, ctypes.c_size_t(0), one, self._input, one, self._output)

    def _options(self) -> Handle:
        options = self._library.made("CreateOptions", kind="Options")
        self._library.call("SetOptionsHardwareAccelerators", options, CPU)
        identifier, text = PROFILING
        # The library frees neither; both live as long as the process, which ends soon.
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
            raise Unsupported("EF-profiler-dtype", f"the profiler takes no tensors of {element}")
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


def _operations(events: list[_ProfileEvent]) -> list[OperationTime]:
    """Return the operations in the order in which they run, with their mean times: single times are in whole microseconds."""
    inferences: list[list[_ProfileEvent]] = []
    for event in events:
        if event.kind == INVOKE:
            inferences.append([])
        elif event.kind in {BUILTIN, DELEGATED} and inferences:
            inferences[-1].append(event)
    # Each part that a delegate took numbers its operations from 0, so only the position in the order distinguishes them.
    whole = [events for events in inferences if len(events) == len(inferences[0])]
    return [
        OperationTime(f"{at}, {OWNERS[same[0].kind]}", same[0].tag, statistics.fmean(event.elapsed_us for event in same) / 1000)
        for at, same in enumerate(zip(*whole, strict=True))
    ]
