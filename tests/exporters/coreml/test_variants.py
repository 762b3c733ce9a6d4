# SPDX-License-Identifier: Apache-2.0
"""Every Core ML format, evaluated from the file on disk: intact packages pass, spoiled ones fail."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from edgeferry.benchmarks.parity.bench import open_bench
from edgeferry.benchmarks.parity.rows import Row
from edgeferry.benchmarks.parity.run import run_all
from edgeferry.exporters.coreml.formats import FORMATS, PACKAGE
from edgeferry.exporters.coreml.package import bytes_of_weights
from edgeferry.models.artifact import files_of, read_artifact, write_manifest
from edgeferry.models.exports import record_manifest
from edgeferry.targets.mil.package import open_package
from edgeferry.targets.target import choose, targets

TARGET: Final = "coreml-reference"
NAMES: Final = tuple(form.name for form in FORMATS)
# The number type, by the record's type: float16, float32; packed numbers are reversed byte by byte.
NUMBERS: Final = {1: np.float16, 2: np.float32}


def _rows(build: Path) -> dict[str, Row]:
    if why := targets()[TARGET].missing():
        pytest.skip(why)
    return {row.format: row for row in run_all(open_bench(build, choose((TARGET,)), lambda *_: None, reuse=False))}


@pytest.fixture(scope="module", params=["exported_digits", "exported_colours"])
def rows(request: pytest.FixtureRequest) -> dict[str, Row]:
    return _rows(request.getfixturevalue(request.param).build)


@pytest.fixture(scope="module")
def spoiled(exported_colours: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Row]:
    """Return the rows of packages whose weights are in reverse order."""
    build = tmp_path_factory.mktemp("spoiled") / "colours"
    shutil.copytree(exported_colours.build, build)
    for name in NAMES:
        _reverse_weights(build / name / PACKAGE)
        write_manifest(replace(read_artifact(build / name), files=files_of(build / name)), build / name)
        record_manifest(build, name)
    return _rows(build)


def _reverse_weights(package: Path) -> None:
    path = next(package.rglob("weight.bin"))
    data = bytearray(path.read_bytes())
    values = [value for each in open_package(package).block.operations for value in each.attributes.values()]
    for offset in {value.blobFileValue.offset for value in values if value.HasField("blobFileValue")}:
        kind = int.from_bytes(data[offset + 4 : offset + 8], "little")
        size, begins = (int.from_bytes(data[offset + at : offset + at + 8], "little") for at in (8, 16))
        numbers = np.frombuffer(data[begins : begins + size], NUMBERS.get(kind, np.uint8))
        data[begins : begins + size] = numbers[::-1].tobytes()
    path.write_bytes(data)


@pytest.mark.parametrize("name", NAMES)
def test_an_intact_package_passes(name: str, rows: dict[str, Row]) -> None:
    assert rows[name].outcome == "passed", rows[name].reason


@pytest.mark.parametrize("name", NAMES)
def test_a_package_with_its_weights_in_reverse_order_fails(name: str, spoiled: dict[str, Row]) -> None:
    assert spoiled[name].outcome == "failed"


def test_fewer_bits_are_fewer_bytes(exported_digits: Any) -> None:
    order = ("coreml-float32", "coreml-float16", "coreml-int8", "coreml-palettized6", "coreml-palettized4")
    sizes = [bytes_of_weights(exported_digits.build / name / PACKAGE) for name in order]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == len(sizes)
