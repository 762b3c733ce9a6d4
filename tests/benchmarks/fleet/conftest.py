# SPDX-License-Identifier: Apache-2.0
"""Plan and run of two artifacts of the default classifier on LiteRT, in three shards."""

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from edgeferry.benchmarks.fleet.plan import Plan
from edgeferry.benchmarks.fleet.planning import Asked, plan
from edgeferry.benchmarks.fleet.run import run_shard
from edgeferry.benchmarks.fleet.site import Site
from edgeferry.benchmarks.fleet.store import FolderStore
from edgeferry.benchmarks.parity.check import Scope, checked
from edgeferry.benchmarks.parity.rows import Report
from edgeferry.commands.arguments import build_to_read
from edgeferry.models.exports import Export, Exports, record_manifest, write_exports

FORMATS: Final = ("tflite-float32", "tflite-int8")


class Fleet(NamedTuple):
    """A plan that was carried out, in its folder, and the report that one machine made of the same build."""

    plan: Plan
    folder: Path
    alone: Report

    @property
    def site(self) -> Site:
        return Site(self.plan, self.folder, self.folder, FolderStore(self.folder / "cache"), nothing)

    def planned(self, shards: int = 3) -> Plan:
        return planned(self.folder, shards)


def nothing(_text: str, _number: int = 0, _total: int = 0) -> None:
    pass


def planned(folder: Path, shards: int) -> Plan:
    asked = Asked((), ("litert",), shards)
    return plan([str(folder / "digits")], asked, partial(build_to_read, build=folder), folder / "plan.json")


@pytest.fixture(scope="session")
def fleet(exported_digits: Any, tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    folder = tmp_path_factory.mktemp("fleet")
    build = folder / "digits"
    for name in ("reference", "yardstick", "weights", *FORMATS):
        shutil.copytree(exported_digits.build / name, build / name)
    states = (*(Export(name, "written", "") for name in FORMATS), Export("edgetpu-int8", "not run", "no compiler"))
    write_exports(build, Exports(states))
    for name in FORMATS:
        record_manifest(build, name)
    alone = checked(None, build, Scope(targets=("litert",)), nothing, reuse=False)
    found = Fleet(planned(folder, 3), folder, alone)
    for shard in (3, 1, 2):
        run_shard(replace(found.site, reuse=True), shard)
    return found
