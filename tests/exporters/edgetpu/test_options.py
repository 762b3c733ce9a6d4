# SPDX-License-Identifier: Apache-2.0
import tomllib
from pathlib import Path

import pytest

from edgeferry.exporters.edgetpu.options import EdgeTpuOptions
from edgeferry.exporters.options import read_options
from edgeferry.models.system.errors import EdgeError


def read(text: str) -> EdgeTpuOptions:
    options: EdgeTpuOptions = read_options(EdgeTpuOptions, tomllib.loads(text), Path("my.toml"), "export.edgetpu")
    return options


def test_what_is_left_out_is_the_compilers_own() -> None:
    assert read("") == EdgeTpuOptions()
    assert EdgeTpuOptions().timeout_s == 180


def test_every_key_is_read() -> None:
    text = "min_runtime_version = 13\nmultiple_subgraphs = true\nsearch_delegate = true\ndelegate_search_step = 10\n"
    assert read(text + "timeout_s = 600\nmost_cpu_operations = 0\n") == EdgeTpuOptions(
        min_runtime_version=13,
        multiple_subgraphs=True,
        search_delegate=True,
        delegate_search_step=10,
        timeout_s=600,
        most_cpu_operations=0,
    )
    assert read('intermediate_tensors = ["a;b", "c"]').intermediate_tensors == ("a;b", "c")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("min_runtime_version = 9", r"min_runtime_version is 9; expected 10 to 14"),
        ("min_runtime_version = 15", r"min_runtime_version is 15; expected 10 to 14"),
        ('min_runtime_version = "14"', r"min_runtime_version is '14'; expected a whole number"),
        ("min_runtime_version = true", r"min_runtime_version is True; expected a whole number"),
        ("timeout_s = 0", r"timeout_s is 0; expected at least 1"),
        ("timeout_s = 1701", r"timeout_s is 1701; expected at most 1700, since an export is ended after 1800 s"),
        ("search_delegate = true\ndelegate_search_step = 0", r"delegate_search_step is 0; expected at least 1"),
        ("delegate_search_step = 10", r"delegate_search_step is set and search_delegate is not"),
        ("most_cpu_operations = -1", r"most_cpu_operations is -1; expected at least 0"),
        ('intermediate_tensors = "a"', r"intermediate_tensors is 'a'; expected a list"),
        ("intermediate_tensors = [1]", r"intermediate_tensors is \[1\]; expected a list of texts"),
        ('intermediate_tensors = ["a,b"]', r"intermediate_tensors has 'a,b'; expected names .* none with a comma"),
        ('intermediate_tensors = [" "]', r"intermediate_tensors has ' '; expected names"),
        (
            'search_delegate = true\nintermediate_tensors = ["a"]',
            r"intermediate_tensors says .* search_delegate makes the compiler search",
        ),
        ("segments = 2", r"segments is not for an artifact, .* compile MODEL.tflite --segments N"),
    ],
)
def test_a_mistake_is_named(text: str, said: str) -> None:
    with pytest.raises(EdgeError, match=rf"my\.toml: export\.edgetpu\.{said}"):
        read(text)
