# SPDX-License-Identifier: Apache-2.0
"""TF Lite files on this machine's GPU, by LiteRT's accelerator: WebGPU on Vulkan, Metal on a Mac.

Its run call returns before the GPU is done: LiteRT's own Python benchmark, and others that do not read the output, report only
the time of submitting the work, thousands of times less. Here a call writes the image, runs and reads the output back.
"""

import ctypes
import json
import os
import re
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeferry.targets.host import nvidia
from edgeferry.targets.host.installed import installs, needs, runtime, versions
from edgeferry.targets.host.stderr import captured_stderr
from edgeferry.targets.litert.tflite_file import dequantized, labels_in, quantized
from edgeferry.targets.target import Job, Run, Session, Target, Unsupported
from edgeferry.targets.timing import run_few, run_of, timed

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

DISTRIBUTION: Final = "ai-edge-litert"
# The driver to use instead of the installed one; a software renderer is used only when it is named here.
DRIVER: Final = "EDGEFERRY_VULKAN_ICD"
LOADER: Final = "libvulkan.so.1"
LOADERS: Final = ("/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu")
# The Vulkan loader's own variables for it, the newer first; it then looks in no folder.
CHOSEN: Final = ("VK_DRIVER_FILES", "VK_ICD_FILENAMES")
DRIVERS: Final = ("/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d", "/usr/local/share/vulkan/icd.d")
# The runtime reports its adapter only in its log.
ADAPTER: Final = re.compile(r"Selected adapter: (?P<name>.*?), arch=.*?adapterType=(?P<kind>[^\n]*)")
SOFTWARE: Final = re.compile(r"software|swiftshader|llvmpipe|lavapipe", re.IGNORECASE)


def _missing() -> str | None:
    if why := needs("ai_edge_litert")():
        return why
    folders = getattr(find_spec("ai_edge_litert"), "submodule_search_locations", None) or []
    if not [found for folder in folders for found in Path(folder).glob("libLiteRt*Accelerator.*")]:
        how = installs("ai_edge_litert")
        return f"the installed ai-edge-litert has no GPU accelerator: {how} on Linux x86-64 or a Mac installs one that has"
    return None if sys.platform == "darwin" else _missing_of_vulkan()


def _missing_of_vulkan() -> str | None:
    driver = os.environ.get(DRIVER)
    if driver and not Path(driver).is_file():
        return f"{DRIVER} names {driver}, which does not exist: install that driver, or name another"
    if _loader() is None:
        return f"no Vulkan loader, {LOADER}: install the Debian package libvulkan1"
    chosen = driver or any(map(os.environ.get, CHOSEN))
    if not chosen and not [found for folder in DRIVERS for found in Path(folder).glob("*.json")]:
        return (
            f"no Vulkan driver: install the GPU's driver, or name its JSON file in {DRIVER}; "
            "Chromium's vk_swiftshader_icd.json is a software renderer, for parity only"
        )
    return None


def _loader() -> Path | None:
    """Return the Vulkan loader: the system's, or the one next to Chromium's driver."""
    driver = os.environ.get(DRIVER)
    folders = [*LOADERS, *([str(Path(driver).parent)] if driver else [])]
    return next((Path(folder, LOADER) for folder in folders if Path(folder, LOADER).is_file()), None)


def _run(job: Job) -> Run:
    session = _open(job)
    return run_few(session, job) if session.environment["software_gpu"] else run_of(session, job)


def _open(job: Job) -> Session:
    _choose_driver(job.work)
    from ai_edge_litert.interpreter import Interpreter

    with captured_stderr() as log:
        load_ms, model = timed(lambda: _compiled(str(job.main_file)))
    # Only the interpreter reports scale and zero point.
    described = Interpreter(model_path=str(job.main_file))
    takes, gives = described.get_input_details()[0], described.get_output_details()[0]
    buffers, results = model.create_input_buffers(0), model.create_output_buffers(0)
    count = int(gives["shape"].prod())

    def ready(image: "NDArray[np.float32]") -> "Callable[[], NDArray[np.generic]]":
        return partial(predict, quantized(image, takes))

    def predict(stored: "NDArray[np.generic]") -> "NDArray[np.generic]":
        buffers[0].write(stored)
        model.run_by_index(0, buffers, results)
        read: NDArray[np.generic] = results[0].read(count, gives["dtype"]).reshape(1, -1)
        return read

    return Session(
        ready=ready,
        as_scores=partial(dequantized, tensor=gives),
        labels=labels_in(job.main_file),
        load_ms=load_ms,
        environment={
            **runtime(DISTRIBUTION),
            "threads": 1,
            "accelerator": "GPU, in float32",
            "fully_accelerated": True,
            **_adapter("".join(log)),
        },
    )


def _compiled(file: str) -> Any:
    from ai_edge_litert.compiled_model import CompiledModel
    from ai_edge_litert.gpu_options import GpuOptions
    from ai_edge_litert.hardware_accelerator import HardwareAccelerator
    from ai_edge_litert.options import Options

    # A GPU computes in float16 by default; the file's tolerance is that of its own precision.
    options = Options(hardware_accelerators=HardwareAccelerator.GPU, gpu_options=GpuOptions(enforce_f32=True))
    try:
        model = CompiledModel.from_file(file, options=options)
    except RuntimeError as error:
        why = " ".join(str(error).split())
        raise Unsupported("EF-accelerator-not-started", f"the GPU accelerator did not start with this file: {why}") from None
    if not model.is_fully_accelerated():
        raise Unsupported("EF-accelerator-partial", "the GPU accelerator left operations of this file to the CPU")
    return model


def _choose_driver(work: Path) -> None:
    """Make the Vulkan loader use the driver that the user named.

    The linker searches for a library that is a bare name; any other relative path begins at the JSON file (Vulkan loader and
    drivers, "Driver Manifest File Format").
    """
    driver = os.environ.get(DRIVER)
    if sys.platform == "darwin":
        return
    if driver:
        try:
            manifest = json.loads(Path(driver).read_text(encoding="utf-8"))
            if "/" in (library := manifest["ICD"]["library_path"]):
                manifest["ICD"]["library_path"] = str(Path(driver).resolve().parent / library)
        except (OSError, ValueError, KeyError, TypeError):
            raise Unsupported(
                "EF-vulkan-driver", f"{DRIVER} names {driver}, which is not a JSON file of a Vulkan driver"
            ) from None
        work.mkdir(parents=True, exist_ok=True)
        chosen = work / "vulkan_driver.json"
        chosen.write_text(json.dumps(manifest), encoding="utf-8")
        os.environ.update(dict.fromkeys(CHOSEN, str(chosen)))
    if (loader := _loader()) is not None:
        # Where it is not on the linker's path, a search by name finds the loaded one.
        ctypes.CDLL(str(loader), mode=ctypes.RTLD_GLOBAL)


def _adapter(log: str) -> dict[str, Any]:
    found = ADAPTER.search(log)
    if found is None and sys.platform != "darwin":
        raise Unsupported(
            "EF-gpu-unidentified", "the runtime did not report which GPU it uses, so it could be a software-rendered one"
        )
    if found is None:
        return {"adapter": "unknown", "software_gpu": False}
    adapter = {"adapter": found["name"], "software_gpu": bool(SOFTWARE.search(f"{found['name']} {found['kind']}"))}
    return adapter | (nvidia.environment() if "NVIDIA" in found["name"].upper() else {})


TARGETS = (
    Target(
        name="litert-gpu",
        summary="this machine's GPU, by LiteRT",
        reads=frozenset({"tflite"}),
        missing=_missing,
        run=_run,
        versions=versions(DISTRIBUTION, "numpy"),
        by_default=False,
        open=_open,
    ),
)
