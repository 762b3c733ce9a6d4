# SPDX-License-Identifier: Apache-2.0
"""The table for the terminal, and the report's three files."""

import io
import json
import math
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from jsonschema import Draft202012Validator
from rich.console import Console

from edgeferry.benchmarks.parity.judging.metric import metrics
from edgeferry.benchmarks.parity.outcome import OUTCOMES, Outcome, Verdict
from edgeferry.benchmarks.parity.rows import SCHEMA, Report, Row
from edgeferry.benchmarks.report import terminal
from edgeferry.benchmarks.report.report import read_report, write_report
from edgeferry.benchmarks.report.summary import findings, summary
from edgeferry.benchmarks.report.terminal import print_table
from edgeferry.benchmarks.report.words import difference, milliseconds, percent, size
from edgeferry.models.artifact import Tolerance
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.places import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Page

EXACT: Final = Tolerance(1.0, 1e-4, 1e-5, "the same numbers, added in another order")
COARSE: Final = Tolerance(0.97, 0.35, 0.1, "eight bits | a number")
NO_COMPILER: Final = "edgetpu_compiler is not on PATH; x86-64 Debian only, see README"
FILES: Final = ("report.json", "report.md", "report.html")


def measured(form: str, target: str, *, agreement: float = 1.0, latency: float = 0.05, count: int = 41_016) -> Row:
    values = {"top1_agreement": agreement, "accuracy": 0.98333, "p99_difference": 3.1e-7, "mean_difference": 2e-8}
    values |= {"agreement_shown": 0.9917, "times_explained": 1.1, "accuracy_loss": 0.0}
    return Row(
        form,
        target,
        Verdict("passed", "agreement 360 of 360 images: within the tolerance", images=360, metrics=values),
        reference_accuracy=0.98889,
        tolerance=EXACT,
        bytes=count,
        artifact_sha256="3fa9c10d" * 8,
        latency_ms_median=latency,
        load_ms=812.4,
        environment={"runtime": target, "threads": 2, "delegates": [], "simd": True},
    )


def judged(row: Row, **fields: Any) -> Row:
    """Return a row with another verdict."""
    return replace(row, verdict=replace(row.verdict, **fields))


@pytest.fixture
def report() -> Report:
    """Return a report with four outcomes; sizes and latencies are in no order."""
    rows = (
        measured("tflite-float32", "litert", latency=0.061, count=151_224),
        measured("savedmodel", "keras", latency=41.7, count=20_112_331),
        judged(
            replace(measured("tflite-int8", "litert", agreement=0.6139), tolerance=COARSE),
            outcome="failed",
            reason="61.4 % <b>agree</b> | wanted 97.0 %",
        ),
        measured("onnx-float32", "onnxruntime-cpu", latency=600.0, count=149_870),
        measured("tflite-float16", "tflite-runtime", latency=9.0, count=80_120),
        Row("coreml-float16", "coreml", Verdict("not checked", "Core ML runs on macOS only"), tolerance=COARSE, bytes=83_001),
        Row("edgetpu-int8", "-", Verdict("not run", NO_COMPILER)),
    )
    machine = {"system": "Linux", "cores": 2, "gpu": None}
    return Report("digits", "9c1f" * 16, 360, 0.98889, rows, machine, {"keras": "3.15.1"}, "2026-11-23T18:40:12+00:00")


@pytest.fixture
def hostile(report: Report) -> Report:
    """Return a report whose every text would like to be markup, a script or a terminal's command."""
    evil = "<script>alert(1)</script> | \"'>&amp; [bold]x[/bold] [a](javascript:b) \x1b[2J\nnext `line`"
    row = replace(report.rows[2], format=evil, target=evil, artifact_sha256=evil, environment={evil: [evil]})
    row = judged(replace(row, tolerance=replace(COARSE, reason=evil)), reason=evil, code=evil)
    return replace(report, model=evil, rows=(row, *report.rows), machine={evil: evil}, tool_versions={evil: evil})


def printed(report: Report, *, every_row: bool = False, **how: Any) -> str:
    file = io.StringIO()
    print_table(report, Console(file=file, **how), every_row=every_row)
    return file.getvalue()


def written(report: Report, folder: Path) -> tuple[dict[str, Any], str, str]:
    write_report(report, folder)
    record, markdown, page = ((folder / name).read_text(encoding="utf-8") for name in FILES)
    return json.loads(record), markdown, page


def violations(record: dict[str, Any]) -> list[str]:
    schema = json.loads((ROOT / "benchmarks" / "parity" / "report.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    return [error.message for error in Draft202012Validator(schema).iter_errors(record)]


# The terminal


def test_the_piped_table_holds_no_escape_codes(report: Report) -> None:
    assert "\x1b" not in printed(report)


@pytest.mark.parametrize("width", range(60, 200, 20))
def test_a_table_is_as_wide_as_rich_measures_it(report: Report, width: int) -> None:
    console = Console(file=io.StringIO(), width=width, force_terminal=True)
    table, _ = terminal._table(report.rows, console, width)
    measured, table.width = table.width, None
    assert measured == min(width, console.measure(table, options=console.options.update(max_width=10 * width)).maximum)


def test_the_piped_table_names_format_and_target_of_every_row_on_one_line(report: Report) -> None:
    lines = printed(report).splitlines()
    for row in report.rows:
        assert any({row.format, row.target} <= set(line.split()) for line in lines), row


def test_piped_reasons_are_not_wrapped(report: Report) -> None:
    long = "because " * 60 + "so"
    assert long in printed(replace(report, rows=(judged(report.rows[-1], reason=long),)))


@pytest.mark.parametrize("width", [80, 100])
def test_the_table_fits_a_terminal_and_breaks_no_name(report: Report, width: int) -> None:
    lines = printed(report, width=width, force_terminal=True, color_system=None).splitlines()
    assert max(len(line.rstrip()) for line in lines) <= width
    assert any("onnxruntime-cpu" in line and "600 ms" in line for line in lines)


def test_every_verdict_is_a_word_in_the_table(report: Report) -> None:
    table = printed(report, color_system=None)
    for row in report.rows:
        line = next(line for line in table.splitlines() if line.startswith(row.format))
        assert line.rstrip().endswith(row.outcome)


def test_only_rows_that_did_not_pass_get_a_reason_under_the_table(report: Report) -> None:
    output = printed(report)
    assert f"not run: edgetpu-int8: {NO_COMPILER}" in output
    assert "not checked: coreml-float16 on coreml: Core ML runs on macOS only" in output
    assert "failed: tflite-int8 on litert: 61.4 %" in output
    assert "360 of 360" not in output


def test_the_last_line_sums_up(report: Report) -> None:
    line = "4 passed, 1 failed, 1 not run, 1 not checked; reference accuracy 98.9 % of 360 images"
    assert printed(report).splitlines()[-1] == line == summary(report)


def test_an_accuracy_that_is_unknown_is_said_to_be(report: Report, tmp_path: Path) -> None:
    unlabelled = replace(
        report, reference_accuracy=None, rows=tuple(replace(row, reference_accuracy=None) for row in report.rows)
    )
    record, markdown, page = written(unlabelled, tmp_path)
    assert violations(record) == []
    assert "reference accuracy unknown, the 360 golden images have no labels" in printed(unlabelled)
    assert "accuracy unknown" in markdown
    assert "<dd>unknown <small>no labels</small></dd>" in page


def test_rows_of_a_software_rendered_gpu_are_marked_as_parity_only(report: Report, tmp_path: Path) -> None:
    row = judged(measured("tfjs-float32", "chromium-webgl"), images=8)
    row = replace(row, latency_ms_median=None, environment={"software_gpu": True})
    note = "On a software-rendered GPU, for parity only: 8 of 360 images, not timed: chromium-webgl."
    with_software = replace(report, rows=(*report.rows, row))
    _, markdown, page = written(with_software, tmp_path)
    assert [note in text for text in (printed(with_software), markdown, page)] == [True, True, True]
    assert "software-rendered" not in printed(report)


def test_no_text_of_a_report_acts_on_the_terminal(hostile: Report) -> None:
    output = printed(hostile, force_terminal=True, color_system="standard")
    assert "\x1b[2J" not in output
    assert "[bold]x[/bold]" in output


def test_a_report_without_rows_still_prints(report: Report) -> None:
    assert "0 passed, 0 failed" in printed(replace(report, rows=()))


def test_a_reason_that_several_formats_share_is_printed_once(report: Report) -> None:
    row = Row("tflite-int8", "coral", Verdict("not run", "no board was named"))
    found = findings([*report.rows, row, replace(row, format="edgetpu-int8")])
    assert [(one.outcome, one.where) for one in found] == [
        ("failed", "tflite-int8 on litert"),
        ("not checked", "coreml-float16 on coreml"),
        ("not run", "edgetpu-int8"),
        ("not run", "tflite-int8, edgetpu-int8 on coral"),
    ]


def test_importing_the_report_imports_nothing_but_the_standard_library() -> None:
    code = "import sys, edgeferry.benchmarks.report.report; sys.exit(bool({'rich', 'jinja2', 'numpy'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_reading_and_printing_imports_no_template_engine(report: Report, tmp_path: Path) -> None:
    write_report(report, tmp_path)
    code = (
        "import sys, pathlib; from rich.console import Console; "
        "from edgeferry.benchmarks.report.report import read_report; "
        "from edgeferry.benchmarks.report.terminal import print_table; "
        "print_table(read_report(pathlib.Path(sys.argv[1])), Console()); sys.exit(bool({'jinja2', 'numpy'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "report.json")], cwd=ROOT, check=True)


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_every_outcome_is_in_the_table_in_markdown_on_the_page_and_in_json(
    report: Report, tmp_path: Path, outcome: Outcome
) -> None:
    shown = replace(report, rows=(judged(measured("tflite-int8", "litert"), outcome=outcome, reason="it says why", code="EF-x"),))
    record, markdown, page = written(shown, tmp_path)
    assert violations(record) == []
    assert record["rows"][0]["verdict"]["outcome"] == outcome
    assert f"| {outcome} |" in markdown
    assert f'data-outcome="{outcome}"' in page
    assert f'<symbol id="{outcome.replace(" ", "-")}"' in page
    assert outcome in printed(shown)
    reasoned = [f"{outcome}: tflite-int8 on litert: it says why [EF-x]" in printed(shown), "it says why \\[EF-x\\]" in markdown]
    assert reasoned == [outcome != "passed"] * 2


# Evidence


def test_a_fraction_of_images_is_shown_with_their_number(report: Report, tmp_path: Path) -> None:
    row = judged(measured("onnx-float32", "onnxruntime-cpu", agreement=0.75), images=8)
    shown = replace(report, rows=(row,))
    _, markdown, page = written(shown, tmp_path)
    line = next(line.split() for line in printed(shown).splitlines() if line.startswith("onnx-float32"))
    assert line[line.index("75.0") : line.index("75.0") + 2] == ["75.0", "%"]
    assert "8" in line
    assert "| 75.0 % of 8 |" in markdown
    assert "75.0 % of 8" in " ".join(Page_(page).text.split())


def test_a_narrow_terminal_names_the_metrics_that_it_leaves_out(report: Report) -> None:
    output = printed(report, every_row=True, width=64, force_terminal=True, color_system=None)
    assert "Left out at 64 columns: accuracy, seen / expected, p99 difference," in " ".join(output.split())
    assert "Left out" not in printed(report, every_row=True, width=200, force_terminal=True, color_system=None)


def test_a_narrow_terminal_has_targets_below_their_format(report: Report) -> None:
    lines = printed(report, every_row=True, width=80, force_terminal=True, color_system=None).splitlines()
    at = next(at for at, line in enumerate(lines) if line.split() == ["tflite-int8", "41.0", "kB"])
    assert lines[at + 1].startswith("  litert ")
    assert lines[at + 1].rstrip().endswith("failed")
    assert next(line for line in lines if line.startswith("edgetpu-int8")).rstrip().endswith("not run")


def test_a_terminal_has_one_line_per_format_and_counts_what_was_not_run(report: Report) -> None:
    output = printed(report, width=80, force_terminal=True, color_system=None)
    assert max(len(line.rstrip()) for line in output.splitlines()) <= 80
    table = output[output.index("\nformat") :].splitlines()
    names = [line.split()[0] for line in table if line[:1].isalnum()]
    assert next(name for name in names if name in {row.format for row in report.rows}) == "tflite-int8"
    assert NO_COMPILER not in table
    assert "--all lists what, why, and how to get it" in output


def test_the_first_metric_stays_however_narrow_the_terminal_is(report: Report) -> None:
    lines = printed(report, every_row=True, width=40, force_terminal=True, color_system=None).splitlines()
    assert max(len(line.rstrip()) for line in lines) <= 40
    assert any("agree" in line for line in lines)


@pytest.mark.parametrize("metric", metrics().values(), ids=lambda metric: metric.name)
def test_every_metric_is_in_markdown_on_the_page_and_in_the_wide_table(report: Report, tmp_path: Path, metric: Any) -> None:
    _, markdown, page = written(report, tmp_path)
    assert f"| {metric.title} |" in markdown
    assert metric.title.capitalize() in Page_(page).text
    assert metric.meaning[1:] in Page_(page).text
    assert (
        metric.title in printed(report, every_row=True, width=200, force_terminal=True, color_system=None)
    ) != metric.is_detail


# Numbers in words


@pytest.mark.parametrize(
    ("fraction", "text"),
    [(1.0, "100 %"), (0.99999, "99.9 %"), (0.98889, "98.9 %"), (0.0, "0.0 %"), (None, "-"), (math.nan, "-")],
)
def test_a_percentage_says_100_only_of_all(fraction: float | None, text: str) -> None:
    assert percent(fraction) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (3.14e-7, "3e-07"), (0.00123, "0.0012"), (0.19931, "0.1993"), (1.0, "1.0000"), (None, "-")]
)
def test_a_difference_takes_six_characters_at_most(value: float | None, text: str) -> None:
    assert difference(value) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (41_016, "41.0 kB"),
        (999_600, "1.00 MB"),
        (20_112_331, "20.1 MB"),
        (3e9, "3.00 GB"),
    ],
)
def test_a_size_has_three_digits(count: float, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0123, "0.012 ms"), (0.9996, "1.00 ms"), (9.996, "10.0 ms"), (99.96, "100 ms"), (600.2, "600 ms"), (None, "-")],
)
def test_a_time_has_three_digits(value: float | None, text: str) -> None:
    assert milliseconds(value) == text


# report.json


def test_report_json_follows_its_published_schema(report: Report, tmp_path: Path) -> None:
    record, _, _ = written(report, tmp_path)
    assert violations(record) == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda record: record.update(schema=1),
        lambda record: record.update(extra=1),
        lambda record: record["rows"][0].update(extra=1),
        lambda record: record["rows"][0]["verdict"].update(outcome="skipped"),
        lambda record: record["rows"][0]["verdict"]["metrics"].update(top1_agreement=98.9),
        lambda record: record["rows"][0]["verdict"]["metrics"].update(another="a word"),
        lambda record: record["rows"][0]["verdict"].pop("reason"),
        lambda record: record["rows"][0]["verdict"].update(code="a sentence"),
        lambda record: record["rows"][0].pop("verdict"),
    ],
)
def test_the_published_schema_refuses_what_is_not_a_report(report: Report, tmp_path: Path, spoil: Any) -> None:
    record, _, _ = written(report, tmp_path)
    spoil(record)
    assert violations(record)


def test_a_report_is_read_back_as_it_was_written(report: Report, tmp_path: Path) -> None:
    write_report(report, tmp_path)
    assert read_report(tmp_path / "report.json") == report


def test_what_json_cannot_hold_becomes_null(report: Report, tmp_path: Path) -> None:
    metrics = {"p99_difference": math.nan, "mean_difference": math.inf, "accuracy": 0.5}
    row = judged(replace(report.rows[0], latency_ms_median=math.nan), metrics=metrics)
    record, _, page = written(replace(report, rows=(row,)), tmp_path)
    assert record["rows"][0]["verdict"]["metrics"] == {"p99_difference": None, "mean_difference": None, "accuracy": 0.5}
    assert record["rows"][0]["latency_ms_median"] is None
    assert violations(record) == []
    assert "nan" not in page.partition("<body>")[2].partition("<script>")[0].lower()


def test_a_name_that_is_no_unicode_is_still_written(report: Report, tmp_path: Path) -> None:
    write_report(replace(report, machine={"path": "caf\udce9"}), tmp_path)
    assert read_report(tmp_path / "report.json").machine == {"path": "caf?"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"schema": 3, "model": "dig', "cannot be read as a report"),
        ("", "cannot be read as a report"),
        ("[]", "cannot be read as a report"),
        ('{"schema": 3}', "cannot be read as a report"),
        ('{"schema": 4}', "schema 4; this one reads 3"),
        ("{}", "schema None; this one reads 3"),
    ],
)
def test_reading_refuses_what_is_not_a_report_of_this_schema(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "report.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(EdgeError, match=message):
        read_report(path)


def test_a_report_of_an_older_release_is_named_so_with_what_writes_it_again(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps({"schema": SCHEMA - 1, "rows": []}), encoding="utf-8")
    with pytest.raises(EdgeError, match=r"schema 2, this one reads 3\); run `make export-all`") as caught:
        read_report(path)
    assert caught.value.code == "EF-report-older"


@pytest.mark.parametrize(
    "fact",
    [
        {"verdict": {"outcome": "skipped"}},
        {"verdict": {"images": "many"}},
        {"verdict": {"reason": None}},
        {"verdict": {"metrics": {"accuracy": "high"}}},
        {"verdict": {"metrics": None}},
        {"unknown": 1},
        {"bytes": "many"},
        {"tolerance": {"reason": "none"}},
        {"tolerance": asdict(EXACT) | {"p99_difference": "small"}},
    ],
)
def test_reading_refuses_a_row_of_other_facts(report: Report, tmp_path: Path, fact: dict[str, Any]) -> None:
    record, _, _ = written(report, tmp_path)
    row = record["rows"][0]
    row.update(fact | {"verdict": row["verdict"] | fact.get("verdict", {})})
    (tmp_path / "report.json").write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(EdgeError, match="cannot be read as a report"):
        read_report(tmp_path / "report.json")


def test_a_missing_report_s_error_names_the_command_that_writes_it(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match="make export-all"):
        read_report(tmp_path / "report.json")


def test_a_folder_that_cannot_be_written_is_an_error_and_left_alone(report: Report, tmp_path: Path) -> None:
    place = tmp_path / "taken"
    place.write_text("a file", encoding="utf-8")
    with pytest.raises(EdgeError, match="cannot write"):
        write_report(report, place)
    assert place.read_text(encoding="utf-8") == "a file"


def test_a_page_that_cannot_be_made_leaves_the_last_report(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = written(report, tmp_path)
    monkeypatch.setattr("edgeferry.benchmarks.report.report.report_as_html", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_report(replace(report, model="other"), tmp_path)
    assert [path.name for path in sorted(tmp_path.iterdir())] == sorted(FILES)
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8")) == before[0]


# report.md


def cells(line: str) -> list[str]:
    return re.split(r"(?<!\\)\|", line)[1:-1]


def test_every_line_of_a_markdown_table_has_as_many_cells_as_its_head(hostile: Report, tmp_path: Path) -> None:
    _, markdown, _ = written(hostile, tmp_path)
    tables = [block.splitlines() for block in markdown.split("\n\n") if block.startswith("|")]
    assert len(tables) == 2
    for lines in tables:
        assert {len(cells(line)) for line in lines} == {len(cells(lines[0]))}
        assert len(lines) == 2 + len(hostile.rows)


def test_markdown_begins_no_html_and_no_link_of_a_reason(hostile: Report, tmp_path: Path) -> None:
    _, markdown, _ = written(hostile, tmp_path)
    assert not re.search(r"(?<!\\)<", markdown)
    assert not re.search(r"(?<!\\)\]\(", markdown)


def test_markdown_holds_verdict_reasons_and_tolerances(report: Report, tmp_path: Path) -> None:
    _, markdown, _ = written(report, tmp_path)
    assert markdown.startswith("# digits: parity did not hold\n")
    assert f"## Not run here\n\n- **edgetpu-int8**: {NO_COMPILER}" in markdown
    limits = "agreement at least 97.0 %, seen / expected at most 1.5, p99 difference at most 0.35, mean difference at most 0.1"
    assert f"{limits}, accuracy loss at most 0.01: eight bits \\| a number" in markdown
    assert "it is not a benchmark" in markdown


# report.html


class Page_(HTMLParser):  # noqa: N801 # the browser's Page has the name
    """Every attribute and every text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_refers_to_nothing_outside_itself(report: Report, tmp_path: Path) -> None:
    _, _, page = written(report, tmp_path)
    references = [
        value for name, value in Page_(page).attributes if name in {"src", "href", "srcset", "action", "data", "poster"}
    ]
    assert all(value.startswith(("#", "data:,")) for value in references)
    assert not re.search(r"https?:|//\w|@import|url\(", page.replace("//# ", ""))


def test_no_text_of_a_report_becomes_markup(hostile: Report, tmp_path: Path) -> None:
    _, _, page = written(hostile, tmp_path)
    parsed = Page_(page)
    assert parsed.tags.count("script") == 1
    assert "<script>alert(1)</script> | \"'>&amp; [bold]" in parsed.text
    assert not [name for name, _ in parsed.attributes if name.startswith("on")]


def test_the_page_shows_everything_a_row_holds(report: Report, tmp_path: Path) -> None:
    _, _, page = written(report, tmp_path)
    parsed = Page_(page)
    for row in report.rows:
        tolerance = [row.tolerance.reason] if row.tolerance else []
        for fact in (row.format, row.outcome, row.reason, *tolerance, *row.environment, row.artifact_sha256 or ""):
            assert fact in parsed.text, fact
    assert ("title", "3fa9c10d" * 8) in parsed.attributes
    assert "Not run here" in parsed.text


@pytest.mark.parametrize(
    ("outcomes", "verdict"),
    [((0, 5, 6), "parity held"), ((0, 2), "parity did not hold"), ((5, 6), "nothing was checked"), ((), "nothing was checked")],
)
def test_the_pages_headline_is_the_verdict(report: Report, tmp_path: Path, outcomes: tuple[int, ...], verdict: str) -> None:
    _, markdown, page = written(replace(report, rows=tuple(report.rows[at] for at in outcomes)), tmp_path)
    assert f"<title>digits: {verdict}</title>" in page
    assert markdown.startswith(f"# digits: {verdict}\n")


# report.html in a browser


@pytest.fixture
def page(opened: Any, report: Report, tmp_path: Path) -> Iterator["Page"]:
    write_report(report, tmp_path)
    with opened(tmp_path / "report.html") as page:
        yield page


def formats(page: "Page") -> list[str]:
    return [name.strip() for name in page.locator(".entry:visible .chevron").all_inner_texts()]


@pytest.mark.browser
def test_clicking_a_header_sorts_up_then_down_with_the_unmeasured_last(page: "Page") -> None:
    header = page.locator(".results th", has_text="latency")
    header.get_by_role("button").click()
    ascending = ["tflite-int8", "tflite-float32", "tflite-float16", "savedmodel", "onnx-float32"]
    assert formats(page) == [*ascending, "coreml-float16"]
    assert header.get_attribute("aria-sort") == "ascending"
    header.get_by_role("button").click()
    assert formats(page) == [*reversed(ascending), "coreml-float16"]
    assert header.get_attribute("aria-sort") == "descending"


@pytest.mark.browser
def test_the_keyboard_sorts_and_only_one_column_says_so(page: "Page") -> None:
    page.locator(".results th", has_text="size").get_by_role("button").click()
    page.locator(".results").get_by_role("button", name="format", exact=True).focus()
    page.keyboard.press("Enter")
    assert formats(page) == sorted(formats(page))
    assert page.locator("th[aria-sort]").all_inner_texts() == ["format"]


@pytest.mark.browser
def test_sorting_by_verdict_puts_failures_first(page: "Page") -> None:
    page.locator(".results th", has_text="verdict").get_by_role("button").click()
    assert formats(page)[:2] == ["tflite-int8", "coreml-float16"]


@pytest.mark.browser
@pytest.mark.parametrize(
    ("outcome", "shown"), [("failed", ["tflite-int8"]), ("not run", ["edgetpu-int8"]), ("not checked", ["coreml-float16"])]
)
def test_an_outcomes_button_leaves_its_rows(page: "Page", outcome: str, shown: list[str]) -> None:
    button = page.locator(f".choices button[data-outcome='{outcome}']")
    button.click()
    assert formats(page) == shown
    assert button.get_attribute("aria-pressed") == "true"
    assert page.locator("#shown").inner_text() == "1 of 7 rows"


@pytest.mark.browser
def test_text_and_outcome_filter_together(page: "Page") -> None:
    page.get_by_role("searchbox").fill("TFLite")
    assert formats(page) == ["tflite-int8", "tflite-float32", "tflite-float16"]
    page.locator(".choices button[data-outcome='passed']").click()
    assert formats(page) == ["tflite-float32", "tflite-float16"]


@pytest.mark.browser
def test_the_filter_finds_reasons_and_says_when_it_finds_nothing(page: "Page") -> None:
    page.get_by_role("searchbox").fill("edgetpu_compiler debian")
    assert formats(page) == ["edgetpu-int8"]
    page.get_by_role("searchbox").fill("nothing has this")
    assert formats(page) == []
    assert page.locator(".none").is_visible()


@pytest.mark.browser
def test_a_row_opens_and_failed_rows_are_open(page: "Page") -> None:
    first, failed = page.locator(".entry[data-outcome='passed']").nth(0), page.locator(".entry[data-outcome='failed']")
    assert failed.locator(".more").is_visible()
    assert not first.locator(".more").is_visible()
    first.get_by_role("button").click()
    assert first.locator(".more").is_visible()
    assert first.get_by_role("button").get_attribute("aria-expanded") == "true"


@pytest.mark.browser
@pytest.mark.parametrize("width", [320, 390, 768, 1041, 1280])
def test_the_page_is_never_wider_than_its_window(page: "Page", width: int) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.browser
def test_print_shows_details_of_what_failed_and_no_controls(page: "Page") -> None:
    page.emulate_media(media="print")
    assert page.locator(".more:visible").count() == 1
    assert page.locator(".entry[data-outcome='failed'] .more").is_visible()
    assert not page.locator(".controls").is_visible()


@pytest.mark.browser
def test_what_was_not_run_is_folded_with_its_cures(page: "Page") -> None:
    assert "edgetpu-int8" not in formats(page)
    cure = page.locator(".absent .reasons").get_by_text(NO_COMPILER)
    assert not cure.is_visible()
    page.locator(".absent summary").click()
    assert cure.is_visible()


@pytest.mark.browser
def test_a_cell_of_the_matrix_leads_to_its_row_and_the_address_says_so(page: "Page") -> None:
    page.locator(".matrix a[title='onnx-float32 on onnxruntime-cpu: passed']").click()
    assert formats(page) == ["onnx-float32"]
    assert page.url.endswith("#q=onnx-float32%20onnxruntime-cpu")
    page.locator(".choices button[data-outcome='failed']").click()
    assert page.url.endswith("outcome=failed")
    page.evaluate("location.hash = 'q=savedmodel'")
    page.wait_for_function("document.getElementById('words').value === 'savedmodel'")
    assert formats(page) == ["savedmodel"]


def _dismiss(dialog: Any, said: list[str]) -> None:
    said.append(dialog.message)
    dialog.dismiss()


@pytest.mark.browser
def test_a_hostile_report_runs_no_script(chromium: Any, hostile: Report, tmp_path: Path) -> None:
    write_report(hostile, tmp_path)
    page = chromium.new_page()
    said: list[str] = []
    page.on("dialog", lambda dialog: _dismiss(dialog, said))
    page.goto((tmp_path / "report.html").as_uri())
    page.locator(".results th", has_text="size").get_by_role("button").click()
    page.close()
    assert said == []
