"""Signatures: SSH signatures of diffcore.json and compare.json, by the program `ssh-keygen`.

diffcore.json names every shard and picture by its hash, so its signature covers them. This module passes the path of a
key to the program. It never opens a private key.
"""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

from diffcore_hf.core.errors import UserError, environment_fault, innermost_cause
from diffcore_hf.core.terminal_text import visible

NAMESPACE = "diffcore-hf"
"""Namespace of the signatures. A signature for another purpose, such as a commit, is not valid here."""
MAX_BYTES = 2**16
"""Largest size of a signature and of a file of signers."""
_PROGRAM = "ssh-keygen"
_SECONDS = 120
_SHOWN = 100
"""Largest number of characters of the name of a signer in a message."""


def sign(content: bytes, key: str) -> bytes:
    """Return the signature of some bytes. The program may ask for the passphrase of the key.

    Args:
        content: the bytes.
        key: path of a private SSH key, or of a public key whose private key an agent holds.

    Raises:
        UserError: the program is not installed, or it refuses the key.
    """
    check_key(key)
    done = _run(["-Y", "sign", "-f", key, "-n", NAMESPACE], content, "--sign", interactive=True)
    if done.returncode and b"passphrase" in done.stderr:
        raise UserError(
            f"--sign is {key}, which has a passphrase ({_reason(done)}). Run in a terminal and type it, or add the key "
            f"to an agent with `ssh-add {shlex.quote(key)}`"
        )
    if done.returncode or not done.stdout.startswith(b"-----BEGIN SSH SIGNATURE-----"):
        raise UserError(
            f"--sign is {key}, which ssh-keygen does not accept ({_reason(done)}). Give the path of an SSH key, e.g. "
            "~/.ssh/id_ed25519"
        )
    return done.stdout


def check_key(key: str | None) -> None:
    """Check that a key is a file. Call this function before a long computation.

    Raises:
        UserError: the key is not a file.
    """
    if key is not None and not os.path.isfile(key):
        raise UserError(f"--sign is {key}, which is not a file. Give the path of an SSH key, e.g. ~/.ssh/id_ed25519")


def signature_fault(name: str, content: bytes, signature: bytes, signers: str) -> str | None:
    """Return the fault of a signature; None if a listed signer made it.

    Args:
        name: name of the signed file, for the message.
        content: its bytes.
        signature: bytes of the signature.
        signers: path of a file in the format of `allowed_signers` of SSH: a name and a public key in each line.

    Raises:
        UserError: the program is not installed, or the file of signers cannot be read.
    """
    check_signers(signers)
    if len(signature) > MAX_BYTES:
        return f"the signature of {name} has more than {MAX_BYTES:,} bytes"
    with tempfile.TemporaryDirectory() as folder:
        stored = Path(folder) / "signature"
        stored.write_bytes(signature)
        found = _run(["-Y", "find-principals", "-s", str(stored), "-f", signers], b"", "--signer")
        names = found.stdout.decode(errors="replace").split("\n")[0].strip()
        if found.returncode or not names:
            return f"the signature of {name} is not by a signer in {signers} ({_reason(found)})"
        signer = names.split(",")[0]
        options = ["-Y", "verify", "-f", signers, "-I", signer, "-n", NAMESPACE, "-s", str(stored)]
        done = _run(options, content, "--signer")
    if done.returncode:
        return f"{name} is not the file that {visible(signer[:_SHOWN])} signed ({_reason(done)})"
    return None


def check_signers(signers: str) -> None:
    """Check the file of signers.

    Raises:
        UserError: it is not a small regular file with at least one line.
    """
    try:
        found = os.stat(signers)
        fits = stat.S_ISREG(found.st_mode) and 0 < found.st_size <= MAX_BYTES
    except (OSError, ValueError) as error:
        if environment_fault(error) is not None:
            raise
        fits = False
    if not fits:
        raise UserError(
            f"--signer is {signers}, which is not a file of signers. Give a file with one line for each signer: a name "
            "and a public key, e.g. `me@example.org ssh-ed25519 AAAA...`"
        )


def _run(
    options: list[str], content: bytes, option: str, *, interactive: bool = False
) -> subprocess.CompletedProcess[bytes]:
    """Run the program with some bytes on standard input.

    Args:
        options: its command line.
        content: the bytes.
        option: option of this package that needs the program, for the error message.
        interactive: whether the program may ask the user on the terminal.
    """
    program = shutil.which(_PROGRAM)
    if program is None:
        raise UserError(
            f"{option} needs the program ssh-keygen, which is not installed. Install OpenSSH 8.2 or later, or leave "
            f"{option} out"
        )
    environment = os.environ | {"LC_ALL": "C"}
    try:
        return subprocess.run(
            [program, *options],
            input=content,
            capture_output=True,
            timeout=None if interactive else _SECONDS,
            env=environment,
            start_new_session=not interactive,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise UserError(
            f"{option}: ssh-keygen failed ({innermost_cause(error)}). Run the same command again"
        ) from error


def _reason(done: subprocess.CompletedProcess[bytes]) -> str:
    """Return the last line of the messages of the program."""
    lines = [line.strip() for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
    return visible(lines[-1][:200]) if lines else f"exit status {done.returncode}"
