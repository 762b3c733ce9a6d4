# SPDX-License-Identifier: Apache-2.0
"""Another machine, reached by this machine's own ssh, so that keys, aliases and jump hosts are the user's.

One connection serves all calls and the next command too. A call that the connection drops under is made again, so each must be
one that can be made twice. Files go through the same channel as commands: whole, checked by digest, and without scp, whose two
protocols quote names differently and need sftp-server there.
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
# ssh's own status when it could not connect, or no longer.
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
# Pauses between attempts to come back, in seconds: about five minutes in all.
PAUSES_S: Final = (0.5, 1, 2, 4, 8, 15, *[30] * 9)
# What ssh says of what waiting does not mend, in the order tried, and what to do.
FOR_GOOD: Final = (
    (r"REMOTE HOST IDENTIFICATION HAS CHANGED", "its host key is not the one known; if it was flashed anew, `ssh-keygen -R` it"),
    (r"Host key verification failed|host key is known", "its host key is not known; connect once, `ssh {0}`, and accept it"),
    (
        r"Permission denied|Too many authentication",
        "it takes none of your keys; `ssh-copy-id {0}`, or `mdt pushkey`, installs one",
    ),
    (r"Could not resolve hostname", "there is no machine of that name; give it as `ssh` takes it"),
    (r"[Bb]ad configuration|Can't open user config|command-line", "ssh does not take its configuration"),
)


class RefusedError(Exception):
    """A command ended there with another status than 0; the message is its last line."""

    def __init__(self, status: int, message: str) -> None:
        """Keep both."""
        super().__init__(message.splitlines()[-1] if message else f"status {status}")
        self.status = status


class Connection:
    """A machine as ``ssh`` names it; nothing is connected before the first call."""

    def __init__(self, destination: str) -> None:
        """Take a destination as the user writes it: ``user@host``, an alias of their configuration, ``ssh://host:port``.

        Raises:
            Absent: it is no destination, or there is no ssh here.
        """
        if not destination or destination.startswith("-") or destination.split() != [destination]:
            raise Absent(f"{destination!r} names no machine; expected what `ssh` takes, such as mendel@192.168.100.2")
        if shutil.which("ssh") is None:
            raise Absent("there is no ssh on PATH; the Debian package openssh-client installs it")
        self.destination = destination
        self._reached = False

    def call(self, script: str, *arguments: str, stdin: Path | None = None) -> bytes:
        """Return what a POSIX shell script prints there; ``arguments`` are its ``$1``, ``$2`` and so on, whatever they hold.

        Raises:
            Absent: the machine cannot be reached; or, once it was, not again within some minutes.
            RefusedError: the script ended with a status.
        """
        pauses = iter(PAUSES_S)
        while True:
            status, printed, said = self._once(script, arguments, stdin)
            if status != LOST:
                self._reached = True
                if status:
                    raise RefusedError(status, said)
                return printed
            pause = next(pauses, None) if self._reached else None
            if pause is None or _for_good(said) is not None:
                raise Absent(self._why(said))
            time.sleep(pause)

    def put(self, path: Path, folder: str, name: str) -> None:
        """Copy a file into a folder there, whole or not at all; it is checked by its digest.

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
        # A background master may keep stderr open, so that a pipe would never end: a file does.
        with (stdin or Path(os.devnull)).open("rb") as given, tempfile.TemporaryFile() as errors:
            done = subprocess.run(  # noqa: S603 - the user's own ssh, the destination checked, every word quoted
                [*self._command(), "exec " + shlex.join(["sh", "-c", script, "sh", *arguments])],
                stdin=given,
                stdout=subprocess.PIPE,
                stderr=errors,
                check=False,
            )
            errors.seek(0)
            said = errors.read().decode("utf-8", "replace").strip()
        if said:
            print(said)  # noqa: T201 - a target's output is its log
        return done.returncode, done.stdout, said

    def _command(self) -> list[str]:
        config = os.environ.get(CONFIG)
        # A socket's path has at most 104 bytes on macOS, and the master's makes a longer one first: %C alone has 40.
        name = hashlib.sha256((config or "").encode()).hexdigest()[:6]
        options = OPTIONS | {"ControlPath": f"{_private_folder()}/{name}-%C"}
        given = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
        return ["ssh", *(["-F", config] if config else []), *given, "--", self.destination]

    def _why(self, said: str) -> str:
        last = said.splitlines()[-1].strip() if said else "it says nothing"
        advice = _for_good(said)
        if advice is None:
            advice = "the connection was lost" if self._reached else "is it on, and does `ssh {0}` work?"
        return f"{self.destination} cannot be reached: {advice.format(self.destination)} (ssh: {last})"


PUT: Final = """\
umask 077
fail() { [ -z "$1" ] || echo "$1" >&2; rm -f -- "$partial"; exit 1; }
partial="$1/.$2.$$"
mkdir -p -- "$1" || exit 1
cat >"$partial" || fail ""
found=$(sha256sum <"$partial") || fail "sha256sum is needed there"
[ "${found%% *}" = "$3" ] || fail "it did not arrive whole"
mv -f -- "$partial" "$1/$2"
"""


def _for_good(said: str) -> str | None:
    """Return what to do about a failure that waiting does not mend, or None."""
    return next((advice for pattern, advice in FOR_GOOD if re.search(pattern, said)), None)


def _private_folder() -> str:
    """Return where sockets are: nobody else may enter it.

    Raises:
        Absent: somebody else made it.
    """
    folder = Path(f"/tmp/edgeferry-{os.getuid()}")  # noqa: S108 - its owner and mode are checked; TMPDIR is too long on macOS
    folder.mkdir(mode=0o700, exist_ok=True)
    told = folder.lstat()
    if folder.is_symlink() or told.st_uid != os.getuid() or told.st_mode & 0o077:
        raise Absent(f"{folder} is not this user's alone; remove it")
    return str(folder)
