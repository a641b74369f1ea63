"""Content credentials: signed C2PA manifests in copies of generated images, by the optional library c2pa-python.

Owns the content of such a manifest and the checks of certificate and key. Each manifest has a random id, so equal
images give different bytes. For this reason no file of a dataset has such a manifest.

The settings of the library are fixed in this module. It requests no timestamp and opens no connection.
"""

from __future__ import annotations

import base64
import io
import json
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from diffcore_hf.core.errors import UserError, environment_fault, innermost_cause
from diffcore_hf.core.image_formats import signature
from diffcore_hf.core.image_marks import SOURCE_TYPES, ImageMark
from diffcore_hf.core.images import encode
from diffcore_hf.core.own_files import read_own_file
from diffcore_hf.core.terminal_text import visible

SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp"}
"""Formats of generated images, and the suffix of a file in this format."""
ATTEMPT = "diffcore-hf.attempt"
"""Label of the assertion with the attempt digest."""
_SETTINGS = {
    "verify": {"verify_after_sign": True, "remote_manifest_fetch": False, "ocsp_fetch": False},
    "builder": {"thumbnail": {"enabled": False}},
}
_ALGORITHMS = {
    "2a8648ce3d030107": "es256",
    "2b81040022": "es384",
    "2b81040023": "es512",
    "2b6570": "ed25519",
    "2a864886f70d010101": "ps256",
}
"""Encoded identifier of a kind of key (P-256, P-384, P-521, Ed25519, RSA) -> its algorithm in C2PA."""
_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----\s.*?-----END \1-----", re.DOTALL)


class ImageSigner:
    """Writes signed manifests with one key into images.

    Args:
        certificate: path of a PEM file: the certificate of the key, then those of its issuers.
        key: path of a PEM file with the private key, in the form PKCS#8 and without a passphrase.
        generator: name and version of the program, which the manifest states.

    Raises:
        UserError: a file cannot be used, the library is not installed, or it refuses certificate and key.
    """

    def __init__(self, certificate: str, key: str, generator: tuple[str, str]) -> None:
        chain, private, algorithm = _certificates(certificate), *_private_key(key)
        self._name = f"--c2pa_certificate {certificate} with --c2pa_key {key}"
        self._generator = {"name": generator[0], "version": generator[1]}
        self._library = _library()
        with self._refusals():
            self._context = self._library.Context.from_dict(_SETTINGS)
            info = self._library.C2paSignerInfo(algorithm, chain, private, None)
            self._signer = self._library.Signer.from_info(info)
        self.signed(encode(np.zeros((8, 8, 3), np.uint8)), ImageMark())

    def signed(self, image: bytes, mark: ImageMark) -> bytes:
        """Return a copy of an image with a signed manifest. Its pixels and its XMP do not change.

        Args:
            image: an encoded image in a format of SUFFIXES.
            mark: the values that the manifest states.

        Raises:
            UserError: the library refuses certificate and key.
        """
        kind = f"image/{(signature(image[:64]) or '').lower()}"
        copy = io.BytesIO()
        with self._refusals():
            builder = self._library.Builder(json.dumps(self._manifest(mark)), context=self._context)
            builder.sign(self._signer, kind, io.BytesIO(image), copy)
        return copy.getvalue()

    def _manifest(self, mark: ImageMark) -> dict[str, Any]:
        """Return the definition of a manifest."""
        created: dict[str, Any] = {"action": "c2pa.created", "digitalSourceType": SOURCE_TYPES + mark.source_type}
        if mark.system:
            created["softwareAgent"] = {"name": visible(mark.system)}
            if mark.version:
                created["softwareAgent"]["version"] = visible(mark.version)
        assertions: list[dict[str, Any]] = [{"label": "c2pa.actions.v2", "data": {"actions": [created]}}]
        if mark.attempt_digest:
            assertions.append({"label": ATTEMPT, "data": {"attempt_digest": mark.attempt_digest}})
        return {"claim_generator_info": [self._generator], "assertions": assertions}

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        """Context in which an error of the library becomes a UserError."""
        try:
            yield
        except self._library.C2paError as error:
            if environment_fault(error) is not None:
                raise
            reason = innermost_cause(error).removeprefix("Signature: ")
            raise UserError(
                f"{self._name} cannot sign ({visible(reason)}). Give the certificate of this key, followed by the "
                "certificates of its issuers. docs/marks.md lists what a certificate needs"
            ) from error


def _library() -> Any:
    """Import the optional library."""
    try:
        import c2pa
    except (ImportError, OSError, RuntimeError) as error:  # the package, or the compiled library in it, is missing
        raise UserError(
            f"--c2pa needs the library c2pa-python ({innermost_cause(error)}). Run: pip install 'diffcore-hf[c2pa]'"
        ) from error
    return c2pa


def _certificates(path: str) -> bytes:
    """Return the certificates in a PEM file. Other content is left out, because the file can also contain the key."""
    found = [block[0] for block in _blocks("--c2pa_certificate", path) if block[1] == b"CERTIFICATE"]
    if not found:
        raise UserError(
            f"--c2pa_certificate is {path}, which contains no certificate. Give a PEM file with the certificate of the "
            "key, followed by the certificates of its issuers"
        )
    return b"\n".join(found) + b"\n"


def _private_key(path: str) -> tuple[bytes, str]:
    """Return the private key in a PEM file and its algorithm in C2PA."""
    found = next((block for block in _blocks("--c2pa_key", path) if block[1].endswith(b"PRIVATE KEY")), None)
    if found is None:
        raise UserError(f"--c2pa_key is {path}, which contains no private key. Give a PEM file with the private key")
    if found[1] != b"PRIVATE KEY":
        fault = "has a passphrase" if b"ENCRYPTED" in found[0] else "is not in the form PKCS#8"
        raise UserError(
            f"--c2pa_key is {path}, whose key {fault}. Convert it, and keep the new file private: "
            f"openssl pkcs8 -topk8 -nocrypt -in {shlex.quote(path)} -out NEW.pem"
        )
    algorithm = _algorithm(found[0])
    if algorithm is None:
        raise UserError(
            f"--c2pa_key is {path}, a kind of key that C2PA does not allow. Give an EC key (P-256, P-384 or P-521), an "
            "Ed25519 key or an RSA key of at least 2048 bits, with its certificate"
        )
    return found[0] + b"\n", algorithm


def _algorithm(block: bytes) -> str | None:
    """Return the algorithm for a key in the form PKCS#8; None if unknown. The first bytes identify the kind of key."""
    try:
        start = base64.b64decode(b"".join(block.split(b"\n")[1:-1]))[:48].hex()
    except ValueError:
        return None
    return next((name for identifier, name in _ALGORITHMS.items() if identifier in start), None)


def _blocks(option: str, path: str) -> list[re.Match[bytes]]:
    """Return the blocks of a PEM file. Group 1 of a block is its label."""
    try:
        if Path(path).is_dir():
            raise ValueError("it is a folder")
        content = read_own_file(Path(path))
    except (OSError, ValueError) as error:
        if environment_fault(error) is not None:
            raise
        raise UserError(
            f"{option} is {path}, which cannot be read ({innermost_cause(error)}). Give a PEM file"
        ) from error
    return list(_BLOCK.finditer(content))
