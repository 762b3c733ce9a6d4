# SPDX-License-Identifier: Apache-2.0
"""What an artifact was made from and with that is different in two builds, from their manifests."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from edgeferry.benchmarks.diff.result import Change
from edgeferry.benchmarks.report.summary import said
from edgeferry.models.artifact import Artifact

ABSENT: Final = "-"
# Of what an artifact was made from, digests that follow from others here, and what the options and tools say themselves.
IMPLIED: Final = frozenset({"reference", "options", "tools", "parent"})
# Names of digests in words; any other one is a key of the config.
NAMES: Final = {"code": "edgeferry's own code", "program": "program", "tolerance": "tolerance"}
DIGEST_SHOWN: Final = 12


def changes_between(old: Artifact, new: Artifact) -> Iterator[Change]:
    """Yield every tool, option and source of an artifact that is not the same in both builds."""
    yield from _of(new.format, "tool", old.tool_versions, new.tool_versions)
    yield from _of(new.format, "option", old.options, new.options)
    sources = ({name: each for name, each in side.made_from.items() if name not in IMPLIED} for side in (old, new))
    yield from _of(new.format, "made from", *sources)


def _of(form: str, kind: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    for name in sorted({*old, *new}):
        was, now = old.get(name, ABSENT), new.get(name, ABSENT)
        if was != now:
            yield Change(form, f"{kind} {NAMES.get(name, name)}", _text(was), _text(now))


def _text(value: Any) -> str:
    text = said(value)
    is_digest = len(text) == 64 and set(text) <= set("0123456789abcdef")
    return text[:DIGEST_SHOWN] if is_digest else text
