"""Signs diffcore.json and compare.json of a dataset, and checks such signatures. This module prints nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from diffcore_hf.core.folder import MANIFEST, Folder, write_atomic
from diffcore_hf.core.leftovers import remove
from diffcore_hf.core.own_files import read_own_file
from diffcore_hf.publishing.audit.files import COMPARISON, SIGNATURES
from diffcore_hf.publishing.audit.report import Verification
from diffcore_hf.publishing.signatures import MAX_BYTES, sign, signature_fault


class Signer:
    """Signs files with one key. Equal bytes are signed once, so a retry asks for no passphrase again.

    Args:
        key: path of an SSH key; None: nothing is signed, and signatures that the folder has are kept.
    """

    def __init__(self, key: str | None) -> None:
        self._key = key
        self._known: dict[bytes, bytes] = {}

    def signatures(self, folder: Path, extra: Mapping[str, bytes]) -> dict[str, bytes]:
        """Return the signatures of a dataset to publish, by the name of their file.

        Args:
            folder: the folder of the dataset.
            extra: published files that the manifest does not list, such as compare.json.
        """
        contents = {MANIFEST: (folder / MANIFEST).read_bytes()}
        if COMPARISON in extra:
            contents[COMPARISON] = extra[COMPARISON]
        found = {}
        for name, content in contents.items():
            signature = self._signature(content) if self._key else _stored(folder, name, content)
            if signature is not None:
                found[SIGNATURES[name]] = signature
        return found

    def _signature(self, content: bytes) -> bytes:
        if content not in self._known:
            self._known[content] = sign(content, self._key or "")
        return self._known[content]


def sign_folder(folder: Folder, key: str) -> None:
    """Write a signature beside diffcore.json."""
    write_atomic(folder.path / SIGNATURES[MANIFEST], sign(folder.manifest_file.read_bytes(), key))


def remove_old_signatures(folder: Path) -> None:
    """Remove the signatures of a dataset that was replaced."""
    for name in SIGNATURES.values():
        remove(folder / name)


def check_signatures(small_file: Callable[[str], bytes | None], signers: str | None, result: Verification) -> None:
    """Check the signatures of a dataset.

    Args:
        small_file: function that returns the content of a small file; None if it does not exist.
        signers: path of a file of signers; None: the signatures are not checked.
        result: gets the faults and notes.
    """
    for name, signature_name in SIGNATURES.items():
        try:
            content, signature = small_file(name), small_file(signature_name)
        except (OSError, ValueError):
            if signers is not None:
                result.faults.append(f"{signature_name} cannot be read. Sign the dataset again")
            continue
        if signers is None and signature is not None:
            result.notes.append(f"{signature_name} was not checked. Use --signer FILE, where FILE lists the signers")
        if signers is None or content is None:
            continue
        if signature is None:
            result.faults.append(f"{name} has no signature {signature_name}")
        elif fault := signature_fault(name, content, signature, signers):
            result.faults.append(fault)


def _stored(folder: Path, name: str, content: bytes) -> bytes | None:
    """Return the signature of a file in a folder; None if there is none, or the published file has other bytes."""
    try:
        signature = read_own_file(folder / SIGNATURES[name])
        fits = len(signature) <= MAX_BYTES and read_own_file(folder / name) == content
    except (OSError, ValueError):
        return None
    return signature if fits else None
