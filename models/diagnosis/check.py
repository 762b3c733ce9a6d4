# SPDX-License-Identifier: Apache-2.0
"""Refuses a config that does not fit its model, and says what to write instead."""

from edgeferry.models.audit.finding import AuditFinding
from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.diagnosis.evidence import far_above_chance
from edgeferry.models.diagnosis.label_order import order_in_words, order_to_write
from edgeferry.models.diagnosis.readings import STORED, TURNS, Reading, input_lines
from edgeferry.models.diagnosis.search import Diagnosis, Labelled, Predict, diagnose
from edgeferry.models.system.errors import EdgeError


def check_config(spec: ModelSpec, predict: Predict, golden: Labelled, *, logits: bool) -> AuditFinding | None:
    """Return a warning where another reading seems better, or is better though the model is right as often as expected.

    ``data.expected_accuracy`` says how often that is.

    Raises:
        EdgeError: another reading of the config is right on clearly more golden images.
    """
    found = diagnose(spec, predict, golden, logits=logits)
    if found is None:
        return None
    sentence = _sentence(spec, found, "every label of " if golden.decision.is_multilabel else "")
    is_expected = spec.expected_accuracy is not None and found.before.accuracy >= spec.expected_accuracy
    if is_expected or not found.is_certain:
        return AuditFinding("config-other-reading", "warning", "config", f"{spec.path}: {sentence}")
    plausible = far_above_chance(found.before)
    overrule = f" If it is right as it is, set data.expected_accuracy = {_at_most(found.before.accuracy)}." if plausible else ""
    raise EdgeError("EF-config-mismatch", f"{spec.path}: the config does not fit the model: {sentence}{overrule}")


def _sentence(spec: ModelSpec, found: Diagnosis, each: str) -> str:
    rates = (
        f"as it stands the model is right on {each}{found.before.accuracy:.1%} of {len(found.before.right)} golden images, and "
        f"on {found.after.accuracy:.1%}"
    )
    return f"{rates} with {_words(spec, found.reading)}. {_advice(spec, found.reading)}"


def _words(spec: ModelSpec, reading: Reading) -> str:
    words = [f"input.{line}" for line in input_lines(reading.how, spec.preprocessing)]
    if reading.turn == STORED:
        words.append("the EXIF orientation of the images ignored")
    elif reading.turn in TURNS:
        words.append(f"the images {reading.turn}")
    if reading.order is not None:
        words.append(order_in_words(reading.order, spec.labels))
    return " and ".join(words)


def _advice(spec: ModelSpec, reading: Reading) -> str:
    """Return what to write: the lines to paste, by table, and what no line of a config can put right."""
    lines = input_lines(reading.how, spec.preprocessing)
    advice = [f"Write in [input]: {'; '.join(lines)}{_instead(lines, spec)}."] if lines else []
    if reading.order is not None:
        advice.append(f"Write in [model]: {order_to_write(reading.order, spec.labels)}.")
    if reading.turn == STORED:
        advice.append(
            "Training did not turn its images upright, as tf.io.decode_jpeg does not: store the golden images without EXIF "
            "orientation."
        )
    elif reading.turn in TURNS:
        advice.append("No key turns images: store the golden images as training had them.")
    return " ".join(advice)


def _instead(lines: list[str], spec: ModelSpec) -> str:
    """Return which lines of the config go where a range replaces means, or means a range."""
    text = spec.path.read_text(encoding="utf-8-sig", errors="replace") if spec.path.is_file() else ""
    had_range = any(line.split("=")[0].strip() == "range" for line in text.splitlines())
    if not had_range and any(line.startswith("range") for line in lines):
        return " (in place of mean and std)"
    if had_range and any(line.startswith("mean") for line in lines):
        return " (in place of range)"
    return ""


def _at_most(accuracy: float) -> str:
    """Return a fraction rounded down, so that the accuracy reaches it."""
    return f"{int(accuracy * 100) / 100:g}"
