# SPDX-License-Identifier: Apache-2.0
"""A real sshd on loopback, reached by this machine's own ssh."""

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from edgeferry.targets.host import ssh
from edgeferry.targets.host.ssh import PUT, Connection, RefusedError
from edgeferry.targets.target import Absent

pytestmark = pytest.mark.slow

STRANGE = ("a b", "it's", 'a "quoted" $HOME', "$(touch oops)`id`", "; exit 3", "-n", "two\nlines", "ü", "")


def test_it_returns_the_output_of_a_script(sshd: Any) -> None:
    assert sshd.port
    assert Connection("board").call("echo hello") == b"hello\n"


def test_arguments_arrive_as_they_are(sshd: Any) -> None:
    assert sshd.port
    assert Connection("board").call("printf '%s|' \"$@\"", *STRANGE).decode() == "".join(f"{each}|" for each in STRANGE)


def test_one_connection_serves_all_calls(sshd: Any) -> None:
    for _ in range(3):
        Connection("board").call("true")
    assert sshd.connections() == 1


def test_a_script_s_failure_is_reported_with_its_last_line(sshd: Any) -> None:
    assert sshd.port
    with pytest.raises(RefusedError, match="^second$") as caught:
        Connection("board").call("echo first >&2; echo second >&2; exit 7")
    assert caught.value.status == 7


def test_a_file_is_copied_whole(sshd: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(data := bytes(range(256)) * 999)
    Connection("board").put(tmp_path / "file", f"{tmp_path}/it's a folder/b", "name")
    assert (tmp_path / "it's a folder" / "b" / "name").read_bytes() == data
    assert Connection("board").fetch(f"{tmp_path}/it's a folder/b/name") == data
    assert [path.name for path in (tmp_path / "it's a folder" / "b").iterdir()] == ["name"]
    assert sshd.connections() == 1


def test_a_file_that_does_not_fit_leaves_nothing_behind(sshd: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(1 << 20))
    assert sshd.port
    with pytest.raises(RefusedError):
        # A limit on the size of files stands for a full disk.
        Connection("board").call(f"ulimit -f 8; {PUT}", f"{tmp_path}/there", "name", "0" * 64, stdin=tmp_path / "file")
    assert list((tmp_path / "there").iterdir()) == []


def test_a_file_that_arrives_damaged_is_refused(sshd: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    assert sshd.port
    with pytest.raises(RefusedError, match="the file arrived damaged"):
        Connection("board").call(PUT, f"{tmp_path}/there", "name", "0" * 64, stdin=tmp_path / "file")
    assert list((tmp_path / "there").iterdir()) == []


def test_a_call_that_loses_its_connection_is_repeated(sshd: Any, tmp_path: Path) -> None:
    board, outputs = Connection("board"), []
    board.call("true")
    script = 'echo x >>"$1"; [ -e "$2" ] || sleep 20; echo done'
    caller = threading.Thread(target=lambda: outputs.append(board.call(script, f"{tmp_path}/calls", f"{tmp_path}/go")))
    caller.start()
    _wait_for(tmp_path / "calls")
    (tmp_path / "go").touch()
    sshd.stop()
    time.sleep(0.7)
    sshd.start()
    caller.join(timeout=20)
    assert outputs == [b"done\n"]
    assert (tmp_path / "calls").read_text() == "x\nx\n"
    assert sshd.connections() == 2


def test_a_board_that_does_not_come_back_is_an_error(sshd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "PAUSES_S", (0.1, 0.1))
    board = Connection("board")
    board.call("true")
    sshd.stop()
    with pytest.raises(Absent, match="^board cannot be reached", check=lambda error: error.code == "EF-ssh-unreachable"):
        board.call("true")
    sshd.start()


def test_a_board_that_is_off_is_an_error_at_once(sshd: Any) -> None:
    sshd.stop()
    start = time.monotonic()
    with pytest.raises(
        Absent, match=r"`ssh board`.* \(ssh: .*Connection refused", check=lambda error: error.code == "EF-ssh-unreachable"
    ):
        Connection("board").call("true")
    assert time.monotonic() - start < 5
    sshd.start()


@pytest.mark.parametrize(
    ("words", "code", "command"),
    [
        ({"UserKnownHostsFile": "/dev/null"}, "EF-ssh-host-key", "`ssh board`"),
        ({"IdentityFile": "/dev/null"}, "EF-ssh-login", "`ssh-copy-id board`, or `mdt pushkey`"),
        ({"HostName": "no-such-board.invalid"}, "EF-ssh-destination", "`ssh`"),
        ({"NoSuchWord": "1"}, "EF-ssh-configuration", "ssh"),
    ],
)
def test_failures_that_waiting_does_not_repair_name_what_to_do(
    sshd: Any, monkeypatch: pytest.MonkeyPatch, words: dict[str, str], code: str, command: str
) -> None:
    sshd.configure(**words)
    monkeypatch.setenv("EDGEFERRY_SSH_CONFIG", str(sshd.config))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with pytest.raises(Absent) as caught:
        Connection("board").call("true")
    assert caught.value.code == code
    assert command in str(caught.value)


def test_another_host_key_than_the_known_one_is_refused(sshd: Any) -> None:
    (sshd.folder / "known").write_text(f"[127.0.0.1]:{sshd.port} {(sshd.folder / 'id.pub').read_text()}")
    with pytest.raises(Absent, match="`ssh-keygen -R board`", check=lambda error: error.code == "EF-ssh-host-key"):
        Connection("board").call("true")


@pytest.mark.parametrize("destination", ["", "-oProxyCommand=true", "two words", "a\nb"])
def test_an_invalid_destination_is_refused_before_ssh_sees_it(destination: str) -> None:
    with pytest.raises(Absent, check=lambda error: error.code == "EF-ssh-destination"):
        Connection(destination)


def test_without_ssh_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Absent, match="openssh-client", check=lambda error: error.code == "EF-ssh-client"):
        Connection("board")


def test_the_socket_s_path_is_short_and_its_folder_private(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEFERRY_SSH_CONFIG", "x" * 200)
    command = Connection("mendel@192.168.100.2")._command()
    path = next(word for word in command if word.startswith("ControlPath=")).removeprefix("ControlPath=")
    # %C has 40 characters; the master adds a dot and 16 more while it makes the socket; macOS takes 104 bytes.
    assert len(path.replace("%C", "0" * 40)) + 17 < 104
    status = Path(path).parent.stat()
    assert (status.st_uid, status.st_mode & 0o077) == (os.getuid(), 0)


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + 10
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.02)
