# SPDX-License-Identifier: Apache-2.0
"""Files and failures of a compilation; the compiler is a stand-in that replays recorded logs and compiles nothing."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeferry.exporters.edgetpu.compilation import LOG, Compilation, CompilationError, compile_files
from edgeferry.exporters.edgetpu.options import EdgeTpuOptions
from edgeferry.models.system import subprocesses as tool
from edgeferry.models.system.errors import EdgeError

pytestmark = pytest.mark.slow

DEFAULT = EdgeTpuOptions()
StandIn = Callable[..., Path]


@pytest.fixture
def compiled(small_tflite: Path, looks_compiled: Callable[[Path], Path]) -> Path:
    """Return the file that the stand-in copies."""
    return looks_compiled(small_tflite)


@pytest.fixture
def compile_small(stand_in: StandIn, small_tflite: Path, compiled: Path, tmp_path: Path) -> Callable[..., Compilation]:
    """Return a function that has the stand-in replay a log and copy the file for the small model, into ``out``."""

    def done(log: str, options: EdgeTpuOptions = DEFAULT, **does: object) -> Compilation:
        stand_in(log, writes=compiled, **does)
        return compile_files([small_tflite], tmp_path / "out", options)

    return done


def lines_of(place: Path) -> list[str]:
    return place.read_text(encoding="utf-8").split("\n")


def test_what_was_compiled_is_recorded(stand_in: StandIn, small_tflite: Path, compiled: Path, tmp_path: Path) -> None:
    stand_in("multiple_subgraphs", writes=compiled)
    done = compile_files([small_tflite], tmp_path / "out", DEFAULT)
    (output,) = done.outputs
    assert output.path == tmp_path / "out" / "small model_edgetpu.tflite"
    assert output.path.read_bytes() == compiled.read_bytes()
    assert (output.parent, output.log.mapped_operations, output.log.cpu_operations) == (small_tflite, 289, 5)
    assert done.compiler.version == "16.0.384591198"
    assert done.arguments == ("-s", "-o", ".", "-t", "180", "small model.tflite")
    log = (tmp_path / "out" / LOG).read_text(encoding="utf-8")
    assert done.compiler.sha256 in log
    assert "yolov5s" not in log
    assert log.rstrip().endswith("Compilation succeeded!")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [LOG, "small model_edgetpu.tflite"]


def test_every_option_reaches_the_compiler(stand_in: StandIn, small_tflite: Path, compiled: Path, tmp_path: Path) -> None:
    stand_in("multiple_subgraphs", writes=compiled, arguments=tmp_path / "arguments")
    options = EdgeTpuOptions(min_runtime_version=13, multiple_subgraphs=True, intermediate_tensors=("a;b", "c"), timeout_s=9)
    compile_files([small_tflite], tmp_path / "out", options)
    expected = ["-s", "-o", ".", "-t", "9", "-m", "13", "-a", "-i", "a;b,c", "small model.tflite"]
    assert lines_of(tmp_path / "arguments") == expected
    compile_files([small_tflite], tmp_path / "out", EdgeTpuOptions(search_delegate=True, delegate_search_step=10))
    assert lines_of(tmp_path / "arguments")[5:8] == ["-d", "-k", "10"]


def test_a_file_name_may_look_like_an_option(stand_in: StandIn, small_tflite: Path, compiled: Path, tmp_path: Path) -> None:
    stand_in("multiple_subgraphs", writes=compiled, arguments=tmp_path / "arguments")
    odd = shutil.copyfile(small_tflite, small_tflite.with_name("-n.tflite"))
    assert compile_files([odd], tmp_path / "out", DEFAULT).outputs[0].path.name == "-n_edgetpu.tflite"
    assert lines_of(tmp_path / "arguments")[-1] == "./-n.tflite"


def test_models_compiled_together_keep_their_order(stand_in: StandIn, small_tflite: Path, compiled: Path, tmp_path: Path) -> None:
    stand_in("compiled_together", writes=compiled)
    other = shutil.copyfile(small_tflite, small_tflite.with_name("another.tflite"))
    done = compile_files([small_tflite, other], tmp_path / "out", DEFAULT)
    assert [output.path.name for output in done.outputs] == ["small model_edgetpu.tflite", "another_edgetpu.tflite"]
    assert [output.log.operations for output in done.outputs] == [313, 78]


def test_segments_are_written_in_the_order_they_run(
    stand_in: StandIn, small_tflite: Path, compiled: Path, tmp_path: Path
) -> None:
    stand_in("segments", writes=compiled)
    done = compile_files([small_tflite], tmp_path / "out", EdgeTpuOptions(segments=2))
    names = [f"small model_segment_{at}_of_2_edgetpu.tflite" for at in range(2)]
    assert [output.path.name for output in done.outputs] == names
    assert [output.log.mapped_operations for output in done.outputs] == [84, 84]


def test_the_compilers_own_log_is_kept(stand_in: StandIn, small_tflite: Path, compiled: Path, tmp_path: Path) -> None:
    table = Path(__file__).parent / "logs" / "operation_log.log"
    stand_in("without_timer", writes=compiled, operation_log=table)
    done = compile_files([small_tflite], tmp_path / "out", DEFAULT)
    assert (tmp_path / "out" / "small model_edgetpu.log").read_bytes() == table.read_bytes()
    assert len(done.outputs[0].log.table) == 8


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("operation_version", "Didn't find op for builtin opcode 'CONV_2D' version '6'"),
        ("dynamic_sizes", "dynamic-sized tensors. .*; convert with batch 1"),
        ("custom_operation", "unresolved custom op: Atan"),
        ("tensorflow_operation", "Regular TensorFlow ops are not supported"),
        ("large_activations", "large activation tensors in model.; use smaller images"),
        ("search_failed", "large activation tensors"),
        ("search_for_nothing", "Compilation failed!; the compiler gives no reason"),
        ("no_reason", "Compilation failed!; the compiler gives no reason; known of LSTM"),
        ("too_slow", "Compilation timeout. This is usually caused by large activations.; increase timeout_s"),
        ("exception", "uncaught exception of type std::out_of_range"),
        ("internal_error", "Internal compiler error. Aborting!"),
        ("not_quantized", "Model not quantized"),
        ("second_segment_failed", "large activation tensors"),
        ("only_version", "Edge TPU Compiler version 15"),
    ],
)
@pytest.mark.parametrize("status", [0, 1])
def test_a_failure_keeps_the_compilers_words_whatever_its_status(
    log: str, words: str, status: int, compile_small: Callable[..., Compilation], tmp_path: Path
) -> None:
    with pytest.raises(CompilationError, match=words, check=lambda e: e.code == "EF-edgetpu-compiler-failed"):
        compile_small(log, status=status)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [LOG]


def test_a_success_of_nothing_is_refused(stand_in: StandIn, small_tflite: Path, compiled: Path, tmp_path: Path) -> None:
    stand_in("nothing_mapped", writes=compiled)
    with pytest.raises(CompilationError, match="small model.tflite", check=lambda e: e.code == "EF-edgetpu-nothing-mapped"):
        compile_files([small_tflite], tmp_path / "out", DEFAULT)


def test_a_file_without_the_operation_is_refused_whatever_the_log_reports(
    stand_in: StandIn, small_tflite: Path, tmp_path: Path
) -> None:
    stand_in("all_mapped", writes=small_tflite)
    with pytest.raises(CompilationError, check=lambda e: e.code == "EF-edgetpu-nothing-mapped"):
        compile_files([small_tflite], tmp_path / "out", DEFAULT)


def test_a_success_without_a_file_is_refused(stand_in: StandIn, small_tflite: Path, tmp_path: Path) -> None:
    stand_in("all_mapped")
    with pytest.raises(CompilationError, match="small model_edgetpu.tflite", check=lambda e: e.code == "EF-edgetpu-no-output"):
        compile_files([small_tflite], tmp_path / "out", DEFAULT)


def test_a_truncated_file_is_refused(stand_in: StandIn, small_tflite: Path, compiled: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(compiled.read_bytes()[:200])
    stand_in("all_mapped", writes=cut)
    with pytest.raises(EdgeError, check=lambda e: e.code == "EF-file-damaged"):
        compile_files([small_tflite], tmp_path / "out", DEFAULT)


@pytest.mark.parametrize("most", [0, 4])
def test_more_operations_on_the_cpu_than_the_limit_are_refused(
    most: int, compile_small: Callable[..., Compilation], tmp_path: Path
) -> None:
    values = rf"^5 operations of small model.tflite .* {most} .*1 CONCATENATION \(Operation is otherwise"
    with pytest.raises(CompilationError, match=values, check=lambda e: e.code == "EF-edgetpu-cpu-operations"):
        compile_small("multiple_subgraphs", EdgeTpuOptions(most_cpu_operations=most))
    assert not (tmp_path / "out" / "small model_edgetpu.tflite").exists()


def test_as_many_operations_on_the_cpu_as_the_limit_are_not(compile_small: Callable[..., Compilation]) -> None:
    assert compile_small("multiple_subgraphs", EdgeTpuOptions(most_cpu_operations=5)).outputs


def test_a_limit_that_cannot_be_checked_is_a_failure(
    stand_in: StandIn, small_tflite: Path, compiled: Path, tmp_path: Path
) -> None:
    stand_in(writes=compiled, prints="Edge TPU Compiler version 17\nInput model: small model.tflite\n")
    with pytest.raises(CompilationError, check=lambda e: e.code == "EF-edgetpu-cpu-operations"):
        compile_files([small_tflite], tmp_path / "out", EdgeTpuOptions(most_cpu_operations=3))
    assert compile_files([small_tflite], tmp_path / "out", DEFAULT).outputs[0].log.mapped_operations is None


def test_one_that_does_not_end_is_ended(
    stand_in: StandIn, small_tflite: Path, compiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in("no_reason", writes=compiled, sleep_s=60)
    monkeypatch.setattr("edgeferry.exporters.edgetpu.compilation.GRACE_S", 1.0)
    with pytest.raises(CompilationError, match="2 s .*failed!", check=lambda e: e.code == "EF-edgetpu-compiler-failed"):
        compile_files([small_tflite], tmp_path / "out", EdgeTpuOptions(timeout_s=1))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [LOG]


def test_one_that_crashes_is_reported_with_its_last_output(
    stand_in: StandIn, small_tflite: Path, compiled: Path, tmp_path: Path
) -> None:
    stand_in(writes=compiled, prints="Edge TPU Compiler version 16.0\nabout to\n", signal=11)
    with pytest.raises(CompilationError, match=r"SIGSEGV: Edge TPU Compiler version 16.0 / about to"):
        compile_files([small_tflite], tmp_path / "out", DEFAULT)


def test_bytes_that_are_not_text_are_accepted(stand_in: StandIn, small_tflite: Path, compiled: Path, tmp_path: Path) -> None:
    stand_in("all_mapped", writes=compiled, prints=os.fsdecode(b"\xff\xfe\x80 what is this\n"))
    assert compile_files([small_tflite], tmp_path / "out", DEFAULT).outputs[0].log.mapped_operations == 84


def test_one_that_prints_without_end_is_ended(
    stand_in: StandIn, small_tflite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tool, "OUTPUT_BYTES", 2**20)
    stand_in(prints="the same again " * 1000 + "\n", endless=1)
    with pytest.raises(CompilationError, match="1 MiB", check=lambda e: e.code == "EF-edgetpu-compiler-failed"):
        compile_files([small_tflite], tmp_path / "out", DEFAULT)


def test_a_long_log_is_read(stand_in: StandIn, small_tflite: Path, compiled: Path, tmp_path: Path) -> None:
    stand_in("all_mapped", writes=compiled, prints="INFO: nothing in particular\n" * 4000)
    assert compile_files([small_tflite], tmp_path / "out", DEFAULT).outputs[0].log.mapped_operations == 84


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_reported(stand_in: StandIn, small_tflite: Path, tmp_path: Path) -> None:
    stand_in("all_mapped")
    (tmp_path / "out").mkdir(mode=0o555)
    with pytest.raises(EdgeError, match=r"out: Permission denied"):
        compile_files([small_tflite], tmp_path / "out", DEFAULT)


def test_a_folder_that_is_a_file_is_reported(stand_in: StandIn, small_tflite: Path, tmp_path: Path) -> None:
    stand_in("all_mapped")
    (tmp_path / "out").write_bytes(b"")
    with pytest.raises(EdgeError, match=r"out: File exists"):
        compile_files([small_tflite], tmp_path / "out", DEFAULT)


def test_a_missing_model_is_reported(stand_in: StandIn, tmp_path: Path) -> None:
    stand_in("all_mapped")
    with pytest.raises(EdgeError, match="none.tflite", check=lambda e: e.code == "EF-file-unreadable"):
        compile_files([tmp_path / "none.tflite"], tmp_path / "out", DEFAULT)


def test_a_failure_leaves_what_was_there(stand_in: StandIn, small_tflite: Path, compiled: Path, tmp_path: Path) -> None:
    stand_in("all_mapped", writes=compiled)
    (path,) = [output.path for output in compile_files([small_tflite], tmp_path / "out", DEFAULT).outputs]
    stand_in("no_reason", status=1)
    with pytest.raises(CompilationError):
        compile_files([small_tflite], tmp_path / "out", DEFAULT)
    assert path.read_bytes() == compiled.read_bytes()


def test_options_that_contradict_each_other_are_refused_before_anything_runs(small_tflite: Path, tmp_path: Path) -> None:
    for options, key in (
        (EdgeTpuOptions(delegate_search_step=3), "delegate_search_step"),
        (EdgeTpuOptions(intermediate_tensors=("a",), segments=2), "intermediate_tensors"),
    ):
        with pytest.raises(EdgeError, match=f"^{key}", check=lambda e: e.code == "EF-edgetpu-options"):
            compile_files([small_tflite], tmp_path / "out", options)
    with pytest.raises(EdgeError, match="^segments", check=lambda e: e.code == "EF-edgetpu-options"):
        compile_files([small_tflite, tmp_path / "b.tflite"], tmp_path / "out", EdgeTpuOptions(segments=2))
    with pytest.raises(EdgeError, match="small model", check=lambda e: e.code == "EF-edgetpu-model-names"):
        compile_files([small_tflite, tmp_path / small_tflite.name], tmp_path / "out", DEFAULT)
    assert not (tmp_path / "out").exists()
