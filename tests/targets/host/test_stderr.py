# SPDX-License-Identifier: Apache-2.0
import os

import pytest

from edgeferry.targets.host.stderr import captured_stderr


def test_what_native_code_writes_is_captured_and_still_written(capfd: pytest.CaptureFixture[str]) -> None:
    with captured_stderr() as captured:
        os.write(2, b"text\n")
    assert captured == ["text\n"]
    assert capfd.readouterr().err == "text\n"
