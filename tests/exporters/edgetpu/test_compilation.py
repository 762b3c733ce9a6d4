# SPDX-License-Identifier: Apache-2.0
"""What becomes of files and of failures; the compiler is a stand-in that replays recorded logs and compiles nothing."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeferry.exporters.edgetpu.compilation import LOG, Compilation, CompilationError, compile_files
from edgeferry.exporters.edgetpu.options import EdgeTpuOptions
from edgeferry.models.system import subprocesses as tool
from edgeferry.models.system.errors import EdgeError

DEFAULT = EdgeTpuOptions()
StandIn = Callable[..., Path]


@pytest.fixture
def compiled(small_tflite: Path, looks_compiled: Callable[[Path], Path]) -> Path:
    """Return what the stand-in is to copy."""
    return looks_compiled(small_tflite)


@pytest.fixture
def compile_small(stand_in: StandIn, small_tflite: Path, compiled: Path, tmp_path: Path) -> Callable[..., Compilation]:
    """Return a function that has the stand-in replay a log and copy the file for the small model, into ``out``."""

    def done(log: str, options: EdgeTpuOptions = DEFAULT, **does: object) -> Compilation:
        stand_in(log, writes=compiled, **does)
        return compile_files([small_tflite], tmp_path / "out", options)

    return done


def told_by(place: Path) -> list[str]:
    return place.read_text(encoding="utf-8").split("\n")


def test_what_was_compiled_is_recorded(stand_in: StandIn, small_tflite: Path, compiled: Path, tmp_path: Path) -> None:
    stand_in("multiple_subgraphs", writes=compiled)
    done = compile_files([small_tflite], tmp_path / "out", DEFAULT)
    (output,) = done.outputs
    assert output.path == tmp_path / "out" / "small model_edgetpu.tflite"
    assert output.path.read_bytes() == compiled.read_bytes()
    assert (output.parent, output.told.mapped_operations, output.told.cpu_operations) == (small_tflite, 289, 5)
    assert done.compiler.version == "16.0.384591198"
    assert done.arguments == ("-s", "-o", ".", "-t", "180", "small model.tflite")
    log = (tmp_path / "out" / LOG).read_text(encoding="utf-8")
    assert done.compiler.sha256 in log
    assert "yolov5s" not in log
    assert log.rstrip().endswith("Compilation succeeded!")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [LOG, "small model_edgetpu.tflite"]


def test_every_option_reaches_the_compiler(stand_in: StandIn, small_tflite: Path, compiled: Path, tmp_path: Path) -> None:
    stand_in("multiple_subgraphs", writes=compiled, asked=tmp_path / "asked")
    options = EdgeTpuOptions(min_runtime_version=13, multiple_subgraphs=True, intermediate_tensors=("a;b", "c"), timeout_s=9)
    compile_files([small_tflite], tmp_path / "out", options)
    told = ["-s", "-o", ".", "-t", "9", "-m", "13", "-a", "-i", "a;b,c", "small model.tflite"]
    assert told_by(tmp_path / "asked") == told
    compile_files([small_tflite], tmp_path / "out", EdgeTpuOptions(search_delegate=True, delegate_search_step=10))
    assert told_by(tmp_path / "asked")[5:8] == ["-d", "-k", "10"]


def test_a_name_that_looks_like_an_option_is_none(stand_in: StandIn, small_tflite: Path, compiled: Path, tmp_path: Path) -> None:
    stand_in("multiple_subgraphs", writes=compiled, asked=tmp_path / "asked")
    odd = shutil.copyfile(small_tflite, small_tflite.with_name("-n.tflite"))
    assert compile_files([odd], tmp_path / "out", DEFAULT).outputs[0].path.name == "-n_edgetpu.tflite"
    assert told_by(tmp_path / "asked")[-1] == "./-n.tflite"


def test_models_compiled_together_keep_their_order(stand_in: StandIn, small_tflite: Path, compiled: Path, tmp_path: Path) -> None:
    stand_in("compiled_together", writes=compiled)
    other = shutil.copyfile(small_tflite, small_tflite.with_name("another.tflite"))
    done = compile_files([small_tflite, other], tmp_path / "out", DEFAULT)
    assert [output.path.name for output in done.outputs] == ["small model_edgetpu.tflite", "another_edgetpu.tflite"]
    assert [output.told.operations for output in done.outputs] == [313, 78]


def test_segments_are_written_in_the_order_they_run(
    stand_in: StandIn, small_tflite: Path, compiled: Path, tmp_path: Path
) -> None:
    stand_in("segments", writes=compiled)
    done = compile_files([small_tflite], tmp_path / "out", EdgeTpuOptions(segments=2))
    names = [f"small model_segment_{at}_of_2_edgetpu.tflite" for at in range(2)]
    assert [output.path.name for output in done.outputs] == names
    assert [output.told.mapped_operations for output in done.outputs] == [84, 84]


def test_the_compilers_own_log_stands_beside(stand_in: StandIn, small_tflite: Path, compiled: Path, tmp_path: Path) -> None:
    table = Path(__file__).parent / "logs" / "operation_log.log"
    stand_in("without_timer", writes=compiled, operation_log=table)
    done = compile_files([small_tflite], tmp_path / "out", DEFAULT)
    assert (tmp_path / "out" / "small model_edgetpu.log").read_bytes() == table.read_bytes()
    assert len(done.outputs[0].told.table) == 8


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ("operation_version", "Didn't find op for builtin opcode 'CONV_2D' version '6'"),
        ("dynamic_sizes", "dynamic-sized tensors. .*; convert with batch 1"),
        ("custom_operation", "unresolved custom op: Atan"),
        ("tensorflow_operation", "Regular TensorFlow ops are not supported"),
        ("large_activations", "large activation tensors in model.; take smaller images, or let it search"),
        ("search_failed", "large activation tensors"),
        ("search_for_nothing", "Compilation failed!; it gives no reason"),
        ("no_reason", "Compilation failed!; it gives no reason; it is known of LSTM"),
        ("too_slow", "Compilation timeout. This is usually caused by large activations.; raise timeout_s"),
        ("exception", "uncaught exception of type std::out_of_range"),
        ("internal_error", "Internal compiler error. Aborting!"),
        ("not_quantized", "Model not quantized"),
        ("second_segment_failed", "large activation tensors"),
        ("only_version", "Edge TPU Compiler version 15"),
    ],
)
@pytest.mark.parametrize("status", [0, 1])
def test_a_failure_is_told_in_its_own_words_whatever_its_status(
    log: str, said: str, status: int, compile_small: Callable[..., Compilation], tmp_path: Path
) -> None:
    how = "ended with status 1: " if status else "ended well and compiled nothing: "
    with pytest.raises(CompilationError, match=f"edgetpu_compiler {how}.*{said}"):
        compile_small(log, status=status)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [LOG]


def test_a_success_of_nothing_is_refused(stand_in: StandIn, small_tflite: Path, compiled: Path, tmp_path: Path) -> None:
    stand_in("nothing_mapped", writes=compiled)
    with pytest.raises(CompilationError, match="ended well, but mapped no operation of small model.tflite to the Edge TPU"):
        compile_files([small_tflite], tmp_path / "out", DEFAULT)


def test_a_file_without_the_operation_is_refused_whatever_the_log_says(
    stand_in: StandIn, small_tflite: Path, tmp_path: Path
) -> None:
    stand_in("all_mapped", writes=small_tflite)
    with pytest.raises(CompilationError, match="mapped no operation"):
        compile_files([small_tflite], tmp_path / "out", DEFAULT)


def test_a_success_without_a_file_is_refused(stand_in: StandIn, small_tflite: Path, tmp_path: Path) -> None:
    stand_in("all_mapped")
    with pytest.raises(CompilationError, match="ended well, but wrote no small model_edgetpu.tflite"):
        compile_files([small_tflite], tmp_path / "out", DEFAULT)


def test_a_file_that_is_cut_short_is_refused(stand_in: StandIn, small_tflite: Path, compiled: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(compiled.read_bytes()[:200])
    stand_in("all_mapped", writes=cut)
    with pytest.raises(EdgeError, match="is cut short or damaged"):
        compile_files([small_tflite], tmp_path / "out", DEFAULT)


@pytest.mark.parametrize("most", [0, 4])
def test_more_operations_on_the_cpu_than_the_limit_are_refused(
    most: int, compile_small: Callable[..., Compilation], tmp_path: Path
) -> None:
    said = (
        rf"5 operations of small model.tflite are left to the CPU, {most} are allowed: 1 CONCATENATION \(Operation is otherwise"
    )
    with pytest.raises(CompilationError, match=said):
        compile_small("multiple_subgraphs", EdgeTpuOptions(most_cpu_operations=most))
    assert not (tmp_path / "out" / "small model_edgetpu.tflite").exists()


def test_as_many_operations_on_the_cpu_as_the_limit_are_not(compile_small: Callable[..., Compilation]) -> None:
    assert compile_small("multiple_subgraphs", EdgeTpuOptions(most_cpu_operations=5)).outputs


def test_a_limit_that_cannot_be_checked_is_not_held(
    stand_in: StandIn, small_tflite: Path, compiled: Path, tmp_path: Path
) -> None:
    stand_in(writes=compiled, says="Edge TPU Compiler version 17\nInput model: small model.tflite\n")
    with pytest.raises(CompilationError, match="does not say how many operations of small model.tflite it leaves to the CPU"):
        compile_files([small_tflite], tmp_path / "out", EdgeTpuOptions(most_cpu_operations=3))
    assert compile_files([small_tflite], tmp_path / "out", DEFAULT).outputs[0].told.mapped_operations is None


def test_one_that_does_not_end_is_ended(
    stand_in: StandIn, small_tflite: Path, compiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in("no_reason", writes=compiled, sleep_s=60)
    monkeypatch.setattr("edgeferry.exporters.edgetpu.compilation.GRACE_S", 1.0)
    with pytest.raises(CompilationError, match=r"edgetpu_compiler took longer than 2 s and was ended: Compilation failed!"):
        compile_files([small_tflite], tmp_path / "out", EdgeTpuOptions(timeout_s=1))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [LOG]


def test_one_that_crashes_is_told_with_its_last_words(
    stand_in: StandIn, small_tflite: Path, compiled: Path, tmp_path: Path
) -> None:
    stand_in(writes=compiled, says="Edge TPU Compiler version 16.0\nabout to\n", signal=11)
    with pytest.raises(CompilationError, match=r"was killed by SIGSEGV: Edge TPU Compiler version 16.0 / about to"):
        compile_files([small_tflite], tmp_path / "out", DEFAULT)


def test_bytes_that_are_no_text_are_survived(stand_in: StandIn, small_tflite: Path, compiled: Path, tmp_path: Path) -> None:
    stand_in("all_mapped", writes=compiled, says=os.fsdecode(b"\xff\xfe\x80 what is this\n"))
    assert compile_files([small_tflite], tmp_path / "out", DEFAULT).outputs[0].told.mapped_operations == 84


def test_one_that_talks_without_end_is_ended(
    stand_in: StandIn, small_tflite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tool, "OUTPUT_BYTES", 2**20)
    stand_in(says="the same again " * 1000 + "\n", endless=1)
    with pytest.raises(CompilationError, match="printed more than 1 MiB and was ended"):
        compile_files([small_tflite], tmp_path / "out", DEFAULT)


def test_a_long_log_is_read(stand_in: StandIn, small_tflite: Path, compiled: Path, tmp_path: Path) -> None:
    stand_in("all_mapped", writes=compiled, says="INFO: nothing in particular\n" * 4000)
    assert compile_files([small_tflite], tmp_path / "out", DEFAULT).outputs[0].told.mapped_operations == 84


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_said(stand_in: StandIn, small_tflite: Path, tmp_path: Path) -> None:
    stand_in("all_mapped")
    (tmp_path / "out").mkdir(mode=0o555)
    with pytest.raises(EdgeError, match=r"cannot write .*out: Permission denied"):
        compile_files([small_tflite], tmp_path / "out", DEFAULT)


def test_a_folder_that_is_a_file_is_said(stand_in: StandIn, small_tflite: Path, tmp_path: Path) -> None:
    stand_in("all_mapped")
    (tmp_path / "out").write_bytes(b"")
    with pytest.raises(EdgeError, match=r"cannot write .*out: File exists"):
        compile_files([small_tflite], tmp_path / "out", DEFAULT)


def test_a_model_that_is_not_there_is_said(stand_in: StandIn, tmp_path: Path) -> None:
    stand_in("all_mapped")
    with pytest.raises(EdgeError, match=r"none.tflite cannot be read: No such file or directory"):
        compile_files([tmp_path / "none.tflite"], tmp_path / "out", DEFAULT)


def test_a_failure_leaves_what_was_there(stand_in: StandIn, small_tflite: Path, compiled: Path, tmp_path: Path) -> None:
    stand_in("all_mapped", writes=compiled)
    (path,) = [output.path for output in compile_files([small_tflite], tmp_path / "out", DEFAULT).outputs]
    stand_in("no_reason", status=1)
    with pytest.raises(CompilationError):
        compile_files([small_tflite], tmp_path / "out", DEFAULT)
    assert path.read_bytes() == compiled.read_bytes()


def test_options_that_contradict_each_other_are_refused_before_anything_runs(small_tflite: Path, tmp_path: Path) -> None:
    for options, said in (
        (EdgeTpuOptions(delegate_search_step=3), "delegate_search_step says how a search goes on"),
        (EdgeTpuOptions(intermediate_tensors=("a",), segments=2), "no public record says what the compiler makes of both"),
    ):
        with pytest.raises(EdgeError, match=said):
            compile_files([small_tflite], tmp_path / "out", options)
    with pytest.raises(EdgeError, match="segments and several models"):
        compile_files([small_tflite, tmp_path / "b.tflite"], tmp_path / "out", EdgeTpuOptions(segments=2))
    with pytest.raises(EdgeError, match="two models are named small model, and so would be what they are compiled to"):
        compile_files([small_tflite, tmp_path / small_tflite.name], tmp_path / "out", DEFAULT)
    assert not (tmp_path / "out").exists()
