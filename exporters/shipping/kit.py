# SPDX-License-Identifier: Apache-2.0
"""A kit for one place: the artifact, labels, a test image with its exact tensor and scores, odd pictures, and code."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from edgeferry.exporters.readers.tflite import read_graph
from edgeferry.exporters.shipping.code import code, filled, registrations, sentences, steps_of
from edgeferry.exporters.shipping.pictures import write_pictures
from edgeferry.exporters.shipping.places import Place, refuse_unfit
from edgeferry.models.artifact import MANIFEST, Artifact, read_artifact, what_changed
from edgeferry.models.decision import decision_of
from edgeferry.models.golden.uploads import UPLOADED, files_in
from edgeferry.models.preprocessing import normalise, opened, pixels_of
from edgeferry.models.reference import REFERENCE
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import whole_folder, write_json
from edgeferry.models.system.places import ROOT

# History: 1, the first.
SCHEMA: Final = 1
KIT: Final = "kit.json"
TEST: Final = "test"
CONFORMANCE: Final = "conformance"
# What JavaScript prepares images with, as the demo page does.
JAVASCRIPT: Final = ("preprocess.js", "resample.js", "rounding.js", "tf_resize.js")
CONTENTS: Final = {
    "labels.txt": "the labels in the order of the scores, one per line",
    "test/": "a test image, the exact pixels and input that it becomes, and the Keras model's probabilities",
    "conformance/": "odd pictures, and the exact pixels that each becomes",
    "classify.py": "Python that loads, prepares and classifies; run in edgeferry's tests",
    "tf_resize.py": "`tf.image.resize` with numpy, which classify.py needs; run in edgeferry's tests",
    "classify.js": "JavaScript that loads, prepares and classifies; run in edgeferry's tests, in Node",
    "preprocessing/": "what classify.js prepares images with; run in edgeferry's tests",
    "Classifier.swift": "Swift that loads and classifies by Core ML or Vision; not compiled here",
    "Preprocessing.swift": "the arithmetic of the preprocessing in Swift; not compiled here",
    "Classifier.kt": "Kotlin that loads and classifies by LiteRT; not compiled here",
    "Preprocessing.kt": "the arithmetic of the preprocessing in Kotlin; not compiled in edgeferry's tests",
    "classifier.cc": "C++ that loads and classifies by LiteRT for Microcontrollers; not compiled here",
    "preprocessing.h": "the arithmetic of the preprocessing in C++; compiled and run in edgeferry's tests",
    "model_data.h": "the file as an array, to link it into a program",
}


def write_kit(build: Path, form: str, place: Place, folder: Path) -> Artifact:
    """Write a kit with a format's artifact into a folder, whole or not at all; return the artifact.

    Raises:
        EdgeError: the artifact is of no use in that place, damaged or absent, or the reference has no test image.
    """
    artifact = read_artifact(build / form)
    if changed := what_changed(artifact, build / form):
        raise EdgeError("EF-artifact-changed", f"{build / form}: {changed}; run `make export-all`")
    refuse_unfit(place, artifact)
    with whole_folder(folder) as partial:
        for name in (*artifact.files, MANIFEST):
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(build / form / name, partial / name)
        (partial / "labels.txt").write_text("".join(f"{each}\n" for each in artifact.labels), encoding="utf-8")
        expected = _write_test(build / REFERENCE, artifact, partial / TEST)
        write_pictures(artifact.preprocessing, partial / CONFORMANCE)
        _write_code(place, artifact, build, partial)
        _write_readme(place, artifact, build.name, expected, partial)
        write_json(partial / KIT, {"schema": SCHEMA, "place": place.name, "format": form, "sha256": artifact.sha256})
    return artifact


def _write_test(reference: Path, artifact: Artifact, folder: Path) -> dict[str, Any]:
    """Write the test image and what it becomes; the image that the Keras model is surest of, of those that no decoder alters."""
    import numpy as np

    pictures = [(at, path) for at, path in enumerate(files_in(reference)) if path.name.endswith("wide.png")]
    if not pictures:
        raise EdgeError("EF-ship-image", f"{reference} holds no image files; export the model again with `make export-all`.")
    probabilities = np.load(reference / UPLOADED)
    decision = decision_of(artifact.output, artifact.threshold)
    at, path = max(pictures, key=lambda each: float(decision.margins(probabilities[each[0] : each[0] + 1])[0]))
    folder.mkdir()
    shutil.copyfile(path, folder / f"image{path.suffix}")
    pixels = pixels_of(opened(path, str(path)), artifact.preprocessing)
    pixels.tofile(folder / "pixels.u8")
    normalise(pixels, artifact.preprocessing).astype("<f4").tofile(folder / "tensor.f32")
    expected = {
        "schema": SCHEMA,
        "image": f"image{path.suffix}",
        "shape": [1, *pixels.shape],
        "labels": [artifact.labels[int(each)] for each in np.flatnonzero(decision.answers(probabilities[at : at + 1])[0])],
        "probabilities": [float(each) for each in probabilities[at]],
        "of": "the Keras model",
        "tolerance": artifact.tolerance.p99_difference,
    }
    write_json(folder / "expected.json", expected)
    return expected


def _write_code(place: Place, artifact: Artifact, build: Path, folder: Path) -> None:
    is_tflite = artifact.kind == "tflite"
    file = build / artifact.format / artifact.main_file
    operations = registrations([each.name for each in read_graph(file).operations]) if is_tflite else []
    for name, template in place.code:
        (folder / name).write_text(code(template, name, artifact, build.name, operations), encoding="utf-8")
    if place.name == "web":
        (folder / "preprocessing").mkdir()
        for name in JAVASCRIPT:
            shutil.copyfile(ROOT / "targets" / "web" / "demo" / name, folder / "preprocessing" / name)
    elif (folder / "classify.py").is_file() and steps_of(artifact.preprocessing).family == "tf":
        shutil.copyfile(ROOT / "models" / "tf_resize.py", folder / "tf_resize.py")
    if place.name == "mcu":
        (folder / "model_data.h").write_text(_as_array(file.read_bytes()), encoding="ascii")


def _as_array(data: bytes) -> str:
    lines = (", ".join(f"0x{each:02x}" for each in data[at : at + 16]) for at in range(0, len(data), 16))
    body = ",\n    ".join(lines)
    return f"#pragma once\n\nalignas(16) constexpr unsigned char model_data[] = {{\n    {body},\n}};\n"


def _write_readme(place: Place, artifact: Artifact, model: str, expected: dict[str, Any], folder: Path) -> None:
    text = filled(
        "README.md.jinja",
        model=model,
        place=place.summary,
        file=artifact.main_file,
        format=artifact.format,
        sha256=artifact.sha256,
        contents=list(_contents(folder)),
        steps=list(sentences(artifact.preprocessing)),
        how=artifact.preprocessing,
        image=expected["image"],
        tolerance=expected["tolerance"],
    )
    (folder / "README.md").write_text(text, encoding="utf-8")


def _contents(folder: Path) -> Iterator[tuple[str, str]]:
    yield from ((name, what) for name, what in CONTENTS.items() if (folder / name).exists())


def read_kit(folder: Path) -> Artifact:
    """Return the artifact of a kit.

    Raises:
        EdgeError: the folder holds no kit.
    """
    if not (folder / KIT).is_file():
        raise EdgeError("EF-kit", f"{folder} holds no {KIT}; expected a folder that `edgeferry ship` wrote.")
    return read_artifact(folder)
