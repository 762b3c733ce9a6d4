# SPDX-License-Identifier: Apache-2.0
import os

import pytest

from edgeferry.targets.host.native_log import told_on_stderr


def test_what_native_code_says_is_kept_and_still_said(capfd: pytest.CaptureFixture[str]) -> None:
    with told_on_stderr() as said:
        os.write(2, b"said\n")
    assert said == ["said\n"]
    assert capfd.readouterr().err == "said\n"
