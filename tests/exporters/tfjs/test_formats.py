# SPDX-License-Identifier: Apache-2.0
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final
from unittest import mock

import numpy as np
import pytest

from edgeferry.exporters.graph.source import Source
from edgeferry.exporters.tfjs import formats as tfjs
from edgeferry.models.preprocessing import normalise
from edgeferry.models.reference import PIXELS
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.places import ROOT

pytestmark = pytest.mark.slow

# Smaller than a config may set, so that a small model has several files.
SHARD: Final = 16 * 1024
# Both files compute the same in float32, in another order; one misplaced weight changes scores by 1e-2 and more.
FLOAT_NOISE: Final = 1e-5
# Packages that the converter's package imports; the test makes the import of each fail.
BROKEN: Final = "jax flax tensorflow_decision_forests tensorflow_hub tf_keras"


def _model(exported: Any, name: str) -> dict[str, Any]:
    model: dict[str, Any] = json.loads((exported.build / name / "model.json").read_text())
    return model


def _written(source: Source, folder: Path, precision: str = "float32", **options: Any) -> Path:
    folder.mkdir()
    tfjs.write(source, folder, tfjs.TfjsOptions(**options), precision)
    return folder


def _first_image(source: Source) -> Any:
    return normalise(np.load(source.folder / PIXELS)[:1], source.spec.preprocessing)


def _weights(folder: Path) -> list[tuple[Any, ...]]:
    """Return shape, stored type and bytes of every float weight, sorted by these."""
    (group,) = json.loads((folder / "model.json").read_text())["weightsManifest"]
    data, at, found = b"".join((folder / name).read_bytes() for name in group["paths"]), 0, []
    for weight in group["weights"]:
        kind = weight.get("quantization", {}).get("dtype", weight["dtype"])
        size = int(np.prod(weight["shape"], dtype=int)) * np.dtype(kind).itemsize
        if weight["dtype"] == "float32":
            found.append((tuple(weight["shape"]), kind, data[at : at + size]))
        at += size
    assert at == len(data)
    return sorted(found)


def test_the_signature_keeps_the_names(exported_digits: Any) -> None:
    signature = _model(exported_digits, "tfjs-float32")["signature"]
    assert (list(signature["inputs"]), list(signature["outputs"])) == (["image"], ["probabilities"])


def test_labels_and_preprocessing_are_in_the_metadata(exported_colours: Any) -> None:
    metadata = _model(exported_colours, "tfjs-uint8")["userDefinedMetadata"]
    assert metadata["labels"] == list(exported_colours.spec.labels)
    assert metadata["preprocessing"]["std"] == [60, 70, 80]


def test_convolutions_are_fused_with_bias_and_activation(exported_digits: Any) -> None:
    operations = [node["op"] for node in _model(exported_digits, "tfjs-float32")["modelTopology"]["node"]]
    assert operations.count("FusedDepthwiseConv2dNative") == 4
    assert operations.count("_FusedConv2D") == 5
    assert "Relu6" not in operations


def test_weights_are_stored_in_the_requested_precision(exported_digits: Any) -> None:
    weights = _model(exported_digits, "tfjs-float16")["weightsManifest"][0]["weights"]
    assert {weight["quantization"]["dtype"] for weight in weights if "quantization" in weight} == {"float16"}


def test_depthwise_weights_and_biases_are_not_quantized_per_tensor(exported_digits: Any) -> None:
    model = _model(exported_digits, "tfjs-uint8")
    depthwise = {node["input"][1] for node in model["modelTopology"]["node"] if "Depthwise" in node["op"]}
    weights = [weight for weight in model["weightsManifest"][0]["weights"] if weight["dtype"] == "float32"]
    kept = {weight["name"] for weight in weights if weight["quantization"]["dtype"] == "float16"}
    assert kept == {weight["name"] for weight in weights if weight["name"] in depthwise or len(weight["shape"]) < 2}
    assert len(depthwise) == 4
    assert {weight["quantization"]["dtype"] for weight in weights} == {"float16", "uint8"}


def test_weights_are_only_in_the_binary_file(exported_digits: Any) -> None:
    assert "tensorContent" not in json.dumps(_model(exported_digits, "tfjs-float32")["modelTopology"])


def test_weight_files_are_no_larger_than_configured(digits_source: Source, tmp_path: Path) -> None:
    assert len(list(_written(digits_source, tmp_path / "one").glob("*.bin"))) == 1
    several = _written(digits_source, tmp_path / "some", shard_bytes=SHARD)
    sizes = [path.stat().st_size for path in sorted(several.glob("*.bin"))]
    assert len(sizes) > 3
    assert set(sizes[:-1]) == {SHARD}
    assert sizes[-1] <= SHARD
    assert _weights(several) == _weights(tmp_path / "one")


def test_shards_and_output_names_change_no_scores(run_in_node: Any, digits_source: Source, tmp_path: Path) -> None:
    plain = _written(digits_source, tmp_path / "plain")
    other = _written(digits_source, tmp_path / "other", shard_bytes=SHARD, structured_output=True)
    found = run_in_node(_first_image(digits_source), {"plain": plain, "other": other})
    assert found["plain"]["named"] is None
    assert found["other"]["named"] == ["probabilities"]
    assert found["plain"]["scores"] == found["other"]["scores"]


def test_javascript_reads_the_metadata(run_in_node: Any, colours_source: Source, exported_colours: Any) -> None:
    found = run_in_node(_first_image(colours_source), {"it": exported_colours.build / "tfjs-float32"})
    spec = exported_colours.spec
    assert found["it"]["metadata"] == {
        "labels": list(spec.labels),
        "preprocessing": {
            **{name: getattr(spec.preprocessing, name) for name in ("height", "width", "colour", "resize", "fit")},
            "mean": list(spec.preprocessing.mean),
            "std": list(spec.preprocessing.std),
        },
        "output": "probabilities",
        "source_sha256": colours_source.reference.source_sha256,
    }


@pytest.fixture(scope="module")
def public(exported_digits: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a function that converts the exported SavedModel with the converter's public function."""

    def convert(precision: str) -> Path:
        place = tmp_path_factory.mktemp("public")
        stored = None if precision == "float32" else {precision: True}
        tfjs.conversion().convert_tf_saved_model(
            str(exported_digits.build / "savedmodel"), str(place), quantization_dtype_map=stored
        )
        return place

    return convert


def test_it_predicts_as_the_public_function_s_file(
    run_in_node: Any, public: Any, digits_source: Source, exported_digits: Any
) -> None:
    folders = {"public": public("float32"), "ours": exported_digits.build / "tfjs-float32"}
    found = run_in_node(_first_image(digits_source), folders)
    ours, theirs = np.asarray(found["ours"]["scores"]), np.asarray(found["public"]["scores"])
    assert theirs.max() > 0.5
    assert np.abs(ours - theirs).max() < FLOAT_NOISE


@pytest.mark.parametrize("precision", ["float32", "float16", "uint16", "uint8"])
def test_it_stores_the_bytes_of_the_public_function_s_file(
    precision: str, public: Any, digits_source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if precision == "uint8":
        # Ours keeps some weights in float16; another test covers that.
        monkeypatch.setattr(tfjs, "_stored_as", lambda *_: {"uint8": True})
    assert _weights(_written(digits_source, tmp_path / "ours", precision)) == _weights(public(precision))


def test_the_converter_is_loaded_without_its_package_s_imports(tmp_path: Path) -> None:
    for name in BROKEN.split():
        (tmp_path / f"{name}.py").write_text("raise ImportError('must not be imported')\n")
    script = f"""
import sys
from edgeferry.exporters.tfjs.formats import conversion
assert conversion().convert_tf_saved_model
print([name for name in "{BROKEN} tensorflowjs.converters.converter".split() if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{tmp_path}:{ROOT}", "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_another_version_of_the_converter_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tfjs, "VERSION", "4.23.0")
    # What this loads must be gone afterwards: it is not the whole package.
    with mock.patch.dict(sys.modules):
        for name in [name for name in sys.modules if name.startswith("tensorflowjs")]:
            del sys.modules[name]
        with pytest.raises(EdgeError, match=r"4\.22\.0.*4\.23\.0") as caught:
            tfjs.conversion()
    assert caught.value.code == "EF-package-version"


def test_an_absent_converter_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, tfjs.CONVERSION, raising=False)
    monkeypatch.setattr(tfjs.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(EdgeError, match="tensorflowjs") as caught:
        tfjs.conversion()
    assert caught.value.code == "EF-package-missing"
