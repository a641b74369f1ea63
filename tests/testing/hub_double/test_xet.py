"""Tests of the Xet store: files that hf_xet sent are restored byte for byte, for each way of packing chunks."""

from __future__ import annotations

import random
import secrets

import numpy as np
import pyarrow
import pytest
from hub_calls import commit, download

from testing.hub_double.xet import GROUPED_LZ4, LZ4, STORED, chunks_of, unpacked

CONTENTS = {
    "noise.bin": lambda: secrets.token_bytes(1_000_000),
    "text.bin": lambda: b"".join(b"%032x of %d\n" % (n, secrets.randbelow(99)) for n in range(20_000)) + b"\0",
    "floats.bin": lambda: np.random.default_rng().normal(size=250_001).astype(np.float32).tobytes(),
    "again.bin": lambda: secrets.token_bytes(200_000) * 4,  # several terms of this file have the same chunks
    "small.bin": lambda: secrets.token_bytes(3) + b"\0",
}
SCHEMES = {"noise.bin": STORED, "text.bin": LZ4, "floats.bin": GROUPED_LZ4}


@pytest.mark.parametrize("name", CONTENTS)
def test_a_downloaded_file_equals_the_uploaded_file(hub, xet_client, repo, name):
    before = set(hub.objects.xet.xorbs)
    content = CONTENTS[name]()
    xet_client(commit, repo, {name: content})
    sent = [hub.objects.xet.xorbs[xorb] for xorb in set(hub.objects.xet.xorbs) - before]
    assert hub.content(hub.dataset(repo))[name] == content
    if name in SCHEMES:
        assert SCHEMES[name] in {chunk.scheme for xorb in sent for chunk in chunks_of(xorb)}
    assert xet_client(download, repo, name) == content
    assert hub.log.count("GET", "^/v1/reconstructions/") == 1
    assert hub.log.count("GET", "/resolve/") == 0  # the file is not downloaded over LFS; only a HEAD request is sent


@pytest.mark.parametrize("size", range(1, 10))
def test_grouped_bytes_of_any_length_are_restored_to_their_order(size):
    plain = bytes(range(size))
    packed = pyarrow.compress(b"".join(plain[group::4] for group in range(4)), codec="lz4", asbytes=True)
    header = b"\0" + len(packed).to_bytes(3, "little") + bytes([GROUPED_LZ4]) + size.to_bytes(3, "little")
    [chunk] = chunks_of(header + packed)
    assert unpacked(header + packed, chunk) == plain


def test_a_range_of_a_file_needs_only_some_of_its_chunks(hub, xet_client, repo):
    content = secrets.token_bytes(1_000_000)
    xet_client(commit, repo, {"a.bin": content})
    store = hub.objects.xet
    name = store.names[hub.dataset(repo).files()["a.bin"].sha256]
    plan = store.reconstruction(name, "bytes=500000-500009", "http://storage")
    assert sum(term["unpacked_length"] for term in plan["terms"]) > plan["offset_into_first_range"]


def test_a_small_change_of_a_large_file_sends_few_bytes(hub, xet_client, repo):
    # The content is fixed, because hf_xet divides a file at positions that depend on its content.
    content = random.Random(4).randbytes(2_000_000)
    xet_client(commit, repo, {"a.bin": content})
    hub.log.clear()
    xet_client(commit, repo, {"a.bin": content[:1_000_000] + b"new" + content[1_000_000:]})
    assert 0 < hub.log.uploaded() < 400_000
