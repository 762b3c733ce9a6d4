# SPDX-License-Identifier: Apache-2.0
"""What a classifier's own copies should differ by: the probabilities that it would give in a precision, simulated.

``build/<model>/yardstick/<precision>.npy`` holds float32 probabilities, [count, classes], of all golden images and probes;
next to it, ``<precision>.json`` says what they follow from. The exporters compute them without any converter; reading needs no
framework.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeferry.models.reference import Reference
from edgeferry.models.system.files import Sha256, digest, explain_disk_errors, partial_of, sha256_of, write_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# History: 1, the first.
SCHEMA: Final = 1
# The folder below build/<model>/.
YARDSTICK: Final = "yardstick"

# Every precision that is simulated, and what explains the difference from the Keras model, for a report.
PRECISIONS: Final[Mapping[str, str]] = {
    "float32": "float32 arithmetic in another order",
    "float16-weights": "weights rounded to float16",
    "float16": "weights and results of all operations rounded to float16",
    "dynamic": "8-bit weights, and inputs of layers quantized to 8 bits for each image",
    "int8": "8-bit weights and results of all operations, in ranges from the calibration images",
    "int8-dense-per-channel": "8-bit weights, Dense ones per class, and results of all operations, in ranges from calibration",
    "onnx-7-bit": "7-bit weights, depthwise ones 8-bit, and 8-bit results of layers, in ranges from the calibration images",
    "onnx-8-bit": "8-bit weights and results of layers, in ranges from the calibration images",
    "uint8-weights": "weights in 256 steps per layer, depthwise weights and biases in float16",
    "uint16-weights": "weights in 65536 steps per layer",
    "int8-weights": "8-bit weights, results of all operations rounded to float16",
    "palettized-6": "64 values per layer, results of all operations rounded to float16",
    "palettized-4": "16 values per layer, results of all operations rounded to float16",
}


def read_yardstick(build: Path, precision: str, reference: Reference, sha256: Sha256 = sha256_of) -> "NDArray[np.float32] | None":
    """Return the probabilities [count, classes] that a precision would give for the golden images and then the probes.

    Returns None where there are none, where they belong to another reference, or where the file is not the one that was written.
    """
    import numpy as np

    record = _record(build, precision)
    if record.get("made_from", {}).get("reference") != reference.sha256 or not _is_whole(build, precision, record, sha256):
        return None
    try:
        probabilities = np.load(_array(build, precision), allow_pickle=False)
    except (OSError, ValueError):
        return None
    fits = len(probabilities) >= reference.images and probabilities.shape[1:] == (len(reference.labels),)
    return probabilities if fits and bool(np.isfinite(probabilities).all()) else None


def yardstick_sha256(build: Path, precision: str | None) -> str:
    """Return the recorded digest of a precision's probabilities, empty where there are none."""
    return str(_record(build, precision).get("sha256", "")) if precision else ""


def is_current(build: Path, precision: str, made_from: Mapping[str, Any], sha256: Sha256 = sha256_of) -> bool:
    """Return whether a kept yardstick, or a simulation that failed, follows from exactly this."""
    record = _record(build, precision)
    return record.get("key") == digest(made_from) and ("problem" in record or _is_whole(build, precision, record, sha256))


def problem_of(build: Path, precision: str) -> str | None:
    """Return why a precision could not be simulated, or None where it was or was not tried."""
    problem = _record(build, precision).get("problem")
    return None if problem is None else str(problem)


def write_yardstick(build: Path, precision: str, made_from: Mapping[str, Any], probabilities: "NDArray[np.float32]") -> None:
    """Write the probabilities and the record of what they follow from; the record last, since it vouches for them.

    Raises:
        EdgeError: the place cannot be written (read-only, full).
    """
    import numpy as np

    path = _array(build, precision)
    with explain_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = partial_of(path)
        with partial.open("wb") as file:
            np.save(file, probabilities)
        partial.replace(path)
    _write_record(build, precision, made_from, {"sha256": sha256_of(path)})


def write_problem(build: Path, precision: str, made_from: Mapping[str, Any], problem: str) -> None:
    """Write why a precision cannot be simulated, so that it is not tried again before something changes."""
    _array(build, precision).unlink(missing_ok=True)
    _write_record(build, precision, made_from, {"problem": problem})


def _write_record(build: Path, precision: str, made_from: Mapping[str, Any], result: Mapping[str, str]) -> None:
    fields = {"schema": SCHEMA, "precision": precision, "key": digest(made_from), "made_from": made_from}
    write_json(_array(build, precision).with_suffix(".json"), {**fields, **result})


def _record(build: Path, precision: str) -> dict[str, Any]:
    try:
        fields = json.loads(_array(build, precision).with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    whole = isinstance(fields, dict) and fields.get("schema") == SCHEMA and isinstance(fields.get("made_from"), dict)
    return fields if whole else {}


def _is_whole(build: Path, precision: str, record: Mapping[str, Any], sha256: Sha256) -> bool:
    try:
        return sha256(_array(build, precision)) == record.get("sha256")
    except OSError:
        return False


def _array(build: Path, precision: str) -> Path:
    return build / YARDSTICK / f"{precision}.npy"
