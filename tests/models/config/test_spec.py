# SPDX-License-Identifier: Apache-2.0
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from edgeferry.models.config.spec import ExportOptions, ModelSpec, read_spec
from edgeferry.models.preprocessing import Preprocessing
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.places import ROOT

CONTRACT: Final = """\
[model]
name = "pets"
file = "pets.keras"
labels = ["cat", "dog", "fish"]

[input]
shape = [24, 20, 3]
colour = "rgb"
range = [0, 255]

[data]
golden = "golden"
"""

Read = Callable[..., ModelSpec]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Return a function that reads the contract above with some of its text replaced, and more tables after it."""

    def changed(*replaced: tuple[str, str], more: str = "") -> ModelSpec:
        text = CONTRACT
        for old, new in replaced:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "pets.toml"
        path.write_text(text + more, encoding="utf-8")
        return read_spec(path)

    return changed


def test_a_contract_is_read_whole(read: Read, tmp_path: Path) -> None:
    spec = read(more='calibration = "typical"\n[export]\nformats = ["onnx-float32"]\nfold_batchnorm = false\n')
    assert spec == ModelSpec(
        name="pets",
        path=tmp_path / "pets.toml",
        model=tmp_path / "pets.keras",
        labels=("cat", "dog", "fish"),
        preprocessing=Preprocessing(24, 20, "rgb", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        golden=tmp_path / "golden",
        calibration=tmp_path / "typical",
        formats=("onnx-float32",),
        options=ExportOptions(fold_batchnorm=False),
    )


def test_the_default_contract_can_be_read() -> None:
    spec = read_spec(ROOT / "models" / "digits.toml")
    assert spec.labels == tuple("0123456789")
    assert spec.preprocessing.channels == 1


def test_equal_contracts_hash_the_same(read: Read) -> None:
    assert hash(read()) == hash(read())
    assert read() == read()


def test_what_is_left_out_takes_the_safe_default(read: Read) -> None:
    spec = read(('colour = "rgb"\n', ""))
    assert (spec.preprocessing.colour, spec.preprocessing.resize, spec.preprocessing.fit) == ("rgb", "bilinear", "stretch")
    assert (spec.output, spec.formats, spec.calibration, spec.trained_by) == ("auto", None, None, None)


@pytest.mark.parametrize("name", ["image_dataset_from_directory", "keras.layers.Resizing", "INTER_LINEAR", "cv2.INTER_LINEAR"])
def test_a_resize_may_have_the_name_of_what_the_training_used(read: Read, name: str) -> None:
    spec = read(("range = [0, 255]", f'range = [0, 255]\nresize = "{name}"'))
    assert spec == read(("range = [0, 255]", 'range = [0, 255]\nresize = "tf-bilinear"'))


def test_a_name_left_out_is_the_files(read: Read) -> None:
    assert read(('name = "pets"\n', "")).name == "pets"


def test_one_channel_is_gray_unless_told(read: Read) -> None:
    spec = read(("[24, 20, 3]", "[24, 20, 1]"), ('colour = "rgb"\n', ""))
    assert spec.preprocessing.colour == "gray"
    assert spec.preprocessing.mean == (0.0,)


def test_a_path_is_relative_to_the_contract_and_may_be_absolute(read: Read, tmp_path: Path) -> None:
    assert read(('"golden"', '"../elsewhere"')).golden == tmp_path.parent / "elsewhere"
    assert read(('"golden"', '"/photos"')).golden == Path("/photos")


@pytest.mark.parametrize(
    ("range_", "mean", "std"),
    [("[0, 1]", 0.0, 255.0), ("[-1, 1]", 127.5, 127.5), ("[0, 255]", 0.0, 1.0), ("[-128, 127]", 128.0, 1.0)],
)
def test_a_range_becomes_mean_and_std_in_pixel_units(read: Read, range_: str, mean: float, std: float) -> None:
    how = read(("[0, 255]", range_)).preprocessing
    assert (how.mean, how.std) == ((mean,) * 3, (std,) * 3)


def test_mean_and_std_are_kept_in_the_contracts_channel_order(read: Read) -> None:
    how = read(("range = [0, 255]", "mean = [123.7, 116.3, 103.5]\nstd = [58, 57, 57.4]")).preprocessing
    assert how.mean == (123.7, 116.3, 103.5)
    assert how.std == (58.0, 57.0, 57.4)


def test_tolerances_are_kept_by_format(read: Read) -> None:
    spec = read(
        more="[parity.tflite-int8]\ntop1_agreement = 0.95\np99_difference = 0.4\n[parity.onnx-float32]\nmean_difference = 0\n"
    )
    assert spec.tolerances == (
        ("tflite-int8", "top1_agreement", 0.95),
        ("tflite-int8", "p99_difference", 0.4),
        ("onnx-float32", "mean_difference", 0.0),
    )


def test_labels_may_stand_in_a_file(read: Read, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_bytes("\ufeffcat\r\nblåhaj\r\nfish\r\n\r\n".encode())
    assert read(('["cat", "dog", "fish"]', '"labels.txt"')).labels == ("cat", "blåhaj", "fish")


def test_a_byte_order_mark_before_the_contract_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "pets.toml"
    path.write_text(CONTRACT, encoding="utf-8-sig")
    assert read_spec(path).name == "pets"


def test_the_options_of_a_format_are_kept_for_the_format(read: Read) -> None:
    spec = read(more='[export.tfjs]\nshard_bytes = 65536\n[export.edgetpu-int8]\nintermediate_tensors = ["a"]\n')
    assert spec.export_table("tfjs") == {"shard_bytes": 65536}
    assert spec.export_table("edgetpu-int8") == {"intermediate_tensors": ["a"]}
    assert spec.export_table("onnx") == {}


@pytest.mark.parametrize(
    ("key", "place"),
    [
        ("onnx_opset = 15", "opset in [export.onnx]"),
        ('dense = "per-channel"', "dense in [export.tflite-int8]"),
        ('int8_input_output = "int8"', "input_output in [export.tflite-int8]"),
        ('coreml_target = "iOS15"', "target in [export.coreml]"),
        ("tfjs_shard_bytes = 65536", "shard_bytes in [export.tfjs]"),
        ("tfjs_structured_output = true", "structured_output in [export.tfjs]"),
    ],
)
def test_an_option_of_an_older_release_says_where_it_is_now(read: Read, key: str, place: str) -> None:
    with pytest.raises(EdgeError, match=re.escape(place), check=lambda error: error.code == "EF-config-key-moved"):
        read(more=f"[export]\n{key}\n")


def test_a_format_named_twice_is_one(read: Read) -> None:
    assert read(more='[export]\nformats = ["savedmodel", "savedmodel"]\n').formats == ("savedmodel",)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        # unknown and missing keys
        ('colour = "rgb"', 'color = "rgb"', r"input\.color is not a key of this file; did you mean 'colour'\?"),
        (
            "[data]\n",
            "[data]\nzebra = 1\n",
            r"data\.zebra is not a key of this file; known are calibration, expected_accuracy, golden",
        ),
        ("[data]\n", "[exprot]\n[data]\n", r"pets\.toml: exprot is not a key of this file; did you mean 'export'\?"),
        ("labels =", "lables =", r"model\.labels is missing; expected a list or a text; is 'lables' meant for it\?"),
        ('file = "pets.keras"\n', "", r"model\.file is missing; expected a text\."),
        ("[data]", "[dataa]", r"pets\.toml: data is missing; expected a table; is 'dataa' meant for it\?"),
        ("range = [0, 255]\n", "", r"input\.range is missing; expected a list"),
        ("range = [0, 255]", "mean = [1, 2, 3]", r"input\.std is missing"),
        # types
        ('"pets.keras"', "3", r"model\.file is 3; expected a text"),
        ('name = "pets"', "name = true", r"model\.name is True; expected a text"),
        ('["cat", "dog", "fish"]', "3", r"model\.labels is 3; expected a list or a text"),
        ("[24, 20, 3]", '"24x20"', r"input\.shape is '24x20'; expected a list"),
        ("[0, 255]", '["0", "255"]', r"input\.range is \['0', '255'\]; expected 2 numbers"),
        ("[0, 255]", "[false, true]", r"input\.range is \[False, True\]; expected 2 numbers"),
        # labels
        ('["cat", "dog", "fish"]', '["cat", "dog", "cat"]', r"model\.labels names 'cat' more than once"),
        ('["cat", "dog", "fish"]', '["cat"]', r"model\.labels has 1 labels; a classifier has at least 2 classes"),
        ('["cat", "dog", "fish"]', "[0, 1, 2]", r"model\.labels has 0 as number 1; expected one line of text per class"),
        ('"dog"', '" "', r"model\.labels has ' ' as number 2; expected one line of text per class"),
        ('"dog"', '"dog\\ncat"', r"model\.labels has 'dog\\ncat' as number 2; expected one line of text per class"),
        ('["cat", "dog", "fish"]', '"labels.txt"', r"model\.labels names .*labels\.txt, which does not exist"),
        # the input
        ("[24, 20, 3]", "[24, 20]", r"input\.shape is \[24, 20\]; expected \[height, width, channels\]"),
        ("[24, 20, 3]", "[24, 0, 3]", r"input\.shape is \[24, 0, 3\]; expected"),
        ("[24, 20, 3]", "[24, true, 3]", r"input\.shape is \[24, True, 3\]; expected"),
        ("[24, 20, 3]", "[24, 20, 1]", r"input\.shape has 1 channels, but colour 'rgb' has 3"),
        ('"rgb"', '"gray"', r"input\.shape has 3 channels, but colour 'gray' has 1"),
        ('"rgb"', '"RGB"', r"input\.colour is 'RGB'; expected one of 'rgb', 'bgr', 'gray'"),
        ("[0, 255]", '[0, 255]\nresize = "area"', r"input\.resize is 'area'; expected one of 'nearest', 'box'"),
        ("[0, 255]", '[0, 255]\nfit = "cover"', r"input\.fit is 'cover'; expected one of 'stretch', 'crop', 'pad'"),
        ("[0, 255]", "[1, -1]", r"input\.range is \[1\.0, -1\.0\]; expected \[lowest, highest\]"),
        ("[0, 255]", "[0, inf]", r"input\.range is \[0, inf\]; expected 2 numbers"),
        ("[0, 255]", "[0, 1]\nmean = [9, 9, 9]", r"input\.range is given next to mean or std; keep one"),
        (
            "range = [0, 255]",
            "mean = [9, 9, 9]\nstd = [9, 0, 9]",
            r"input\.std is \[9\.0, 0\.0, 9\.0\]; every number must be above 0",
        ),
        ("range = [0, 255]", "mean = [nan, 9, 9]\nstd = [9, 9, 9]", r"input\.mean is \[nan, 9, 9\]; expected 3 numbers"),
        ("range = [0, 255]", "mean = [9, 9]\nstd = [9, 9, 9]", r"input\.mean is \[9, 9\]; expected 3 numbers"),
        (
            "range = [0, 255]",
            "mean = [0.485, 0.456, 0.406]\nstd = [0.229, 0.224, 0.225]",
            r"input\.std and mean are at most 1; they are in pixel units \(0 to 255\) here: multiply both by 255",
        ),
        # names that become folders and modules
        ('name = "pets"', 'name = "../pets"', r"model\.name is '\.\./pets'; it names the folder under build/"),
        ('name = "pets"', 'name = ".pets"', r"model\.name is '\.pets'; it names the folder under build/"),
        ('name = "pets"', 'trained_by = "os.path"', r"model\.trained_by is 'os\.path'; expected a module of the models folder"),
        ('"golden"', '"~nobody-of-this-name/golden"', r"data\.golden is '~nobody-of-this-name/golden': "),
    ],
)
def test_a_mistake_in_the_contract_is_named(read: Read, old: str, new: str, said: str) -> None:
    with pytest.raises(EdgeError, match=said):
        read((old, new))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            "[parity.tflite-int8]\nagreement = 1\n",
            r"parity\.tflite-int8\.agreement is not a key of this file; did you mean 'top1_",
        ),
        (
            "[parity.tflite-int8]\ntop1_agreement = 98\n",
            r"parity\.tflite-int8\.top1_agreement is 98\.0; expected a number from 0",
        ),
        ("[parity.tflite-int8]\np99_difference = nan\n", r"parity\.tflite-int8\.p99_difference is nan; expected a number from 0"),
        ("[parity]\ntflite-int8 = 0.9\n", r"parity\.tflite-int8 is 0\.9; expected a table"),
        ("[export]\nformats = []\n", r"export\.formats must be a list of format names"),
        ("[export]\nfold_batchnorm = 1\n", r"export\.fold_batchnorm is 1; expected true or false"),
    ],
)
def test_a_mistake_about_export_and_parity_is_named(read: Read, more: str, said: str) -> None:
    with pytest.raises(EdgeError, match=said):
        read(more=more)


def test_who_made_a_model_may_be_stated(read: Read) -> None:
    options = read(more='[export]\nauthor = "A. Trainer"\nlicence = "CC0-1.0"\nversion = "3.1"\n').options
    assert (options.author, options.licence, options.version) == ("A. Trainer", "CC0-1.0", "3.1")


def test_the_message_names_the_file(read: Read, tmp_path: Path) -> None:
    with pytest.raises(EdgeError) as caught:
        read(('"pets.keras"', "3"))
    assert str(caught.value).startswith(f"{tmp_path / 'pets.toml'}: ")


def test_a_slip_in_the_toml_is_named_by_its_line(read: Read) -> None:
    with pytest.raises(EdgeError, match=r"pets\.toml: not valid TOML: .*line 3"):
        read(('file = "pets.keras"', 'file = "pets.keras'))


def test_a_key_said_twice_is_refused(read: Read) -> None:
    with pytest.raises(EdgeError, match=r"not valid TOML: .*line 4"):
        read(('file = "pets.keras"', 'file = "pets.keras"\nfile = "other.keras"'))


def test_a_labels_file_with_a_gap_names_the_line(read: Read, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("cat\n\nfish\n", encoding="utf-8")
    with pytest.raises(EdgeError, match=r"model\.labels has '' as number 2"):
        read(('["cat", "dog", "fish"]', '"labels.txt"'))


def test_a_labels_file_of_another_encoding_is_refused(read: Read, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_bytes("cat\nchien\nécureuil\n".encode("latin-1"))
    with pytest.raises(EdgeError, match=r"labels\.txt, which is not a text file in UTF-8"):
        read(('["cat", "dog", "fish"]', '"labels.txt"'))


def test_a_contract_that_is_not_there_is_said_to_be_so(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match=r"none\.toml: expected a model's TOML file, but there is no such file"):
        read_spec(tmp_path / "none.toml")


def test_a_folder_is_not_a_contract(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match="expected a model's TOML file, but it is a folder"):
        read_spec(tmp_path)


def test_bytes_are_not_a_contract(tmp_path: Path) -> None:
    path = tmp_path / "pets.toml"
    path.write_bytes(b"\x89PNG\xff\xfe\x00")
    with pytest.raises(EdgeError, match="not a text file in UTF-8"):
        read_spec(path)


def test_a_threshold_is_for_two_labels_or_for_several_at_once(read: Read) -> None:
    two = ('["cat", "dog", "fish"]', '["cat", "dog"]\nthreshold = 0.8')
    assert read(two).threshold == 0.8
    several = ('"fish"]', '"fish"]\noutput = "multilabel"\nthreshold = 0.3')
    assert (read(several).output, read(several).threshold) == ("multilabel", 0.3)
    with pytest.raises(EdgeError, match=r"threshold is set, but the model has 3 labels") as refused:
        read(('"fish"]', '"fish"]\nthreshold = 0.3'))
    assert refused.value.code == "EF-config-value"
