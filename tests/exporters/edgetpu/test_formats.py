# SPDX-License-Identifier: Apache-2.0
"""The Edge TPU format: in place of Google's closed-source compiler a stand-in, which makes no row pass."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final

import pytest

from edgeferry.benchmarks.parity.bench import open_bench
from edgeferry.benchmarks.parity.run import run_all
from edgeferry.exporters.edgetpu import formats as edgetpu
from edgeferry.exporters.edgetpu.log import Compiled
from edgeferry.exporters.edgetpu.options import EdgeTpuOptions
from edgeferry.exporters.export import export_all
from edgeferry.exporters.graph.source import Source
from edgeferry.models.artifact import read_artifact
from edgeferry.models.system.child import Child
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import sha256_of
from edgeferry.models.system.places import ROOT
from edgeferry.targets.target import choose

DATA: Final = ROOT.parent / "shared" / "data" / "edgetpu"
StandIn = Callable[..., Path]


@pytest.fixture
def place(exported_digits: Any) -> Iterator[Path]:
    """Yield a folder next to the int8 artifact."""
    folder = exported_digits.build / ".edgetpu-int8.test"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def parent(exported_digits: Any) -> Path:
    """Return the int8 artifact's file."""
    return Path(exported_digits.build / edgetpu.PARENT / "model.tflite")


@pytest.fixture
def compiled(parent: Path, looks_compiled: Callable[[Path], Path]) -> Path:
    """Return the file that the stand-in copies."""
    return looks_compiled(parent)


def test_what_the_compiler_wrote_is_kept_with_labels(
    stand_in: StandIn, place: Path, digits_source: Source, parent: Path, compiled: Path
) -> None:
    stand_in("multiple_subgraphs", writes=compiled)
    written = edgetpu.compile_(digits_source, place)
    kept = (place / written.main_file).read_bytes()
    assert kept.startswith(compiled.read_bytes())
    assert b"labels.txt" in kept[len(compiled.read_bytes()) :]
    assert sorted(path.name for path in place.iterdir()) == ["compiler.log", "model_edgetpu.tflite"]
    options = written.options
    assert (options["compiler_version"], len(options["compiler_sha256"]), options["compiler_image"]) == (
        "16.0.384591198",
        64,
        None,
    )
    assert options["arguments"] == ["-s", "-o", ".", "-t", "180", "model.tflite"]
    assert options["parent_sha256"] == sha256_of(parent)
    assert (options["operations"], options["mapped_operations"], options["cpu_operations"], options["subgraphs"]) == (
        294,
        289,
        5,
        2,
    )
    assert (options["on_chip_bytes"], options["off_chip_bytes"]) == (round(6.08 * 2**20), round(1.70 * 2**20))


def test_every_operation_left_to_the_cpu_is_a_note_with_its_reason(
    stand_in: StandIn, place: Path, digits_source: Source, compiled: Path
) -> None:
    stand_in("multiple_subgraphs", writes=compiled)
    reason = "Operation is otherwise supported, but not mapped due to some unspecified limitation"
    assert edgetpu.compile_(digits_source, place).notes == (
        f"left to the CPU: 1 CONCATENATION ({reason})",
        f"left to the CPU: 1 TRANSPOSE ({reason})",
        f"left to the CPU: 2 QUANTIZE ({reason})",
        f"left to the CPU: 1 RESHAPE ({reason})",
        "1.70 MiB of parameters do not fit into the Edge TPU's memory and are sent for every image",
    )


def test_a_model_that_is_mapped_whole_has_no_notes(stand_in: StandIn, place: Path, digits_source: Source, compiled: Path) -> None:
    stand_in("all_mapped", writes=compiled)
    assert edgetpu.compile_(digits_source, place).notes == ()


def test_options_of_the_config_reach_the_compiler(stand_in: StandIn, place: Path, digits_source: Source, compiled: Path) -> None:
    stand_in("all_mapped", writes=compiled)
    options = EdgeTpuOptions(min_runtime_version=13, multiple_subgraphs=True)
    assert edgetpu.compile_(digits_source, place, options).options["arguments"][5:] == ["-m", "13", "-a", "model.tflite"]


def test_the_limit_of_the_config_holds(stand_in: StandIn, place: Path, digits_source: Source, compiled: Path) -> None:
    stand_in("multiple_subgraphs", writes=compiled)
    with pytest.raises(EdgeError, match="^5 .* 2 ", check=lambda e: e.code == "EF-edgetpu-cpu-operations"):
        edgetpu.compile_(digits_source, place, EdgeTpuOptions(most_cpu_operations=2))


def test_a_failure_leaves_the_whole_log_in_the_exports(
    stand_in: StandIn, place: Path, digits_source: Source, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in("dynamic_sizes", status=1)
    with pytest.raises(EdgeError, match="ended with status 1: ERROR: Attempting to use a delegate"):
        edgetpu.compile_(digits_source, place)
    assert "Compilation child process completed within timeout period." in capsys.readouterr().out


def test_another_model_than_its_parent_is_refused(
    stand_in: StandIn, place: Path, digits_source: Source, small_tflite: Path, looks_compiled: Callable[[Path], Path]
) -> None:
    stand_in("all_mapped", writes=looks_compiled(small_tflite))
    with pytest.raises(EdgeError, match="inputs and outputs", check=lambda e: e.code == "EF-edgetpu-other-model"):
        edgetpu.compile_(digits_source, place)


def test_without_its_parent_nothing_is_compiled(digits_source: Source, tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match="tflite-int8", check=lambda e: e.code == "EF-parent-missing"):
        edgetpu.compile_(digits_source, tmp_path / "edgetpu-int8")


def test_what_a_log_does_not_report_is_a_note() -> None:
    assert edgetpu.notes_of(Compiled()) == ("the compiler does not report how many operations the Edge TPU computes",)
    assert edgetpu.notes_of(Compiled(mapped_operations=3, cpu_operations=2)) == (
        "left to the CPU: 2 operations; the compiler does not report which",
    )
    contradicted = Compiled(mapped_operations=3, cpu_operations=0, contradictions=("1 and 2",))
    assert edgetpu.notes_of(contradicted) == ("the compiler's log contradicts itself: 1 and 2",)


@pytest.fixture
def build(exported_digits: Any, tmp_path: Path) -> Path:
    """Return a build folder with the reference and the int8 artifact."""
    for name in ("reference", edgetpu.PARENT):
        shutil.copytree(exported_digits.build / name, tmp_path / "build" / name)
    return tmp_path / "build"


@pytest.fixture
def one_child(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the exports of a test be in one process, started with the test's variables: importing TensorFlow takes seconds."""
    with Child() as child:
        monkeypatch.setattr("edgeferry.exporters.export.Child", lambda **_: nullcontext(child))
        yield


def rows_of(build: Path, exported: Any) -> tuple[Any, Any]:
    """Return the export of the format, and its row for LiteRT, which reads no compiled file."""
    (export,) = export_all(exported.spec, build, ("edgetpu-int8",), lambda *_: None)
    (row,) = run_all(open_bench(build, choose(("litert",)), lambda *_: None, reuse=False))
    return export, row


@pytest.mark.slow
@pytest.mark.usefixtures("one_child")
def test_what_a_stand_in_compiled_is_written_and_never_passes(
    stand_in: StandIn, build: Path, exported_digits: Any, compiled: Path
) -> None:
    program = stand_in("multiple_subgraphs", writes=compiled)
    export, row = rows_of(build, exported_digits)
    assert (export.state, row.outcome) == ("written", "not checked")
    assert rows_of(build, exported_digits)[0].state == "kept"
    program.write_text(program.read_text(encoding="utf-8") + "# another version\n", encoding="utf-8")
    assert rows_of(build, exported_digits)[0].reason == "the program that writes it changed"
    artifact = read_artifact(build / "edgetpu-int8")
    assert artifact.options["compiler_version"] == "16.0.384591198"
    assert artifact.notes[-1].endswith("are sent for every image")


@pytest.mark.slow
def test_a_failure_is_a_row_with_the_compilers_words(stand_in: StandIn, build: Path, exported_digits: Any) -> None:
    stand_in("internal_error", status=1)
    export, row = rows_of(build, exported_digits)
    assert (export.state, row.outcome) == ("failed", "failed")
    assert row.reason == "not exported: edgetpu_compiler ended with status 1: Internal compiler error. Aborting!"
    assert "Internal compiler error. Aborting!" in (build / "edgetpu-int8" / "export.log").read_text(encoding="utf-8")
    assert not (build / "edgetpu-int8" / "model_edgetpu.tflite").exists()


@pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data/edgetpu is not available: files of Google's compiler")
@pytest.mark.parametrize("name", ["mobilenet_v1_0.25_128_quant", "deeplabv3_mnv2_dm05_pascal_quant", "keras_lstm_mnist_ptq"])
def test_what_google_compiled_has_its_parents_inputs_and_outputs(name: str) -> None:
    compiled = DATA / f"{name}_edgetpu.tflite"
    edgetpu._refuse_another_model(compiled, DATA / f"{name}.tflite")
    with pytest.raises(EdgeError, check=lambda e: e.code == "EF-edgetpu-other-model"):
        edgetpu._refuse_another_model(compiled, DATA / "split_concat.tflite")
