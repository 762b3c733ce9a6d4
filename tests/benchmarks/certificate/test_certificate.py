# SPDX-License-Identifier: Apache-2.0
"""Certificates of the digits classifier: valid as long as nothing changed, and nothing else is taken for one."""

import json
import random
import shutil
from pathlib import Path
from typing import Any, Final

import pytest
from jsonschema import Draft202012Validator

from edgeferry.benchmarks.certificate.certificate import CERTIFICATE, certificate_of, read_certificate, statement_of
from edgeferry.benchmarks.certificate.log import LOG, append_event, events
from edgeferry.benchmarks.certificate.verification import problems
from edgeferry.benchmarks.parity.check import Scope, checked
from edgeferry.benchmarks.report.report import read_report, write_report
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import sha256_of
from edgeferry.models.system.places import ROOT

FORMAT: Final = "tflite-float32"
MUTATIONS: Final = 150


@pytest.fixture(scope="module")
def certified(exported_digits: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a build folder that was checked and certified."""
    build = shutil.copytree(exported_digits.build, tmp_path_factory.mktemp("certified") / "digits")
    write_report(checked(None, build, Scope((FORMAT,), ("litert",)), lambda *_: None, reuse=True), build)
    append_event(build, "checked", sha256_of(build / "report.json"), 0)
    (build / CERTIFICATE).write_text(certificate_of(build).text(), encoding="utf-8")
    append_event(build, "certified", sha256_of(build / CERTIFICATE), 0)
    append_event(build, "checked", sha256_of(build / "report.json"), 0)
    return build


@pytest.fixture
def build(certified: Path, tmp_path: Path) -> Path:
    return shutil.copytree(certified, tmp_path / "digits")


def test_a_certificate_is_valid_where_nothing_changed(certified: Path) -> None:
    assert problems(certified / CERTIFICATE, certified) == []
    assert read_certificate(certified / CERTIFICATE).verdict == "passed"


def test_the_same_build_gives_the_same_certificate(certified: Path) -> None:
    assert certificate_of(certified).text() == certificate_of(certified).text()


def test_a_certificate_follows_its_published_schema(certified: Path) -> None:
    schema = json.loads((ROOT / "benchmarks" / "certificate" / "certificate.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(json.loads((certified / CERTIFICATE).read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "name", [f"{FORMAT}/model.tflite", f"{FORMAT}/manifest.json", "reference/scores.npy", "reference/pixels.npy"]
)
def test_a_file_that_changed_is_named(build: Path, name: str) -> None:
    (build / name).write_bytes((build / name).read_bytes() + b"x")
    assert any(name in each for each in problems(build / CERTIFICATE, build))
    (build / name).unlink()
    assert f"{name} is missing" in problems(build / CERTIFICATE, build)


def test_a_result_that_is_another_now_is_named(build: Path) -> None:
    report = read_report(build / "report.json")
    text = (build / "report.json").read_text(encoding="utf-8")
    (build / "report.json").write_text(text.replace('"outcome": "passed"', '"outcome": "failed"'), encoding="utf-8")
    assert report.rows[0].outcome == "passed"
    assert f"{FORMAT} on litert was passed, and is failed" in problems(build / CERTIFICATE, build)


def is_valid(build: Path) -> bool:
    try:
        return not problems(build / CERTIFICATE, build)
    except EdgeError as error:
        return error.code != "EF-certificate"


def test_no_other_text_is_a_certificate(build: Path) -> None:
    data, rng = (build / CERTIFICATE).read_bytes(), random.Random(4)  # noqa: S311 - nothing secret
    for _ in range(MUTATIONS):
        at = rng.randrange(len(data))
        changed = rng.choice(
            [data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :], data[:at], data[: at - 9] + data[at:]]
        )
        (build / CERTIFICATE).write_bytes(changed)
        assert changed == data or not is_valid(build)


def test_a_failure_that_is_called_a_pass_is_noticed(build: Path) -> None:
    """Somebody who rewrites the certificate and appends a line for it is still contradicted by the report."""
    report = build / "report.json"
    report.write_text(report.read_text(encoding="utf-8").replace('"outcome": "passed"', '"outcome": "failed"'), encoding="utf-8")
    append_event(build, "certified", sha256_of(build / CERTIFICATE), 0)
    assert any("was passed, and is failed" in each for each in problems(build / CERTIFICATE, build))


@pytest.mark.parametrize("spoil", ["change", "drop", "exchange"])
def test_an_audit_trail_that_was_changed_is_noticed(build: Path, spoil: str) -> None:
    lines = (build / LOG).read_text(encoding="utf-8").splitlines()
    spoiled = {
        "change": [lines[0].replace('"status": 0', '"status": 1'), *lines[1:]],
        "drop": lines[1:],
        "exchange": [lines[1], lines[0], *lines[2:]],
    }[spoil]
    (build / LOG).write_text("\n".join(spoiled) + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match="the chain is broken at line"):
        events(build)
    assert any("the chain is broken" in each for each in problems(build / CERTIFICATE, build))


def test_the_verdict_is_an_in_toto_statement_about_the_same_files(certified: Path) -> None:
    certificate = certificate_of(certified)
    statement = statement_of(certificate)
    assert {each["name"]: each["digest"]["sha256"] for each in statement["subject"]} == certificate.files
    assert statement["predicate"]["result"] == "PASSED"
    assert statement["predicate"]["passedTests"] == [f"{FORMAT}@litert"]


def test_a_certificate_is_signed_by_one_key_and_by_no_other(build: Path) -> None:
    pytest.importorskip("model_signing", reason="needs edgeferry[sign]")
    pytest.importorskip("OpenSSL", reason="needs edgeferry[sign]")
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    from edgeferry.benchmarks.certificate.signing import sign, unsigned

    for name in ("own", "other"):
        key = ec.generate_private_key(ec.SECP256R1())
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        (build / f"{name}.pem").write_bytes(key.private_bytes(*form))
        public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        (build / f"{name}.pub").write_bytes(public)
    sign(build / CERTIFICATE, build / "own.pem")
    assert unsigned(build / CERTIFICATE, build / "own.pub") == ""
    assert "no valid signature" in unsigned(build / CERTIFICATE, build / "other.pub")
    (build / CERTIFICATE).write_bytes((build / CERTIFICATE).read_bytes() + b" ")
    assert "no valid signature" in unsigned(build / CERTIFICATE, build / "own.pub")
