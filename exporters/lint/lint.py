# SPDX-License-Identifier: Apache-2.0
"""Finds what a runtime rejects in a .tflite file, computes wrongly, or leaves to the CPU, without running the file."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from edgeferry.exporters.lint.edgetpu import Forecast, edgetpu_findings, forecast
from edgeferry.exporters.lint.finding import LintFinding
from edgeferry.exporters.lint.runtimes import RuntimeSupport, support_of
from edgeferry.exporters.readers.tflite import read_graph
from edgeferry.exporters.readers.tflite_graph import KERAS_WEIGHTS, FileOperation, layer_of

# History: 1, the first. 2: the severity "may" is called "possible".
SCHEMA: Final = 2
SEVERITIES: Final = ("error", "warning", "possible")
# Measured: they take the scales of a per-channel FULLY_CONNECTED for 0 and output a constant; 2.10 does not.
CONSTANT_DENSE: Final = ("tflite-2.5", "tflite-2.7")
OTHER_DENSE: Final = "export tflite-int8 with export.dense = 'per-tensor' or 'convolution'"
# With these the compiler ends without reporting what it would have mapped.
REFUSED: Final = ("op-version", "grouped-convolution", "dynamic-shape")
# The first version of CONV_2D that takes a filter of fewer channels than its input has.
GROUPED_CONVOLUTION: Final = 6
FIXES: Final = {
    "CONV_2D": "it comes from groups in Conv2D: export tflite-int8 with edgeferry, which writes one convolution per group",
    "GELU": "use relu, relu6 or silu in Keras",
    # Measured: with a ReLU after it TensorFlow 2.21 writes version 4, without one 3, without a bias 2.
    "TRANSPOSE_CONV": "remove the activation after Conv2DTranspose",
    "TILE": "use UpSampling2D(interpolation='bilinear') where it comes from 'nearest'",
    "READ_VARIABLE": "freeze the variables before converting: the file has no weights",
    "VAR_HANDLE": "freeze the variables before converting: the file has no weights",
}
OTHER_FIX: Final = "use another layer in Keras, or a newer runtime"


@dataclass(frozen=True)
class LintReport:
    """The findings in a file for one runtime, the most severe first; for the Edge TPU also a forecast, if the file compiles."""

    runtime: RuntimeSupport
    findings: tuple[LintFinding, ...]
    forecast: Forecast | None

    def as_json(self) -> dict[str, Any]:
        """Return the output of `edgeferry lint --json`."""
        forecast = None if self.forecast is None else asdict(self.forecast)
        return {"schema": SCHEMA, "runtime": self.runtime.name, "findings": [*map(asdict, self.findings)], "forecast": forecast}

    @property
    def errors(self) -> tuple[LintFinding, ...]:
        """Return the findings that make the file useless there."""
        return tuple(finding for finding in self.findings if finding.severity == "error")


def lint(path: Path, name: str) -> LintReport:
    """Return the problems of a .tflite file for a runtime.

    Raises:
        EdgeError: the file cannot be read, or there is no table of that name.
    """
    where = support_of(name)
    graph = read_graph(path)
    found = [finding for operation in graph.operations for finding in _findings(operation, where)]
    if any(finding.rule == "grouped-convolution" for finding in found):
        # The converter marks every CONV_2D of a file with the version that the newest needs: the others are not the cause.
        found = [finding for finding in found if (finding.operation, finding.rule) != ("CONV_2D", "op-version")]
    if where.is_edgetpu:
        found += edgetpu_findings(graph, where)
    findings = sorted(dict.fromkeys(found), key=lambda finding: SEVERITIES.index(finding.severity))
    compiles = where.is_edgetpu and not any(finding.rule in REFUSED for finding in findings)
    return LintReport(where, tuple(findings), forecast(graph, where) if compiles else None)


def lines(path: Path, report: LintReport) -> Iterator[str]:
    """Yield a report as text: one line per finding, and a summary."""
    for each in report.findings:
        layer = f" ({each.layer})" if each.layer else ""
        yield f"{path}: {each.severity}: {each.operation}{layer}: {each.rule}: {each.found}; {each.fix}"
    counts = [sum(each.severity == severity for each in report.findings) for severity in SEVERITIES]
    summary = ", ".join(map(_counted, counts, ("error", "warning", "possible issue")))
    yield f"{path} for {report.runtime.title}: {summary}{_forecast_text(report)}"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _forecast_text(report: LintReport) -> str:
    expected = report.forecast
    if expected is None:
        return "; no forecast: the compiler rejects such a file" if report.runtime.is_edgetpu else ""
    mapping = f"{expected.mapped} of {expected.mapped + expected.cpu} operations on the Edge TPU, {expected.cpu} on the CPU"
    guessed = f"; {', '.join(expected.unconfirmed)} by an unconfirmed entry of the list" if expected.unconfirmed else ""
    kept = "parameters on the chip not known, for want of a rule for recurrent layers"
    if expected.memory is not None:
        memory = expected.memory
        least = f"{memory.least_off_chip / 1000:.1f} to " if memory.least_off_chip != memory.off_chip else ""
        sent = f"{least}{memory.off_chip / 1000:.1f} kB sent for every image"
        kept = f"about {memory.on_chip / 1000:.1f} kB of parameters on the chip, {sent}"
    return f"; forecast: {mapping}{guessed}, {kept} ({expected.parameter_bytes / 1000:.1f} kB in the file)"


def _findings(operation: FileOperation, where: RuntimeSupport) -> Iterator[LintFinding]:
    if operation.custom is not None:
        yield _custom(operation, where)
    elif operation.is_grouped_convolution and where.highest.get("CONV_2D", 0) < GROUPED_CONVOLUTION:
        found = f"{where.title} computes no grouped convolutions{_place(operation)}"
        yield LintFinding(operation.name, operation.layer, "grouped-convolution", "error", found, FIXES["CONV_2D"])
    elif operation.version > where.highest.get(operation.name, 0):
        yield _too_new(operation, where)
    elif where.name in CONSTANT_DENSE and operation.is_per_channel_dense:
        found = f"{where.title} loads per-channel weights without an error and outputs a constant"
        yield LintFinding(operation.name, operation.layer, "per-channel-dense", "error", found, OTHER_DENSE)


def _place(operation: FileOperation) -> str:
    """Return where a convolution is whose weights have lost their layer's name, as grouped ones do."""
    image, weights = operation.inputs[:2]
    if image is None or weights is None or KERAS_WEIGHTS.search(weights.name):
        return ""
    return f" (the name of its layer may be lost: it follows {layer_of(image.name)})"


def _too_new(operation: FileOperation, where: RuntimeSupport) -> LintFinding:
    highest = where.highest.get(operation.name)
    has = "none" if highest is None else f"version {highest} at most"
    found = f"the file has version {operation.version}, {where.title} has {has}"
    return LintFinding(operation.name, operation.layer, "op-version", "error", found, FIXES.get(operation.name, OTHER_FIX))


def _custom(operation: FileOperation, where: RuntimeSupport) -> LintFinding:
    custom = operation.custom or "without a name"
    if operation.is_compiled:
        found = "the file is compiled for the Edge TPU; only its runtime reads it"
        return LintFinding(
            custom, operation.layer, "custom-operation", "error", found, "name the tflite-int8 file it was compiled from"
        )
    if custom.startswith("Flex"):
        found, fix = f"a TensorFlow operation, which {where.title} does not have", "use layers that TF Lite has operations for"
        return LintFinding(custom, operation.layer, "custom-operation", "error", found, fix)
    found = f"not a built-in operation of TF Lite; {where.title} may not have it"
    return LintFinding(custom, operation.layer, "custom-operation", "possible", found, "run it there once")
