# SPDX-License-Identifier: Apache-2.0
"""Kits of the digits and the colours classifier: their code is run as an app would, on the kit's own test image."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from PIL import Image

from edgeferry.exporters.shipping.code import code
from edgeferry.exporters.shipping.kit import write_kit
from edgeferry.exporters.shipping.places import PLACES, place_named
from edgeferry.models.artifact import read_artifact
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import files_below
from edgeferry.models.system.places import ROOT

Kit = Callable[..., Path]

WEB: Final = ROOT / "targets" / "web"
# Prints the largest difference from the expected probabilities of the test image, given as RGBA.
RUN: Final = """
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
const [kit, web] = process.argv.slice(2);
const { load, probabilitiesOf, tensorOf } = await import(path.join(kit, 'classify.js'));
const require = createRequire(path.join(web, 'package.json'));
const expected = JSON.parse(fs.readFileSync(path.join(kit, 'test/expected.json'), 'utf8'));
const [width, height] = process.argv.slice(4).map(Number);
const picture = { width, height, data: fs.readFileSync(path.join(kit, 'test/image.rgba')) };
const tensor = fs.readFileSync(path.join(kit, 'test/tensor.f32'));
const made = Buffer.from(tensorOf(picture).buffer);
if (!made.equals(tensor)) throw new Error('another tensor');
let run;
if (fs.existsSync(path.join(kit, 'model.json'))) {
  const core = require('@tensorflow/tfjs-core');
  const { loadGraphModel } = require('@tensorflow/tfjs-converter');
  require('@tensorflow/tfjs-backend-cpu');
  await core.setBackend('cpu');
  const json = JSON.parse(fs.readFileSync(path.join(kit, 'model.json'), 'utf8'));
  const bytes = (name) => Uint8Array.from(fs.readFileSync(path.join(kit, name))).buffer;
  const weights = async (groups) => [groups.flatMap((each) => each.weights), groups.flatMap((each) => each.paths).map(bytes)];
  run = await load({ ...core, loadGraphModel }, { load: () => core.io.getModelArtifactsForJSON(json, weights) });
} else {
  const ort = await import(path.join(web, 'node_modules/onnxruntime-web/dist/ort.node.min.mjs'));
  run = await load(ort, new Uint8Array(fs.readFileSync(path.join(kit, 'model.onnx'))));
}
const found = await probabilitiesOf(run, picture);
process.stdout.write(String(Math.max(...found.map((each, at) => Math.abs(each - expected.probabilities[at])))));
process.exit(0);
"""


@pytest.fixture
def kit(exported_digits: Any, exported_colours: Any, tmp_path: Path) -> Kit:
    """Return ``kit(place, format, classifier)``: the folder of a kit."""

    def made(place: str, form: str, classifier: str = "digits") -> Path:
        exported = {"digits": exported_digits, "colours": exported_colours}[classifier]
        write_kit(exported.build, form, place_named(place), tmp_path / "kit")
        return tmp_path / "kit"

    return made


def run_python(kit: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", kit / "classify.py", *words], capture_output=True, text=True, timeout=120, check=False
    )


def run_node(kit: Path) -> float:
    """Return the largest difference of any probability, once the tensor is known to be right to the bit."""
    if shutil.which("node") is None or not (WEB / "node_modules" / "@tensorflow").is_dir():
        pytest.skip("needs node and TensorFlow.js")
    image = Image.open(kit / "test" / "image.png")
    (kit / "test" / "image.rgba").write_bytes(image.convert("RGBA").tobytes())
    (kit / "package.json").write_text('{"type": "module"}', encoding="utf-8")
    (kit / "run.mjs").write_text(RUN, encoding="utf-8")
    words = [kit / "run.mjs", kit, WEB, *map(str, image.size)]
    done = subprocess.run(["node", *words], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


@pytest.mark.parametrize(
    ("place", "form", "classifier"),
    [("python", "tflite-int8", "digits"), ("server", "onnx-float32", "colours")],
)
def test_a_kit_in_python_answers_as_it_should(kit: Kit, place: str, form: str, classifier: str) -> None:
    done = run_python(kit(place, form, classifier), "--test")
    assert (done.returncode, done.stdout) == (0, "as it should be\n"), done.stderr


@pytest.mark.parametrize(("form", "classifier"), [("tfjs-float32", "colours"), ("onnx-float32", "digits")])
def test_a_kit_in_javascript_answers_as_it_should(kit: Kit, form: str, classifier: str) -> None:
    assert run_node(kit("web", form, classifier)) < 1e-4


def test_a_kit_whose_labels_or_weights_are_others_fails_its_own_test(kit: Kit) -> None:
    folder = kit("python", "tflite-float32")
    expected = json.loads((folder / "test" / "expected.json").read_text(encoding="utf-8"))
    expected["probabilities"] = expected["probabilities"][::-1]
    (folder / "test" / "expected.json").write_text(json.dumps(expected), encoding="utf-8")
    done = run_python(folder, "--test")
    assert done.returncode == 1
    assert done.stdout.startswith("a probability differs by")


def test_a_kit_on_a_board_answers_as_it_should(kit: Kit, tmp_path: Path) -> None:
    """device.py, which runs on boards, is given the test image's tensor."""
    folder = kit("python", "tflite-float32")
    expected = json.loads((folder / "test" / "expected.json").read_text(encoding="utf-8"))
    np.save(tmp_path / "images.npy", np.fromfile(folder / "test" / "tensor.f32", "<f4").reshape(expected["shape"]))
    files = {name: str(tmp_path / name) for name in ("scores.npy", "result.json")}
    job = {"model": str(folder / "model.tflite"), "images": str(tmp_path / "images.npy"), "warmup": 0, "rounds": 1, "threads": 1}
    (tmp_path / "job.json").write_text(json.dumps({**job, "scores": files["scores.npy"], "result": files["result.json"]}))
    device = ROOT / "targets" / "boards" / "device.py"
    subprocess.run([sys.executable, device, tmp_path / "job.json"], cwd=tmp_path, check=True, capture_output=True, timeout=120)
    assert np.abs(np.load(files["scores.npy"])[0] - expected["probabilities"]).max() < 1e-4


@pytest.mark.parametrize("place", [each.name for each in PLACES if each.name != "coral"])
def test_every_place_has_a_whole_kit(kit: Kit, place: str) -> None:
    form = {"ios": "coreml-float16", "web": "tfjs-float32", "server": "onnx-float32"}.get(place, "tflite-int8")
    try:
        folder = kit(place, form)
    except EdgeError as error:
        pytest.skip(str(error))
    names = {path.relative_to(folder).as_posix() for path in files_below(folder)}
    assert {"README.md", "labels.txt", "kit.json", "test/image.png", "test/pixels.u8", "test/tensor.f32"} <= names
    assert {name for name, _ in place_named(place).code} <= names
    # Nothing was left to fill in, and what was not tried says so.
    texts = {name: (folder / name).read_text(encoding="utf-8") for name, _ in place_named(place).code}
    assert not [name for name, text in texts.items() if "{{" in text or "{%" in text]
    assert all(
        "un in edgeferry's tests" in text or "ot compiled" in text or "not in its tests" in text for text in texts.values()
    )


@pytest.mark.parametrize(
    ("output", "threshold", "answers"),
    [
        ("probabilities", None, {(0.2, 0.5, 0.3): ["b"]}),
        ("multilabel", None, {(0.9, 0.5, 0.1): ["a", "b"], (0.1, 0.2, 0.3): []}),
        ("multilabel", 0.3, {(0.9, 0.2, 0.3): ["a", "c"]}),
        ("probabilities", 0.8, {(0.3, 0.7): ["a"], (0.1, 0.9): ["b"]}),
    ],
)
def test_an_answer_follows_from_the_config_s_threshold(
    exported_digits: Any, tmp_path: Path, output: str, threshold: float | None, answers: dict[tuple[float, ...], list[str]]
) -> None:
    labels = ("a", "b", "c")[: len(next(iter(answers)))]
    artifact = read_artifact(exported_digits.build / "tflite-float32")
    artifact = replace(artifact, output=output, threshold=threshold, labels=labels)
    names: dict[str, Any] = {"__file__": str(tmp_path / "classify.py"), "__name__": "classify"}
    exec(code("classify.py.jinja", "classify.py", artifact, "my"), names)  # noqa: S102 - the kit's own code
    found = {each: [labels[at] for at in names["answer_of"](np.asarray(each))] for each in answers}
    assert found == answers


def test_a_microcontroller_gets_full_integers_only(kit: Kit) -> None:
    with pytest.raises(EdgeError) as error:
        kit("mcu", "tflite-float32")
    assert error.value.code == "EF-ship-format"


def test_a_file_with_layers_in_float_is_none_for_a_microcontroller(exported_digits: Any) -> None:
    artifact = read_artifact(exported_digits.build / "tflite-int8")
    mixed = replace(artifact, options={**artifact.options, "keep_float": ["conv2d"]})
    assert [place_named("mcu").takes(each) for each in (artifact, mixed)] == [True, False]


def test_cplusplus_makes_the_tensor_of_the_test_image(kit: Kit, tmp_path: Path) -> None:
    if (compiler := shutil.which("g++") or shutil.which("clang++")) is None:
        pytest.skip("needs a C++ compiler")
    folder = kit("mcu", "tflite-int8")
    image = Image.open(folder / "test" / "image.png").convert("RGBA")
    (tmp_path / "main.cc").write_text(
        '#include <cstdio>\n#include "kit/preprocessing.h"\n#include "kit/model_data.h"\n'
        f"int main() {{ std::vector<uint8_t> rgba({image.width * image.height * 4});\n"
        "std::fread(rgba.data(), 1, rgba.size(), stdin);\n"
        f"const auto made = edgeferry::tensorOf(edgeferry::pixelsOf(rgba, {image.width}, {image.height}));\n"
        "std::fwrite(made.data(), 4, made.size(), stdout); return sizeof(model_data) > 0 ? 0 : 1; }\n",
        encoding="utf-8",
    )
    subprocess.run([compiler, "-std=c++17", "-Wno-unused-result", "main.cc", "-o", "main"], cwd=tmp_path, check=True)
    done = subprocess.run([tmp_path / "main"], input=image.tobytes(), capture_output=True, check=True, timeout=60)
    assert done.stdout == (folder / "test" / "tensor.f32").read_bytes()
