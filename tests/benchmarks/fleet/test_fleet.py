# SPDX-License-Identifier: Apache-2.0
"""Plan, run, merge of two artifacts of the default classifier on LiteRT, in three shards."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from edgeferry.benchmarks.fleet.kept import as_bytes, kept_of
from edgeferry.benchmarks.fleet.merge import merged, refuse_lacking
from edgeferry.benchmarks.fleet.plan import read_plan, shard_of, write_plan
from edgeferry.benchmarks.fleet.run import run_shard
from edgeferry.benchmarks.fleet.untimed import untimed
from edgeferry.benchmarks.parity.rows import Report
from edgeferry.benchmarks.report.report import read_report
from edgeferry.commands.app import app
from edgeferry.models.artifact import EXPORTS
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.places import ROOT
from edgeferry.models.system.process.owner import owned

SHARDS: Final = 3


@pytest.fixture
def copied(fleet: Any, tmp_path: Path) -> Any:
    """Return the same in a folder of its own, to spoil."""
    shutil.copytree(fleet.folder, tmp_path / "fleet")
    return fleet._replace(folder=tmp_path / "fleet")


def as_text(report: Report) -> str:
    return json.dumps(untimed(report).as_json())


def test_what_shards_did_in_any_order_is_byte_for_byte_what_one_machine_does(fleet: Any) -> None:
    assert len({job.shard for _, job in fleet.plan.jobs()}) == SHARDS
    assert any(job.part for _, job in fleet.plan.jobs())
    assert as_text(merged(fleet.site, fleet.plan.models[0])) == as_text(fleet.alone)


def test_the_parts_of_a_report_that_are_left_out_are_times_and_the_machine(fleet: Any) -> None:
    slower = replace(fleet.alone.rows[0], seconds=1e6, latency_ms_median=1e6, checked="2001-01-01T00:00:00+00:00")
    assert as_text(replace(fleet.alone, rows=(slower, *fleet.alone.rows[1:]))) == as_text(fleet.alone)
    other = replace(fleet.alone.rows[0], verdict=replace(fleet.alone.rows[0].verdict, probes=1))
    assert as_text(replace(fleet.alone, rows=(other, *fleet.alone.rows[1:]))) != as_text(fleet.alone)


def test_merging_again_gives_the_same_bytes(fleet: Any) -> None:
    first, second = (json.dumps(merged(fleet.site, fleet.plan.models[0]).as_json()) for _ in range(2))
    assert first == second


def test_times_are_those_of_the_shard_with_the_first_image(fleet: Any) -> None:
    row = next(row for row in merged(fleet.site, fleet.plan.models[0]).rows if row.format == "tflite-int8")
    assert row.latency_ms_median is not None
    assert row.environment["first_ms"] > 0


def test_a_shard_runs_twice_and_does_nothing_the_second_time(fleet: Any) -> None:
    done = run_shard(fleet.site, 2)
    assert done.jobs == done.kept > 0


def test_a_missing_shard_is_named_and_run_alone_completes_the_merge(copied: Any) -> None:
    here = copied.site
    lost = next(job for _, job in copied.plan.jobs() if job.shard == 2)
    (here.store.folder / lost.id[:2] / lost.id).unlink()
    with pytest.raises(EdgeError, match=r"--shard 2/3", check=lambda error: error.code == "EF-fleet-missing"):
        refuse_lacking(here, Path("plan.json"))
    done = run_shard(here, 2)
    assert done.jobs - done.kept == 1
    refuse_lacking(here, Path("plan.json"))


def test_a_damaged_result_is_named_and_never_judged(copied: Any) -> None:
    here, job = copied.site, copied.plan.models[0].jobs[0]
    data = here.store.read(job.id)
    assert data is not None
    here.store.write(job.id, data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(EdgeError, check=lambda error: error.code == "EF-fleet-damaged"):
        refuse_lacking(here, Path("plan.json"))
    with pytest.raises(EdgeError, check=lambda error: error.code == "EF-fleet-missing"):
        merged(here, copied.plan.models[0])


def test_a_worker_with_other_versions_runs_nothing(copied: Any) -> None:
    target = replace(copied.plan.targets["litert"], versions={"ai-edge-litert": "9.9"}, follows_from="0" * 64)
    other = copied._replace(plan=replace(copied.plan, targets={"litert": target}))
    with pytest.raises(EdgeError, match=r"9\.9 where it was planned", check=lambda error: error.code == "EF-fleet-versions"):
        run_shard(other.site, 1)


def test_parts_that_ran_in_other_ways_are_not_merged(copied: Any) -> None:
    here = copied.site
    job = next(job for _, job in copied.plan.jobs() if job.first)
    kept = kept_of(here.store.read(job.id) or b"")
    assert kept is not None
    assert kept.attempt.run is not None
    without_delegate = replace(kept.attempt.run, environment={**kept.attempt.run.environment, "delegate": "none"})
    here.store.write(job.id, as_bytes(replace(kept, attempt=replace(kept.attempt, run=without_delegate))))
    with pytest.raises(EdgeError, match="another way", check=lambda error: error.code == "EF-fleet-environment"):
        merged(here, copied.plan.models[0])


def test_a_build_that_changed_since_the_plan_is_neither_run_nor_merged(copied: Any) -> None:
    exports = json.loads((copied.folder / "digits" / EXPORTS).read_text())
    exports["tolerances"] = {name: {"mean_difference": 0.5} for name in ("tflite-float32", "tflite-int8")}
    (copied.folder / "digits" / EXPORTS).write_text(json.dumps(exports))
    shutil.rmtree(copied.folder / "cache")
    with pytest.raises(EdgeError, check=lambda error: error.code == "EF-fleet-changed"):
        run_shard(copied.site, 1)


def test_an_artifact_that_was_damaged_since_it_ran_is_not_merged(copied: Any) -> None:
    path = copied.folder / "digits" / "tflite-int8" / "model.tflite"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(EdgeError, match=r"sha256 differs", check=lambda error: error.code == "EF-fleet-changed"):
        merged(copied.site, copied.plan.models[0])


def test_two_merges_at_once_do_not_write_the_same_report(fleet: Any) -> None:
    # `edgeferry merge` owns each build folder while it writes there.
    with (
        owned(fleet.folder / "digits", lambda _: None),
        pytest.raises(EdgeError, check=lambda error: error.code == "EF-build-in-use"),
        owned(fleet.folder / "digits", lambda _: None),
    ):
        pass


def test_a_plan_fits_its_schema_and_is_read_as_it_was_written(fleet: Any, tmp_path: Path) -> None:
    write_plan(fleet.plan, tmp_path / "plan.json")
    schema = json.loads((ROOT / "benchmarks" / "fleet" / "plan.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator(schema).validate(json.loads((tmp_path / "plan.json").read_text()))
    assert read_plan(tmp_path / "plan.json") == fleet.plan


def test_a_model_that_did_not_change_is_not_read_again_and_one_that_did_is(copied: Any, monkeypatch: Any) -> None:
    read: list[Path] = []
    before = copied.planned()
    monkeypatch.setattr("edgeferry.benchmarks.fleet.planning.open_bench", lambda place, *_, **__: read.append(place) or 1 / 0)
    assert copied.planned() == before
    assert copied.planned(2).shards == 2
    (copied.folder / "digits" / "tflite-int8" / "manifest.json").touch()
    with pytest.raises(ZeroDivisionError):
        copied.planned()
    assert read == [copied.folder / "digits"]


@pytest.mark.parametrize("text", ["4/3", "0/3", "1/2", "one", "1/3/3", ""])
def test_a_shard_that_is_not_of_the_plan_is_refused(fleet: Any, text: str) -> None:
    with pytest.raises(EdgeError, check=lambda error: error.code == "EF-fleet-shard"):
        shard_of(text, fleet.plan)
    assert shard_of("2/3", fleet.plan) == 2


def test_the_commands_do_the_same(copied: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(copied.folder)
    options = ["--cache", "cache", "--build", "."]

    def edgeferry(*words: str) -> Any:
        return CliRunner().invoke(app, list(words))

    planned = edgeferry("plan", "digits", "--shards", "3", "--target", "litert", "--build", ".")
    assert "models: 1, jobs: 4, shards: 3" in planned.output
    assert edgeferry("run", "--shard", "1/3", *options).exit_code == 0
    found = edgeferry("merge", *options)
    assert (found.exit_code, found.stdout.startswith("digits: 2 passed")) == (0, True)
    assert as_text(read_report(copied.folder / "digits" / "report.json")) == as_text(copied.alone)
    shutil.rmtree(copied.folder / "cache")
    found = edgeferry("merge", *options)
    assert (found.exit_code, "1/3, 2/3, 3/3" in found.stderr) == (2, True)
