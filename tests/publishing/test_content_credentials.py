"""Tests of signed manifests: what they state, and that files that cannot sign are refused with a remedy that works."""

import io
import json
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest
from c2pa_files import CURVE, openssl, write_chain

from diffcore_hf.core.errors import UserError
from diffcore_hf.core.image_marks import SOURCE_TYPES, ImageMark
from diffcore_hf.core.images import decode_bytes, encode
from diffcore_hf.publishing.content_credentials import ATTEMPT, ImageSigner

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
PROGRAM = ("diffcore-hf", "1.2.3")
MARK = ImageMark("local:0123456789abcdef", "local:" + "a" * 64, "b" * 64)
IMAGE = np.arange(16 * 16 * 3, dtype=np.uint8).reshape(16, 16, 3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Returns a folder with a key, its certificates, and files that cannot sign."""
    folder = tmp_path_factory.mktemp("certificates")
    write_chain(folder)
    both = (folder / "chain.pem").read_text() + (folder / "key.pem").read_text()
    (folder / "both.pem").write_text("Bag Attributes\n" + both)
    (folder / "text.pem").write_text("a letter\0")
    openssl(folder, "pkcs8", "-topk8", "-in", "key.pem", "-passout", "pass:x", "-out", "secret key.pem")
    openssl(folder, "ec", "-in", "key.pem", "-out", "ec.pem")
    openssl(folder, "genpkey", "-algorithm", "X25519", "-out", "x25519.pem")
    openssl(folder, "genpkey", *CURVE, "-out", "other.pem")
    return folder


@pytest.mark.parametrize(
    ("certificate", "key", "words"),
    [
        ("missing.pem", "key.pem", "--c2pa_certificate is missing.pem, which cannot be read (No such file"),
        (".", "key.pem", "--c2pa_certificate is ., which cannot be read (it is a folder)"),
        ("text.pem", "key.pem", "--c2pa_certificate is text.pem, which contains no certificate"),
        ("key.pem", "key.pem", "--c2pa_certificate is key.pem, which contains no certificate"),
        ("chain.pem", "missing.pem", "--c2pa_key is missing.pem, which cannot be read (No such file"),
        ("chain.pem", "chain.pem", "--c2pa_key is chain.pem, which contains no private key"),
        ("chain.pem", "secret key.pem", "--c2pa_key is secret key.pem, whose key has a passphrase"),
        ("chain.pem", "ec.pem", "--c2pa_key is ec.pem, whose key is not in the form PKCS#8"),
        ("chain.pem", "x25519.pem", "--c2pa_key is x25519.pem, a kind of key that C2PA does not allow"),
    ],
)
def test_files_that_cannot_sign_are_one_line_before_the_library_is_imported(
    folder, monkeypatch, certificate, key, words
):
    monkeypatch.chdir(folder)
    monkeypatch.setitem(sys.modules, "c2pa", None)
    with pytest.raises(UserError) as raised:
        ImageSigner(certificate, key, PROGRAM)
    assert str(raised.value).startswith(words) and "\n" not in str(raised.value)
    assert "BEGIN" not in str(raised.value)


def test_a_missing_library_is_one_line_with_its_command(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "c2pa", None)
    with pytest.raises(UserError, match=r"--c2pa needs the library c2pa-python .* pip install 'diffcore-hf\[c2pa\]'"):
        ImageSigner(str(folder / "chain.pem"), str(folder / "key.pem"), PROGRAM)


@pytest.mark.parametrize("image_format", ["jpeg", "png", "webp"])
def test_a_signed_copy_states_model_and_run_and_keeps_pixels_and_mark(folder, image_format):
    c2pa = pytest.importorskip("c2pa")
    from PIL import Image

    image = encode(IMAGE, image_format, MARK)
    copy = ImageSigner(str(folder / "both.pem"), str(folder / "both.pem"), PROGRAM).signed(image, MARK)
    assert np.array_equal(decode_bytes(copy), decode_bytes(image))
    assert Image.open(io.BytesIO(copy)).info["xmp"].strip() == MARK.packet()
    with c2pa.Reader(f"image/{image_format}", io.BytesIO(copy)) as reader:
        read = json.loads(reader.json())
    assert read["validation_state"] == "Valid"
    assert [status["code"] for status in read["validation_status"]] == ["signingCredential.untrusted"]
    manifest = read["manifests"][read["active_manifest"]]
    stated = {assertion["label"]: assertion["data"] for assertion in manifest["assertions"]}
    assert stated == {
        "c2pa.actions.v2": {
            "actions": [
                {
                    "action": "c2pa.created",
                    "digitalSourceType": SOURCE_TYPES + "trainedAlgorithmicMedia",
                    "softwareAgent": {"name": MARK.system, "version": MARK.version},
                }
            ]
        },
        ATTEMPT: {"attempt_digest": MARK.attempt_digest},
    }
    generator = manifest["claim_generator_info"][0]
    assert (generator["name"], generator["version"]) == PROGRAM
    assert manifest["signature_info"]["common_name"] == "Test signer"
    assert manifest["signature_info"].get("time") is None


@pytest.mark.parametrize(
    ("certificate", "key"), [("chain.pem", "other.pem"), ("ca.pem", "ca-key.pem"), ("ca.pem", "key.pem")]
)
def test_a_certificate_that_does_not_fit_is_one_line(folder, certificate, key):
    pytest.importorskip("c2pa")
    with pytest.raises(UserError, match=r"cannot sign \(.*\)\. Give the certificate of this key") as raised:
        ImageSigner(str(folder / certificate), str(folder / key), PROGRAM)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("key", ["secret key.pem", "ec.pem"])
def test_the_command_of_the_error_converts_the_key(folder, tmp_path, monkeypatch, key):
    with pytest.raises(UserError) as raised:
        ImageSigner(str(folder / "chain.pem"), str(folder / key), PROGRAM)
    command = shlex.split(str(raised.value).partition("private: ")[2])
    subprocess.run([*command, "-passin", "pass:x"], cwd=tmp_path, check=True)
    monkeypatch.setitem(sys.modules, "c2pa", None)
    with pytest.raises(UserError, match="needs the library"):  # the key was accepted
        ImageSigner(str(folder / "chain.pem"), str(tmp_path / "NEW.pem"), PROGRAM)


@pytest.mark.parametrize(
    ("words", "certificate_of"),
    [
        (("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"), "es384"),
        (("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"), "es512"),
        (("-algorithm", "ED25519"), "ed25519"),
        (("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"), "ps256"),
    ],
)
def test_the_algorithm_follows_from_the_key(folder, tmp_path, words, certificate_of):
    from diffcore_hf.publishing.content_credentials import _private_key

    openssl(tmp_path, "genpkey", *words, "-out", "key.pem")
    assert _private_key(str(tmp_path / "key.pem"))[1] == certificate_of
