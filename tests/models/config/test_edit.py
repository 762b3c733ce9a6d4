# SPDX-License-Identifier: Apache-2.0
from pathlib import Path
from typing import Final

import pytest

from edgeferry.models.config.edit import set_options
from edgeferry.models.system.errors import EdgeError

CONFIG: Final = (
    '# my model\n[model]\nname = "my"\n\n[export.tflite-int8]\ndense = "convolution"  # old boards\n\n[data]\ngolden = "g"\n'
)
TABLE: Final = "export.tflite-int8"


def edited(tmp_path: Path, text: str, **values: object) -> str:
    file = tmp_path / "my.toml"
    file.write_text(text, encoding="utf-8")
    set_options(file, TABLE, values)
    return file.read_text(encoding="utf-8")


def test_a_key_is_added_to_its_table_and_all_else_stays(tmp_path: Path) -> None:
    after = edited(tmp_path, CONFIG, keep_float=["conv"])
    assert after == CONFIG.replace("[export.tflite-int8]\n", '[export.tflite-int8]\nkeep_float = ["conv"]\n')


def test_a_key_that_is_there_is_replaced(tmp_path: Path) -> None:
    assert 'dense = "per-channel"\n' in edited(tmp_path, CONFIG, dense="per-channel")


def test_a_table_that_is_absent_is_added(tmp_path: Path) -> None:
    after = edited(tmp_path, '[model]\nname = "my"\n', keep_float=["conv"])
    assert after == '[model]\nname = "my"\n\n[export.tflite-int8]\nkeep_float = ["conv"]\n'


@pytest.mark.parametrize(
    "text", ['[export]\ntflite-int8 = { dense = "per-tensor" }\n', '[export.tflite-int8]\nkeep_float = [\n  "a",\n]\n']
)
def test_what_cannot_be_changed_alone_is_left_as_it_is(tmp_path: Path, text: str) -> None:
    with pytest.raises(EdgeError) as error:
        edited(tmp_path, text, keep_float=["conv"])
    assert error.value.code == "EF-config-edit"
    assert (tmp_path / "my.toml").read_text(encoding="utf-8") == text
