# SPDX-License-Identifier: Apache-2.0
"""What a runtime will refuse of a .tflite file, answer wrongly, or leave to the CPU; found before anything runs it."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from edgeferry.exporters.lint.edgetpu import COMPILED, Forecast, edgetpu_findings, forecast
from edgeferry.exporters.lint.finding import Finding
from edgeferry.exporters.lint.runtimes import Runtime, runtime
from edgeferry.exporters.readers.tflite import KERAS_WEIGHTS, Operation, layer_of, read_graph

# History: 1, the first.
SCHEMA: Final = 1
SEVERITIES: Final = ("error", "warning", "may")
# Measured: they take a scale a channel of FULLY_CONNECTED for 0 and answer the same to everything; 2.10 does not.
CONSTANT_DENSE: Final = ("tflite-2.5", "tflite-2.7")
OTHER_DENSE: Final = "export tflite-int8 with export.dense = 'per-tensor' or 'convolution'"
# With these the compiler ends without a word of what it would have mapped.
REFUSED: Final = ("op-version", "grouped-convolution", "dynamic-shape")
# The first version of CONV_2D that takes a filter of fewer channels than its input has.
GROUPED_CONVOLUTION: Final = 6
FIXES: Final = {
    "CONV_2D": "it comes of groups in Conv2D: export tflite-int8 here, which writes one convolution a group",
    "GELU": "take relu, relu6 or silu in Keras",
    # Measured: with a ReLU after it TensorFlow 2.21 writes version 4, without one 3, without a bias 2.
    "TRANSPOSE_CONV": "leave out the activation that follows Conv2DTranspose",
    "TILE": "take UpSampling2D(interpolation='bilinear') where it comes of 'nearest'",
    "READ_VARIABLE": "freeze the variables before converting: the file holds no weights",
    "VAR_HANDLE": "freeze the variables before converting: the file holds no weights",
}
OTHER_FIX: Final = "take another layer in Keras, or a newer runtime"


@dataclass(frozen=True)
class Report:
    """What was found in a file for one runtime, the gravest first; of the Edge TPU also what it will compute, if it compiles."""

    runtime: Runtime
    findings: tuple[Finding, ...]
    forecast: Forecast | None

    def as_json(self) -> dict[str, Any]:
        """Return what `edgeferry lint --json` prints."""
        forecast = None if self.forecast is None else asdict(self.forecast)
        return {"schema": SCHEMA, "runtime": self.runtime.name, "findings": [*map(asdict, self.findings)], "forecast": forecast}

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Return the findings with which the file is of no use there."""
        return tuple(finding for finding in self.findings if finding.severity == "error")


def lint(path: Path, name: str) -> Report:
    """Return what is wrong with a .tflite file for a runtime.

    Raises:
        EdgeError: the file cannot be read, or there is no table of that name.
    """
    where = runtime(name)
    graph = read_graph(path)
    found = [finding for operation in graph.operations for finding in _findings(operation, where)]
    if any(finding.rule == "grouped-convolution" for finding in found):
        # The converter labels every CONV_2D of a file with the version that the newest needs: the others are innocent.
        found = [finding for finding in found if (finding.operation, finding.rule) != ("CONV_2D", "op-version")]
    if where.is_edgetpu:
        found += edgetpu_findings(graph, where)
    findings = sorted(dict.fromkeys(found), key=lambda finding: SEVERITIES.index(finding.severity))
    compiles = where.is_edgetpu and not any(finding.rule in REFUSED for finding in findings)
    return Report(where, tuple(findings), forecast(graph, where) if compiles else None)


def lines(path: Path, report: Report) -> Iterator[str]:
    """Yield a report as text: a line a finding, and a summary."""
    for each in report.findings:
        layer = f" ({each.layer})" if each.layer else ""
        yield f"{path}: {each.severity}: {each.operation}{layer}: {each.rule}: {each.found}; {each.fix}"
    counts = [sum(each.severity == severity for each in report.findings) for severity in SEVERITIES]
    told = "{} error{}, {} warning{}, {} that may be".format(*_plural(counts[0]), *_plural(counts[1]), counts[2])
    yield f"{path} for {report.runtime.told}: {told}{_forecast_told(report)}"


def _plural(count: int) -> tuple[int, str]:
    return count, "" if count == 1 else "s"


def _forecast_told(report: Report) -> str:
    expected = report.forecast
    if expected is None:
        return "; no forecast: the compiler refuses such a file" if report.runtime.is_edgetpu else ""
    told = f"{expected.mapped} of {expected.mapped + expected.cpu} operations on the Edge TPU, {expected.cpu} on the CPU"
    guessed = f"; {', '.join(expected.unconfirmed)} by an unconfirmed entry" if expected.unconfirmed else ""
    on_chip, off_chip = expected.memory.on_chip / 1000, expected.memory.off_chip / 1000
    kept = f"about {on_chip:.1f} kB of parameters on the chip, {off_chip:.1f} kB sent each time"
    return f"; forecast: {told}{guessed}, {kept} ({expected.parameter_bytes / 1000:.1f} kB in the file)"


def _findings(operation: Operation, where: Runtime) -> Iterator[Finding]:
    if operation.custom is not None:
        yield _custom(operation, where)
    elif operation.is_grouped_convolution and where.highest.get("CONV_2D", 0) < GROUPED_CONVOLUTION:
        found = f"{where.told} computes no convolution in groups{_place(operation)}"
        yield Finding(operation.name, operation.layer, "grouped-convolution", "error", found, FIXES["CONV_2D"])
    elif operation.version > where.highest.get(operation.name, 0):
        yield _too_new(operation, where)
    elif where.name in CONSTANT_DENSE and operation.is_per_channel_dense:
        found = f"{where.told} loads weights with a scale a channel without a word and answers the same to everything"
        yield Finding(operation.name, operation.layer, "per-channel-dense", "error", found, OTHER_DENSE)


def _place(operation: Operation) -> str:
    """Return where a convolution stands whose weights have lost their layer's name, as those in groups do."""
    image, weights = operation.inputs[:2]
    if image is None or weights is None or KERAS_WEIGHTS.search(weights.name):
        return ""
    return f" (its own layer's name may be lost: it follows {layer_of(image.name)})"


def _too_new(operation: Operation, where: Runtime) -> Finding:
    highest = where.highest.get(operation.name)
    has = "none" if highest is None else f"version {highest} at most"
    found = f"the file has version {operation.version}, {where.told} has {has}"
    return Finding(operation.name, operation.layer, "op-version", "error", found, FIXES.get(operation.name, OTHER_FIX))


def _custom(operation: Operation, where: Runtime) -> Finding:
    custom = operation.custom or "without a name"
    if custom == COMPILED:
        found = "the file is compiled for the Edge TPU; only its runtime reads it"
        return Finding(
            custom, operation.layer, "custom-operation", "error", found, "name the tflite-int8 file it was compiled from"
        )
    if custom.startswith("Flex"):
        found, fix = f"a TensorFlow operation, which {where.told} does not have", "take layers that TF Lite has operations for"
        return Finding(custom, operation.layer, "custom-operation", "error", found, fix)
    found = f"not an operation of TF Lite's own; {where.told} may not have it"
    return Finding(custom, operation.layer, "custom-operation", "may", found, "try it there")
