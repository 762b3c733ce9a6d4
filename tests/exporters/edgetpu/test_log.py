# SPDX-License-Identifier: Apache-2.0
"""Logs that users of the compiler published, read to the last number; logs/README.md names their sources."""

import random
from pathlib import Path
from typing import Final

import pytest

from edgeferry.exporters.edgetpu.log import CompilerLog, OperationStatus, last_words, parse_log, with_operation_log

FOLDER: Final = Path(__file__).parent / "logs"
LOGS: Final = tuple(sorted(path.stem for path in FOLDER.glob("*.log")))
MIB: Final = 2**20


def read(name: str) -> str:
    return (FOLDER / f"{name}.log").read_text(encoding="utf-8")


def parsed(name: str) -> CompilerLog:
    return parse_log(read(name))


def test_every_number_of_a_log_is_read() -> None:
    log = parsed("multiple_subgraphs")
    (model,) = log.models
    assert (log.version, log.failure, log.tries) == ("16.0.384591198", None, 1)
    assert (model.input_file, model.output_file) == ("yolov5s-int8-224.tflite", "yolov5s-int8-224_edgetpu.tflite")
    assert (model.input_bytes, model.output_bytes) == (round(7.37 * MIB), round(8.34 * MIB))
    assert (model.on_chip_bytes, model.on_chip_free_bytes, model.off_chip_bytes) == (round(6.08 * MIB), 0, round(1.70 * MIB))
    assert (model.subgraphs, model.operations, model.duration_ms) == (2, 294, 3173)
    assert (model.mapped_operations, model.cpu_operations, model.contradictions) == (289, 5, ())
    assert len(model.table) == 17
    assert sum(row.count for row in model.table) == 294


def test_what_is_left_to_the_cpu_keeps_its_reason() -> None:
    limitation = "Operation is otherwise supported, but not mapped due to some unspecified limitation"
    (model,) = parsed("multiple_subgraphs").models
    assert model.left_to_cpu == (
        OperationStatus("CONCATENATION", 1, limitation),
        OperationStatus("TRANSPOSE", 1, limitation),
        OperationStatus("QUANTIZE", 2, limitation),
        OperationStatus("RESHAPE", 1, limitation),
    )


@pytest.mark.parametrize("name", ["all_mapped", "segments"])
def test_counts_that_are_left_out_mean_that_all_is_mapped(name: str) -> None:
    assert {(model.mapped_operations, model.cpu_operations) for model in parsed(name).models} == {(84, 0)}


def test_a_success_with_nothing_mapped_has_counts_of_zero() -> None:
    log = parsed("nothing_mapped")
    assert log.failure is None
    assert [(model.mapped_operations, model.cpu_operations, model.subgraphs) for model in log.models] == [(0, 69, 0)]


def test_models_compiled_together_have_a_block_each_and_one_duration() -> None:
    first, second = parsed("compiled_together").models
    assert (first.input_file, second.input_file) == ("cnn_first.tflite", "rnn_second.tflite")
    assert (first.on_chip_bytes, second.on_chip_bytes) == (round(1.75 * MIB), round(5.29 * MIB))
    assert (second.off_chip_bytes, second.operations) == (round(158.06 * 1024), 78)
    assert (first.duration_ms, second.duration_ms) == (3498, 3498)


def test_segments_have_a_block_each() -> None:
    assert [str(model.output_file)[-29:] for model in parsed("segments").models] == [
        "_segment_0_of_2_edgetpu.tflite"[-29:],
        "_segment_1_of_2_edgetpu.tflite"[-29:],
    ]


def test_a_segment_that_fails_after_one_that_did_not_is_a_failure() -> None:
    log = parsed("second_segment_failed")
    assert len(log.models) == 1
    assert str(log.failure).endswith("Compilation failed due to large activation tensors in model.")


def test_of_a_search_the_last_try_counts() -> None:
    log = parsed("search")
    (model,) = log.models
    assert (log.failure, log.tries) == (None, 3)
    assert (model.mapped_operations, model.cpu_operations, model.intermediate_tensors) == (420, 4, "Reshape_2,Sigmoid1")


def test_of_a_search_in_each_segment_the_last_try_of_each_counts() -> None:
    log = parsed("search_of_segments")
    assert (log.failure, log.tries, len(log.models)) == (None, 3, 2)
    assert [model.intermediate_tensors for model in log.models] == [None, "tfl.dequantize,Reshape"]


def test_a_search_that_was_cut_off_is_a_failure() -> None:
    text = read("search")
    assert parse_log(text[: text.index("Model compiled")]).failure is not None
    assert parse_log(read("all_mapped") + "Searching for valid delegate with step 1\n").failure is not None


def test_a_log_of_a_version_without_a_timer_is_read() -> None:
    (model,) = parsed("without_timer").models
    assert (model.mapped_operations, model.cpu_operations, model.duration_ms) == (6, 18, 113)


def test_the_table_of_an_operation_log_is_taken_where_there_is_no_other() -> None:
    without = parsed("without_timer").models[0]
    found = with_operation_log(without, read("operation_log"))
    assert len(found.table) == 8
    assert found.contradictions == (
        "25 operations in the table, 24 in all",
        "19 operations mapped and 6 not in the table, 6 and 18 above it",
    )
    full = parsed("multiple_subgraphs").models[0]
    assert with_operation_log(full, read("operation_log")) == full
    assert with_operation_log(without, "nothing of the kind") == without


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("operation_version", "ERROR: Didn't find op for builtin opcode 'CONV_2D' version '6'. "),
        ("operation_version", " / ERROR: Registration failed. / Invalid model: model.tflite / Model could not be parsed"),
        (
            "dynamic_sizes",
            "only supports static-sized tensors with a graph that has dynamic-sized tensors. / Compilation failed: Mo",
        ),
        ("custom_operation", "ERROR: Encountered unresolved custom op: Atan. / ERROR: Node number 1 (Atan) failed to prepare."),
        ("tensorflow_operation", "ERROR: Regular TensorFlow ops are not supported by this interpreter."),
        ("large_activations", "Compilation failed: Compilation failed due to large activation tensors in model."),
        ("search_failed", "Compilation failed: Compilation failed due to large activation tensors in model."),
        ("search_for_nothing", "Compilation failed!"),
        ("no_reason", "Compilation failed!"),
        ("too_slow", "Compilation timeout. This is usually caused by large activations."),
        ("exception", "libc++abi: terminating with uncaught exception of type std::out_of_range: vector"),
        ("internal_error", "Internal compiler error. Aborting!"),
        ("only_version", "Edge TPU Compiler version 15.0.340273435"),
        ("not_quantized", "Model not quantized"),
    ],
)
def test_a_failure_keeps_its_own_words(name: str, words: str) -> None:
    log = parsed(name)
    assert words in str(log.failure)
    assert log.models == ()


def test_errors_before_a_success_are_not_failures() -> None:
    assert (
        parse_log("ERROR: Restored original execution plan after delegate application failure.\n" + read("all_mapped")).failure
        is None
    )


@pytest.mark.parametrize(
    ("old", "new", "contradiction"),
    [
        ("Edge TPU: 289", "Edge TPU: 288", "288 operations on the Edge TPU and 5 on the CPU, 294 in all"),
        ("Total number of operations: 294", "Total number of operations: 295", "294 operations in the table, 295 in all"),
        ("CPU: 5", "CPU: 4", "289 operations mapped and 5 not in the table, 289 and 4 above it"),
        ("subgraphs: 2", "subgraphs: 0", "289 operations on the Edge TPU, in no subgraph"),
    ],
)
def test_numbers_that_do_not_add_up_are_reported(old: str, new: str, contradiction: str) -> None:
    text = read("multiple_subgraphs")
    assert old in text
    (model,) = parse_log(text.replace(old, new)).models
    assert contradiction in model.contradictions


def test_what_a_log_does_not_report_is_none() -> None:
    (model,) = parse_log(
        "Edge TPU Compiler version 16.0\nInput model: a.tflite\nInput size: much\nTotal number of operations: 7\n"
    ).models
    assert (model.input_bytes, model.operations, model.mapped_operations, model.cpu_operations) == (None, 7, None, None)


@pytest.mark.parametrize("name", LOGS)
def test_a_log_that_was_cut_anywhere_is_read(name: str) -> None:
    text = read(name)
    for at in range(0, len(text), 7):
        log = parse_log(text[:at])
        assert all(model.mapped_operations is None or model.operations is not None for model in log.models)


@pytest.mark.parametrize("name", LOGS)
def test_a_log_with_other_text_in_it_is_read(name: str) -> None:
    rng, text = random.Random(name), read(name)  # noqa: S311 - not for secrets
    noise = ["\x00", "\x1b[31m", "\r", "\n", "9" * 5000, "�", "Input model:", "Operator Count Status\n", "Try to compile segment"]
    for _ in range(60):
        at, cut = sorted(rng.sample(range(len(text) + 1), 2)) if len(text) > 1 else (0, 0)
        damaged = text[:at] + rng.choice(noise) + text[at + rng.randrange(0, cut - at + 1) :]
        log = parse_log(damaged)
        assert log.models or log.failure


def test_windows_line_ends_and_padding_change_nothing() -> None:
    text = read("multiple_subgraphs")
    assert parse_log(text.replace("\n", "   \r\n")) == parse_log(text)


def test_an_empty_log_is_a_failure() -> None:
    assert parse_log("") == CompilerLog(None, (), "no output", 0)
    assert last_words("\n\n") == "no output"
