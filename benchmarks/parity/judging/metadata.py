# SPDX-License-Identifier: Apache-2.0
"""Does an artifact describe itself as the config does? Labels, preprocessing and output, in its file and in its manifest.

An app reads them from there: a file that computes the right scores, with a doubled std next to it, is used wrongly.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from edgeferry.benchmarks.parity.judging.sentences import other_labels
from edgeferry.exporters.readers.reader import reader_of
from edgeferry.models.artifact import Artifact
from edgeferry.models.reference import Reference
from edgeferry.models.system.errors import EdgeError

# TF Lite metadata holds float32.
FLOAT32_ROUNDING: Final = 1e-6


def refuse_other_metadata(folder: Path, artifact: Artifact, reference: Reference) -> None:
    """Refuse an artifact whose file or manifest names other labels, preprocessing or output than the config.

    What a kind of file has no place for is not compared, nor is a file of a kind without a reader.

    Raises:
        EdgeError: names the key, the value found and the config's; or the file is damaged.
    """
    expected = {
        "labels": reference.labels,
        "output": reference.output,
        "threshold": reference.threshold,
        **asdict(reference.preprocessing),
    }
    _refuse(
        "its manifest", {"labels": artifact.labels, "threshold": artifact.threshold, **asdict(artifact.preprocessing)}, expected
    )
    # A file may end in a softmax of its own where the model ends in logits; the other way round no exporter goes.
    if artifact.output != reference.output and (artifact.output, reference.output) != ("probabilities", "logits"):
        _refuse("its manifest", {"output": artifact.output}, expected)
    file = folder / artifact.main_file
    reader = reader_of(file)
    if reader is None or reader.metadata is None:
        return
    found = reader.metadata(file).values()
    if absent := sorted(reader.named - set(found)):
        raise EdgeError(
            "EF-metadata-missing", f"the file does not name its {absent[0]}; expected {_text(expected[absent[0]])}: export again"
        )
    _refuse("the file", found, expected)


def _refuse(where: str, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    for key, value in found.items():
        if key in expected and not _same(value, expected[key]):
            raise EdgeError("EF-metadata-differs", _sentence(where, key, value, expected[key]))


def _same(found: Any, expected: Any) -> bool:
    if isinstance(expected, float | int) and isinstance(found, float | int):
        return math.isclose(found, expected, rel_tol=FLOAT32_ROUNDING, abs_tol=FLOAT32_ROUNDING)
    if isinstance(expected, list | tuple) and isinstance(found, list | tuple):
        # TF Lite metadata may hold one number for all channels.
        each = list(found) * len(expected) if len(found) == 1 else list(found)
        return len(each) == len(expected) and all(_same(one, other) for one, other in zip(each, expected, strict=True))
    return bool(found == expected)


def _sentence(where: str, key: str, found: Any, expected: Any) -> str:
    if key != "labels":
        return f"{where} names {_text(found)} as its {key}; the config's is {_text(expected)}"
    return other_labels(where, tuple(found), tuple(expected))


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_text, value))}]"
    return f"{value:.6g}" if isinstance(value, float) else repr(value) if isinstance(value, str) else str(value)
