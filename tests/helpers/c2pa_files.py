"""Makes keys and certificates for signed manifests with openssl."""

from __future__ import annotations

import subprocess
from pathlib import Path

_EXTENSIONS = (
    "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=emailProtection\n"
    "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
)
CURVE = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")


def openssl(folder: Path, *words: str) -> None:
    """Runs openssl in a folder."""
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


def write_chain(folder: Path) -> None:
    """Writes key.pem and chain.pem, which has the certificate of the key and then that of the issuer (ca.pem)."""
    (folder / "extensions").write_text(_EXTENSIONS)
    for name in ("ca-key.pem", "key.pem"):
        openssl(folder, "genpkey", *CURVE, "-out", name)
    openssl(folder, "req", "-x509", "-new", "-key", "ca-key.pem", "-subj", "/CN=Test issuer/O=Test", "-out", "ca.pem",
            "-days", "300", "-addext", "keyUsage=critical,keyCertSign")  # fmt: skip
    openssl(folder, "req", "-new", "-key", "key.pem", "-subj", "/CN=Test signer/O=Test", "-out", "request")
    openssl(folder, "x509", "-req", "-in", "request", "-CA", "ca.pem", "-CAkey", "ca-key.pem", "-CAcreateserial",
            "-days", "200", "-extfile", "extensions", "-out", "leaf.pem")  # fmt: skip
    (folder / "chain.pem").write_text((folder / "leaf.pem").read_text() + (folder / "ca.pem").read_text())
