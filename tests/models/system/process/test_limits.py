# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys
from pathlib import Path

import pytest

from edgeferry.models.system.child import Child
from edgeferry.models.system.process.limits import memory_limit

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux sets these limits")


def interfaces_and_rights(place: Path) -> tuple[list[str], bool]:
    """Return the network interfaces that are up, and whether a file can be written; run in a child."""
    place.touch()
    lines = Path("/proc/net/dev").read_text(encoding="ascii").splitlines()[2:]
    return [line.partition(":")[0].strip() for line in lines], place.is_file()


def allocate() -> int:
    return len(bytearray(1 << 29))


def test_more_memory_than_the_limit_cannot_be_had_and_later_it_can() -> None:
    with memory_limit(1 << 26), pytest.raises(MemoryError):
        allocate()
    assert allocate() == 1 << 29


def test_a_child_without_network_sees_no_interface_but_an_empty_one_and_keeps_its_rights(tmp_path: Path) -> None:
    allowed = subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode == 0
    if not allowed and subprocess.run(["unshare", "-Un", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this system has no network namespaces for us")
    with Child(network=False) as child:
        assert child.call(interfaces_and_rights, tmp_path / "file", log=tmp_path / "log") == (["lo"], True)
