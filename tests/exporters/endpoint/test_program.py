# SPDX-License-Identifier: Apache-2.0
"""How the container's server starts and ends."""

import shutil
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import onnx
import pytest
import urllib3

if TYPE_CHECKING:
    import subprocess

FORMAT: Final = "container-float32"
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.mark.parametrize(
    "case",
    [
        ("absent.onnx", {}, "EF-endpoint-model", "absent.onnx"),
        ("requirements.txt", {}, "EF-endpoint-model", "requirements.txt"),
        ("strange.onnx", {}, "EF-endpoint-model", "'labels'"),
        ("colours.onnx", {"PORT": "http"}, "EF-endpoint-setting", "PORT is 'http'"),
        ("colours.onnx", {"PORT": "70000"}, "EF-endpoint-address", "127.0.0.1:70000"),
        ("colours.onnx", {"HOST": "no.such.host.invalid"}, "EF-endpoint-address", "no.such.host.invalid:0"),
    ],
)
def test_a_classifier_that_cannot_be_served_is_an_error_with_a_code(
    start: Start, exported_colours: Any, tmp_path: Path, case: tuple[str, dict[str, str], str, str]
) -> None:
    model, settings, code, fact = case
    folder = shutil.copytree(exported_colours.build / FORMAT, tmp_path / FORMAT)
    strange = onnx.load(folder / "colours.onnx")
    del strange.metadata_props[:]
    onnx.save(strange, folder / "strange.onnx")
    with start(folder, model, **settings) as process:
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert fact in stderr
    assert stderr.endswith(f" [{code}]\n")
    assert "Traceback" not in stderr
    assert stdout == ""


def test_a_client_that_disconnects_in_a_request_causes_no_output(start: Start, exported_colours: Any) -> None:
    with start(exported_colours.build / FORMAT, "colours.onnx") as process:
        address = urllib3.util.parse_url(process.stdout.readline().split()[-1])
        with socket.create_connection((address.host, address.port)) as half:
            half.sendall(b"POST /classify HTTP/1.1\r\nHost: here\r\nContent-Length: 1000\r\n\r\nhalf")
            # Once another request is served, the server has begun to read this one.
            assert _is_ready(str(address))
        assert _is_ready(str(address))
        process.terminate()
        assert process.stderr.read() == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_a_signal_stops_it_in_order(start: Start, exported_colours: Any, number: signal.Signals) -> None:
    with start(exported_colours.build / FORMAT, "colours.onnx") as process:
        address = process.stdout.readline().split()[-1]
        # Before it serves, nothing handles the signal.
        assert _is_ready(address)
        process.send_signal(number)
        assert process.wait(20) in {0, -number}
        assert process.stderr.read() == ""


def _is_ready(address: str) -> bool:
    return urllib3.request("GET", f"{address}/v2/health/ready", retries=False, timeout=30).status == 200
