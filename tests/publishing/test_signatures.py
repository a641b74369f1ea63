"""Tests of signatures: the right key is accepted, and hostile signatures and lists of signers are one-line faults."""

import shutil
import subprocess

import pytest

from diffcore_hf.core.errors import UserError
from diffcore_hf.publishing import signatures
from diffcore_hf.publishing.signatures import NAMESPACE, sign, signature_fault

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen")
CONTENT = b"a manifest"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Returns a folder with the keys of two people, and a file of signers for each of them."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("me", "other"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", folder / name], check=True)
        (folder / f"{name}.signers").write_text(f"{name}@example.org {(folder / f'{name}.pub').read_text()}")
    return folder


@pytest.fixture(scope="module")
def signature(folder):
    return sign(CONTENT, str(folder / "me"))


def test_the_signature_of_a_listed_signer_has_no_fault(folder, signature):
    both = folder / "both"
    both.write_text((folder / "other.signers").read_text() + (folder / "me.signers").read_text())
    assert signature_fault("x", CONTENT, signature, str(folder / "me.signers")) is None
    assert signature_fault("x", CONTENT, signature, str(both)) is None


@pytest.mark.parametrize(
    ("content", "change", "signers", "fault"),
    [
        (b"another folder", lambda old: old, "me", "x is not the file that me@example.org signed"),
        (CONTENT, lambda old: old, "other", "the signature of x is not by a signer in "),
        (CONTENT, lambda old: b"", "me", "the signature of x is not by a signer in "),
        (CONTENT, lambda old: b"\0" * 1000, "me", "the signature of x is not by a signer in "),
        (CONTENT, lambda old: old.replace(b"A", b"B"), "me", ""),
        (CONTENT, lambda old: old * 1000, "me", "the signature of x has more than 65,536 bytes"),
    ],
)
def test_another_signature_is_a_fault(folder, signature, content, change, signers, fault):
    found = signature_fault("x", content, change(signature), str(folder / f"{signers}.signers"))
    assert found is not None and found.startswith(fault) and "\n" not in found


def test_a_signature_for_another_purpose_is_a_fault(folder, monkeypatch):
    monkeypatch.setattr(signatures, "NAMESPACE", "git")
    foreign = sign(CONTENT, str(folder / "me"))
    monkeypatch.setattr(signatures, "NAMESPACE", NAMESPACE)
    assert "signed" in signature_fault("x", CONTENT, foreign, str(folder / "me.signers"))


@pytest.mark.parametrize("key", ["missing", "me.signers", "."])
def test_a_file_that_is_no_key_is_one_line_without_its_content(folder, key):
    with pytest.raises(UserError, match=r"--sign is .* Give the path of an SSH key") as raised:
        sign(CONTENT, str(folder / key))
    assert "\n" not in str(raised.value) and "BEGIN" not in str(raised.value)


@pytest.mark.parametrize("signers", ["missing", ".", "empty", "huge"])
def test_a_file_that_lists_no_signers_is_one_line(folder, signature, signers):
    (folder / "empty").write_text("")
    (folder / "huge").write_bytes(b"x" * (2**16 + 1))
    with pytest.raises(UserError, match=r"--signer is .* Give a file with one line for each signer"):
        signature_fault("x", CONTENT, signature, str(folder / signers))


def test_a_missing_program_is_one_line(folder, signature, monkeypatch):
    monkeypatch.setenv("PATH", "")
    for option, call in (
        ("--sign", lambda: sign(CONTENT, str(folder / "me"))),
        ("--signer", lambda: signature_fault("x", CONTENT, signature, str(folder / "me.signers"))),
    ):
        with pytest.raises(UserError, match=f"{option} needs the program ssh-keygen, which is not installed"):
            call()


def test_a_key_with_a_passphrase_and_no_terminal_is_one_line(folder, monkeypatch):
    key = folder / "locked"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-C", "", "-f", key], check=True)
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.delenv("DISPLAY", raising=False)
    run = subprocess.run
    monkeypatch.setattr(
        subprocess, "run", lambda *options, **more: run(*options, **{**more, "start_new_session": True})
    )
    with pytest.raises(
        UserError, match=r"has a passphrase .* add the key to an agent with `ssh-add .*locked`"
    ) as raised:
        sign(CONTENT, str(key))
    assert "\n" not in str(raised.value)
