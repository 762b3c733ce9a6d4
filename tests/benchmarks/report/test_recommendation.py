# SPDX-License-Identifier: Apache-2.0
"""What to ship: the smallest and the fastest of what passed, nothing that failed, and why the others are not it."""

from dataclasses import replace

import pytest

from edgeferry.benchmarks.parity.outcome import Outcome, Verdict
from edgeferry.benchmarks.parity.rows import Report, Row
from edgeferry.benchmarks.report.overview import overviews
from edgeferry.benchmarks.report.shipping.recommendation import Recommendation, partial, recommendations


def row(form: str, target: str, size: int, latency: float | None = None, outcome: Outcome = "passed") -> Row:
    verdict = Verdict(outcome, "it says why", images=100, metrics={"agreement_shown": 0.97, "accuracy": 0.9})
    return Row(form, target, verdict, bytes=size, latency_ms_median=latency)


def report(*rows: Row) -> Report:
    return Report("my", "0" * 64, 100, 0.9, rows, {}, {}, "2026-11-28T00:00:00+00:00")


def of(place: str, *rows: Row) -> Recommendation:
    return {each.place.name: each for each in recommendations(report(*rows))}[place]


def names(found: Recommendation) -> list[tuple[str, str]]:
    return [(word, each.format) for word, each in found.picks]


def test_the_smallest_and_the_fastest_are_named() -> None:
    found = of("android", row("tflite-int8", "litert", 10, 5.0), row("tflite-float32", "litert", 40, 1.0))
    assert names(found) == [("smallest", "tflite-int8"), ("fastest", "tflite-float32")]


def test_what_is_hardly_faster_is_no_pick_of_its_own() -> None:
    found = of("android", row("tflite-int8", "litert", 10, 1.0), row("tflite-float32", "litert", 40, 0.9))
    assert names(found) == [("smallest and fastest", "tflite-int8")]
    assert found.lost == {"tflite-float32": "larger, 40 B, 0.900 ms"}


@pytest.mark.parametrize("outcome", ["failed", "inconclusive", "not checked", "unsupported", "not run"])
def test_what_did_not_pass_is_never_shipped(outcome: Outcome) -> None:
    found = of("android", row("tflite-int8", "litert", 10, outcome=outcome), row("tflite-float32", "litert", 40))
    assert names(found) == [("smallest", "tflite-float32")]
    assert found.lost["tflite-int8"] == f"{outcome} on litert: it says why"


def test_one_failure_there_outweighs_a_pass() -> None:
    found = of("android", row("tflite-int8", "litert", 10), row("tflite-int8", "tflite-2.5", 10, outcome="failed"))
    assert found.smallest is None


def test_a_failure_in_another_place_does_not_count() -> None:
    rows = (row("onnx-float32", "onnxruntime-cpu", 10, 1.0), row("onnx-float32", "chromium-ort-wasm", 10, outcome="failed"))
    assert names(of("server", *rows)) == [("smallest and fastest", "onnx-float32")]
    assert of("web", *rows).smallest is None


def test_a_result_out_of_date_counts_nowhere() -> None:
    found = recommendations(report(replace(row("tflite-int8", "litert", 10), outdated="the file changed")))
    assert found == ()


def test_a_microcontroller_gets_full_integers_only() -> None:
    assert names(of("mcu", row("tflite-int8", "litert", 50), row("tflite-dynamic", "litert", 10))) == [
        ("smallest", "tflite-int8")
    ]


def test_a_part_of_the_results_is_called_one() -> None:
    whole = report(row("tflite-int8", "litert", 10))
    assert partial(whole) == ""
    assert "1 results were not run" in partial(replace(whole, rows=(*whole.rows, row("keras", "keras", 1, outcome="not run"))))
    assert "only targets litert" in partial(replace(whole, targets=("litert",)))


def test_formats_that_failed_come_first_and_the_worst_on_the_most_images_is_shown() -> None:
    few = row("tflite-int8", "chromium-webgpu", 10)
    few = replace(few, verdict=replace(few.verdict, images=29, metrics={"accuracy": 0.5}))
    found = overviews([row("tflite-int8", "litert", 10), few, row("onnx-float32", "onnxruntime-cpu", 10, outcome="failed")])
    assert [each.format for each in found] == ["onnx-float32", "tflite-int8"]
    assert found[1].worst("accuracy") == 0.9
