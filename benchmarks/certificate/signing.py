# SPDX-License-Identifier: Apache-2.0
"""A certificate signed and verified by model-signing (OpenSSF), with a key of the user's own."""

from pathlib import Path
from typing import Final

from edgeferry.models.system.errors import EdgeError

SUFFIX: Final = ".sig"


def signature_beside(certificate: Path) -> Path:
    """Return where the signature of a certificate is."""
    return certificate.with_name(certificate.name + SUFFIX)


def sign(certificate: Path, key: Path) -> Path:
    """Write a certificate's signature by a private elliptic key (PEM), and return where.

    Raises:
        EdgeError: the key cannot be used.
    """
    from model_signing.signing import Config

    path = signature_beside(certificate)
    try:
        Config().use_elliptic_key_signer(private_key=key).sign(certificate, path)
    except (OSError, ValueError, TypeError) as error:
        raise EdgeError(
            "EF-sign-key", f"{key}: cannot sign with it ({error}); expected a private elliptic key as PEM, unencrypted."
        ) from None
    return path


def unsigned(certificate: Path, key: Path) -> str:
    """Return why the signature beside a certificate is not of this public key (PEM), or nothing."""
    from model_signing.verifying import Config

    path = signature_beside(certificate)
    if not path.is_file():
        return f"{path.name} is missing: the certificate is not signed"
    try:
        Config().use_elliptic_key_verifier(public_key=key).verify(certificate, path)
    except Exception as error:  # noqa: BLE001 - whatever cannot be verified is not valid, and the library raises many kinds
        return f"{path.name} is no valid signature by {key}: {' '.join(str(error).split()):.200}"
    return ""
