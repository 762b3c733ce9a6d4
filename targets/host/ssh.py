# SPDX-License-Identifier: Apache-2.0
"""Another machine, reached by this machine's own ssh, so that the user's keys, aliases and jump hosts apply.

One connection serves all calls and the next command too. A call whose connection drops is repeated, so every call must be
repeatable. Files go through the same channel as commands: whole, checked by digest, and without scp, whose two protocols quote
names differently and need sftp-server on the other machine.
"""

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final

from edgeferry.models.system.files import sha256_of
from edgeferry.targets.target import Absent

# Names another ssh configuration than ~/.ssh/config.
CONFIG: Final = "EDGEFERRY_SSH_CONFIG"
# ssh's own status when it cannot connect, or loses the connection.
LOST: Final = 255
CONNECT_S: Final = 10
# Together, a dead connection is noticed after 15 s.
OPTIONS: Final = {
    "BatchMode": "yes",
    "ConnectTimeout": CONNECT_S,
    "ServerAliveInterval": 5,
    "ServerAliveCountMax": 3,
    "ControlMaster": "auto",
    "ControlPersist": 60,
}
# Pauses between attempts to reconnect, in seconds: about five minutes in all.
PAUSES_S: Final = (0.5, 1, 2, 4, 8, 15, *[30] * 9)
# Failures that waiting does not repair: the code, how ssh words them (it exits with 255 for all), and what to do; in this order.
PERMANENT: Final = (
    (
        "EF-ssh-host-key",
        r"REMOTE HOST IDENTIFICATION HAS CHANGED",
        "its host key is not the known one; if it was flashed again, `ssh-keygen -R {0}` removes the old key",
    ),
    (
        "EF-ssh-host-key",
        r"Host key verification failed|host key is known",
        "its host key is not known; connect once with `ssh {0}` and accept it",
    ),
    (
        "EF-ssh-login",
        r"Permission denied|Too many authentication",
        "it accepts none of your keys; `ssh-copy-id {0}`, or `mdt pushkey`, installs one",
    ),
    ("EF-ssh-destination", r"Could not resolve hostname", "there is no machine of that name; name it as for `ssh`"),
    ("EF-ssh-configuration", r"[Bb]ad configuration|Can't open user config|command-line", "ssh rejects its configuration file"),
)


class RefusedError(Exception):
    """A remote command exited with another status than 0; the message is its last line."""

    def __init__(self, status: int, message: str) -> None:
        """Take both."""
        super().__init__(message.splitlines()[-1] if message else f"status {status}")
        self.status = status


class Connection:
    """A machine as ``ssh`` names it; the first call connects."""

    def __init__(self, destination: str) -> None:
        """Take a destination as the user writes it: ``user@host``, an alias of their configuration, ``ssh://host:port``.

        Raises:
            Absent: it is not a destination, or ssh is not installed here.
        """
        if not destination or destination.startswith("-") or destination.split() != [destination]:
            raise Absent(
                "EF-ssh-destination",
                f"{destination!r} names no machine; expected a destination of `ssh`, such as mendel@192.168.100.2",
            )
        if shutil.which("ssh") is None:
            raise Absent("EF-ssh-client", "ssh is not on PATH; the Debian package openssh-client installs it")
        self.destination = destination
        self._reached = False

    def call(self, script: str, *arguments: str, stdin: Path | None = None) -> bytes:
        """Return the output of a POSIX shell script run there; ``arguments`` are its ``$1``, ``$2`` and so on, as they are.

        Raises:
            Absent: the machine cannot be reached; or, after it was, not again within some minutes.
            RefusedError: the script exited with a status.
        """
        pauses = iter(PAUSES_S)
        while True:
            status, printed, stderr = self._once(script, arguments, stdin)
            if status != LOST:
                self._reached = True
                if status:
                    raise RefusedError(status, stderr)
                return printed
            pause = next(pauses, None) if self._reached else None
            if pause is None or _permanent_failure(stderr) is not None:
                raise self._unreachable(stderr)
            time.sleep(pause)

    def put(self, path: Path, folder: str, name: str) -> None:
        """Copy a file into a folder there, whole or not at all, checked by its digest.

        Raises:
            Absent: the machine cannot be reached.
            RefusedError: it cannot be written there.
        """
        self.call(PUT, folder, name, sha256_of(path), stdin=path)

    def fetch(self, name: str) -> bytes:
        """Return a file's bytes.

        Raises:
            Absent: the machine cannot be reached.
            RefusedError: it cannot be read.
        """
        return self.call('cat -- "$1"', name)

    def _once(self, script: str, arguments: tuple[str, ...], stdin: Path | None) -> tuple[int, bytes, str]:
        # A background master may keep stderr open, so that a pipe would never end; a file does.
        with (stdin or Path(os.devnull)).open("rb") as given, tempfile.TemporaryFile() as errors:
            done = subprocess.run(  # noqa: S603 - the user's own ssh, the destination checked, every word quoted
                [*self._command(), "exec " + shlex.join(["sh", "-c", script, "sh", *arguments])],
                stdin=given,
                stdout=subprocess.PIPE,
                stderr=errors,
                check=False,
            )
            errors.seek(0)
            stderr = errors.read().decode("utf-8", "replace").strip()
        if stderr:
            print(stderr)  # noqa: T201 - a target's output is its log
        return done.returncode, done.stdout, stderr

    def _command(self) -> list[str]:
        config = os.environ.get(CONFIG)
        # A socket's path has at most 104 bytes on macOS, and the master makes a longer one first: %C alone has 40.
        name = hashlib.sha256((config or "").encode()).hexdigest()[:6]
        options = OPTIONS | {"ControlPath": f"{_private_folder()}/{name}-%C"}
        given = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
        return ["ssh", *(["-F", config] if config else []), *given, "--", self.destination]

    def _unreachable(self, stderr: str) -> Absent:
        last = stderr.splitlines()[-1].strip() if stderr else "it prints nothing"
        dropped = "the connection was lost" if self._reached else "check that it is on and that `ssh {0}` works"
        code, advice = _permanent_failure(stderr) or ("EF-ssh-unreachable", dropped)
        return Absent(code, f"{self.destination} cannot be reached: {advice.format(self.destination)} (ssh: {last})")


PUT: Final = """\
umask 077
fail() { [ -z "$1" ] || echo "$1" >&2; rm -f -- "$partial"; exit 1; }
partial="$1/.$2.$$"
mkdir -p -- "$1" || exit 1
cat >"$partial" || fail ""
found=$(sha256sum <"$partial") || fail "sha256sum is not installed there"
[ "${found%% *}" = "$3" ] || fail "the file arrived damaged"
mv -f -- "$partial" "$1/$2"
"""


def _permanent_failure(stderr: str) -> tuple[str, str] | None:
    """Return the code of a failure that waiting does not repair, and what to do about it; or None."""
    return next(((code, advice) for code, pattern, advice in PERMANENT if re.search(pattern, stderr)), None)


def _private_folder() -> str:
    """Return the folder for sockets, which nobody else may enter.

    Raises:
        Absent: another user owns it or may enter it.
    """
    folder = Path(f"/tmp/edgeferry-{os.getuid()}")  # noqa: S108 - its owner and mode are checked; TMPDIR is too long on macOS
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if folder.is_symlink() or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise Absent("EF-ssh-socket-folder", f"{folder} is not private to this user; remove it")
    return str(folder)
