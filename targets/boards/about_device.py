# SPDX-License-Identifier: Apache-2.0
"""The program that describes a board: its TF Lite runtime, Edge TPUs, governor, temperatures.

    python3 about_device.py [now]

Python 3.7 is enough. It prints JSON: ``error``, {kind, message}, where there is no TF Lite runtime or no numpy; ``environment``,
what results depend on; ``now``, what changes from moment to moment.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import platform
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Dict

Facts = Dict[str, Any]

# History: 1, the first.
SCHEMA = 1
# The USB accelerator before and after its firmware is loaded.
USB_IDS = ("1a6e:089a", "18d1:9302")
LIBRARIES = ("usr/lib/*/libedgetpu.so.1", "usr/lib/libedgetpu.so.1", "usr/local/lib/libedgetpu.*")


def main(arguments: list[str]) -> int:
    """Print the description of the machine, or only the part of it that is named."""
    parts = {"now": lambda: now(Path("/")), "pycoral": pycoral, "all": lambda: about(Path("/"))}
    print(json.dumps(parts[(arguments or ["all"])[0]]()))  # noqa: T201 - the other side reads it
    return 0


def about(root: Path) -> Facts:
    """Return the runtime, or why there is none, libedgetpu, the board, USB accelerators, pycoral."""
    facts: Facts = {"schema": SCHEMA, "error": None, "environment": {**board(root), **libedgetpu(root)}, "now": now(root)}
    try:
        facts["environment"].update(runtime())
    except ImportError as error:
        facts["error"] = {"kind": "runtime missing", "message": str(error)}
    facts["usb"] = usb(root)
    facts["pycoral"] = "not installed" if find_spec("pycoral") is None else pycoral_in_a_process()
    return facts


def runtime() -> Facts:
    """Return the TF Lite runtime, Python and numpy; the ImportError names what is missing."""
    import numpy as np

    try:
        import tflite_runtime as package
    except ImportError:
        import ai_edge_litert as package
    return {
        "runtime": package.__name__,
        "version": getattr(package, "__version__", "unknown"),
        "git_version": getattr(package, "__git_version__", "unknown"),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "system": platform.platform(),
    }


def pycoral_in_a_process() -> Any:
    """Return what pycoral reports, from a process of its own: it is never required, so its crash must not end this one."""
    command = [sys.executable, __file__, "pycoral"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)  # noqa: S603 - this program
    return json.loads(done.stdout.decode()) if done.returncode == 0 else "it crashed its process"


def pycoral() -> Any:
    """Return the Edge TPUs that Google's pycoral lists, or why it lists none."""
    try:
        return [dict(each) for each in importlib.import_module("pycoral.utils.edgetpu").list_edge_tpus()]
    except ImportError as error:
        if getattr(error, "name", None) in ("pycoral.utils", "pycoral.utils.edgetpu"):
            return "another package of that name, not Google's: pip uninstall pycoral"
        return f"it cannot be imported: {error}"


def board(root: Path) -> Facts:
    """Return the board's name, where the system reports it."""
    model = read_text(root / "proc/device-tree/model").strip("\0")
    return {"board": model} if model else {}


def libedgetpu(root: Path) -> Facts:
    """Return the path and digest of the Edge TPU's library, where it is installed."""
    found = [path for pattern in LIBRARIES for path in sorted(root.glob(pattern)) if path.is_file()]
    return {"libedgetpu": {"path": str(found[0]), "sha256": hashlib.sha256(found[0].read_bytes()).hexdigest()}} if found else {}


def now(root: Path) -> Facts:
    """Return the governor, the load, and the temperatures of the processor and the Edge TPU in degrees Celsius."""
    governor = read_text(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    zones = [(read_text(zone / "type"), read_text(zone / "temp")) for zone in root.glob("sys/class/thermal/thermal_zone*")]
    zones += [(apex.name, read_text(apex / "temp")) for apex in root.glob("sys/class/apex/apex_*")]
    celsius = {name: int(temperature) / 1000 for name, temperature in sorted(zones) if temperature.lstrip("-").isdigit()}
    facts = {"governor": governor, "celsius": celsius, "load_average": round(os.getloadavg()[0], 2)}
    return {name: fact for name, fact in facts.items() if fact not in ("", {})}


def usb(root: Path) -> list[Facts]:
    """Return the USB accelerators plugged in and the speed of each, in Mbit/s: 480 is USB 2, 5000 USB 3."""
    found = []
    for device in sorted(root.glob("sys/bus/usb/devices/*")):
        name = "{}:{}".format(read_text(device / "idVendor"), read_text(device / "idProduct"))
        if name in USB_IDS:
            found.append({"id": name, "mbits_per_s": read_text(device / "speed")})
    return found


def read_text(path: Path) -> str:
    """Return a small file's text, or "" where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
