# SPDX-License-Identifier: Apache-2.0
"""The digests of files that did not change, kept as git's index keeps them: next to size, time of change and inode.

A second run over thousands of photographs reads their directory entries, not their bytes.
"""

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self

from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import sha256_of, write_whole

# History: 1, the first.
SCHEMA: Final = 1
# Its name in a build folder.
INDEX: Final = ".digests.json"
# A file that changed just before it was read may change again within the resolution of its clock: it is read the next time too.
SETTLED_NS: Final = 2_000_000_000


class Digests:
    """The sha256 of files by path; what was read is remembered in a file, which is written when the block ends."""

    def __init__(self, index: Path) -> None:
        """Read the index, if there is one that can be read."""
        self._index = index
        self._entries: dict[str, list[Any]] = {}
        self._changed = False
        with suppress(OSError, ValueError, AttributeError):
            data = json.loads(index.read_text(encoding="utf-8"))
            self._entries = dict(data["files"]) if data.get("schema") == SCHEMA else {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.save()

    def sha256(self, path: Path) -> str:
        """Return the sha256 of a file's bytes, in hex, read only where size, time of change or inode are not those remembered.

        Raises:
            OSError: the file cannot be read.
        """
        facts = path.stat()
        name, seen = str(path), [facts.st_size, facts.st_mtime_ns, facts.st_ino]
        entry = self._entries.get(name)
        if isinstance(entry, list) and entry[:3] == seen and len(entry) == 4:
            return str(entry[3])
        found = sha256_of(path)
        if time.time_ns() - facts.st_mtime_ns > SETTLED_NS:
            self._entries[name] = [*seen, found]
            self._changed = True
        return found

    def save(self) -> None:
        """Write what was learnt; a place that refuses costs time on the next run and nothing else."""
        if not self._changed or not self._index.parent.is_dir():
            return
        with suppress(EdgeError):
            write_whole(self._index, json.dumps({"schema": SCHEMA, "files": self._entries}, separators=(",", ":")))
        self._changed = False
