"""Xet: a minimal store of the xorbs and shards that hf_xet uploads, from which the bytes of a file are rebuilt.

The formats follow the public specification (huggingface.co/docs/xet). A xorb is a sequence of chunks with headers of 8
bytes. A shard has records of 48 bytes. The first one is a header. Each file has a record with its name, a record for
each term, a verification record for each term, and a record with its sha256. A term is a run of chunks of a xorb.
Names, which are blake3 hashes, are not checked, because the standard library cannot compute them. A file is registered
only if its xorbs are stored and its sha256 is correct.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

from testing.hub_double.lz4 import unpack
from testing.hub_double.wire import Refusal, span

RECORD = 48
BOOKEND = b"\xff" * 32
VERIFIED, WITH_METADATA = 1 << 31, 1 << 30
STORED, LZ4, GROUPED_LZ4 = 0, 1, 2
FOOTER = b"XETBLOB"  # Some clients send a table of chunks after the chunks.


@dataclass(frozen=True)
class Chunk:
    start: int  # position of its header in the xorb
    end: int
    scheme: int
    size: int  # unpacked


@dataclass(frozen=True)
class Term:
    """The chunks [first, last) of a xorb, which contain a run of a file's bytes."""

    xorb: str
    first: int
    last: int
    size: int


@dataclass(frozen=True)
class File:
    terms: tuple[Term, ...]
    sha256: str
    size: int


class XetStore:
    """Xorbs, and the files that shards registered."""

    def __init__(self):
        self.xorbs: dict[str, bytes] = {}
        self.files: dict[str, File] = {}  # by Xet hash
        self.names: dict[str, str] = {}  # sha256 -> Xet hash
        self._chunks: dict[str, list[Chunk]] = {}

    def add_xorb(self, name: str, content: bytes) -> bool:
        """Stores a xorb; returns False if it was stored before."""
        if name in self.xorbs:
            return False
        self._chunks[name] = chunks_of(content)
        self.xorbs[name] = content
        return True

    def add_shard(self, content: bytes) -> None:
        """Registers all files that a shard lists. If one of them is invalid, no file is registered."""
        files = files_of(content)
        for file in files.values():
            if hashlib.sha256(self._rebuild(file.terms)).hexdigest() != file.sha256:
                raise Refusal(400, f"the chunks do not give {file.sha256}")
        self.files |= files
        self.names |= {file.sha256: name for name, file in files.items()}

    def read(self, sha256: str) -> bytes:
        return self._rebuild(self.files[self.names[sha256]].terms)

    def reconstruction(self, name: str, requested: str | None, url: str) -> dict:
        """Returns the description from which a client rebuilds the file `name`, or a range of it.

        The xorbs are at `url`.
        """
        if name not in self.files:
            raise Refusal(404, f"no file {name}")
        file = self.files[name]
        first, last = span(requested, file.size) if requested else (0, file.size - 1)
        terms, offset, position = [], 0, 0
        for term in file.terms:
            start, position = position, position + term.size
            if start <= last and position > first:
                offset = offset if terms else first - start
                terms.append(term)
        return {
            "offset_into_first_range": offset,
            "terms": [
                {"hash": term.xorb, "unpacked_length": term.size, "range": {"start": term.first, "end": term.last}}
                for term in terms
            ],
            "fetch_info": {xorb: self._fetches(xorb, terms, url) for xorb in {term.xorb for term in terms}},
        }

    def _fetches(self, xorb: str, terms: list[Term], url: str) -> list[dict]:
        """Returns the parts of a xorb that the terms need; parts must not overlap, so overlapping terms are merged."""
        runs: list[list[int]] = []
        for first, last in sorted((term.first, term.last) for term in terms if term.xorb == xorb):
            if runs and first <= runs[-1][1]:
                runs[-1][1] = max(last, runs[-1][1])
            else:
                runs.append([first, last])
        chunks = self._chunks[xorb]
        return [
            {
                "range": {"start": first, "end": last},
                "url": f"{url}/{xorb}",
                "url_range": {"start": chunks[first].start, "end": chunks[last - 1].end - 1},
            }
            for first, last in runs
        ]

    def _rebuild(self, terms: tuple[Term, ...]) -> bytes:
        parts = []
        for term in terms:
            if term.xorb not in self.xorbs:
                raise Refusal(400, f"xorb {term.xorb} was never uploaded")
            content = self.xorbs[term.xorb]
            chunks = self._chunks[term.xorb][term.first : term.last]
            if len(chunks) != term.last - term.first or sum(chunk.size for chunk in chunks) != term.size:
                raise Refusal(400, f"xorb {term.xorb} has no such chunks: {term}")
            parts += [unpacked(content, chunk) for chunk in chunks]
        return b"".join(parts)


def chunks_of(xorb: bytes) -> list[Chunk]:
    """Returns the chunks of a serialized xorb. Header: version, packed size (3 bytes), scheme, size (3 bytes)."""
    chunks, position = [], 0
    while position < len(xorb) and not xorb.startswith(FOOTER, position):
        header = xorb[position : position + 8]
        packed, size = int.from_bytes(header[1:4], "little"), int.from_bytes(header[5:8], "little")
        end = position + 8 + packed
        if header[0] != 0 or len(header) < 8 or header[4] > GROUPED_LZ4 or end > len(xorb):
            raise Refusal(400, f"byte {position} of a xorb is not the start of a chunk")
        chunks.append(Chunk(position, end, header[4], size))
        position = end
    return chunks


def unpacked(xorb: bytes, chunk: Chunk) -> bytes:
    packed = xorb[chunk.start + 8 : chunk.end]
    if chunk.scheme == STORED:
        return packed
    plain = unpack(packed)
    if len(plain) != chunk.size:
        raise Refusal(400, f"a chunk has {len(plain)} bytes unpacked, but its header states {chunk.size}")
    if chunk.scheme == LZ4:
        return plain
    # The bytes are grouped by their position modulo four.
    whole, start = bytearray(chunk.size), 0
    for group in range(4):
        size = len(range(group, chunk.size, 4))
        whole[group::4] = plain[start : start + size]
        start += size
    return bytes(whole)


def files_of(shard: bytes) -> dict[str, File]:
    """Returns {Xet hash: File} of the files that a shard registers."""
    files, position = {}, RECORD

    def record() -> bytes:
        nonlocal position
        position += RECORD
        if position > len(shard):
            raise Refusal(400, "the shard ends too early")
        return shard[position - RECORD : position]

    while (header := record())[:32] != BOOKEND:
        flags, count = struct.unpack_from("<II", header, 32)
        if not flags & VERIFIED or not flags & WITH_METADATA:
            raise Refusal(400, "a file of the shard has no verification or no sha256")
        terms = []
        for _ in range(count):
            entry = record()
            _, size, first, last = struct.unpack_from("<IIII", entry, 32)
            terms.append(Term(name_of(entry[:32]), first, last, size))
        for _ in range(count):
            record()  # blake3 over the chunks' hashes: not checked
        sha256 = name_of(record()[:32])
        files[name_of(header[:32])] = File(tuple(terms), sha256, sum(term.size for term in terms))
    return files


def name_of(raw: bytes) -> str:
    """Returns a hash as Xet prints it: four little-endian numbers of 64 bits, each in hex."""
    return "".join(f"{number:016x}" for number in struct.unpack("<4Q", raw))
