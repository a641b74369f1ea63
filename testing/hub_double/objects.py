"""Objects: the stored large files, and the tickets (signed links) for uploads and downloads.

An LFS object is uploaded in one request or in parts, and belongs to one repository. Xet is one store for all
repositories, in which a shard registers a file. Files of both are found by their sha256.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field

from testing.hub_double.repos import Repository
from testing.hub_double.wire import Refusal
from testing.hub_double.xet import XetStore


@dataclass
class Upload:
    """A ticket for the upload of one object. It can be used more than once, like a link of the Hub."""

    repository: Repository
    sha256: str
    size: int
    parts: dict[int, bytes] = field(default_factory=dict)


class Objects:
    """The stores of large files, and their tickets."""

    def __init__(self):
        self.xet = XetStore()
        self._lfs: dict[str, bytes] = {}
        self._uploads: dict[str, Upload] = {}
        self._xorbs: dict[str, tuple[str, int, bytes | None]] = {}  # ticket -> name, length, received content
        self._downloads: dict[str, str] = {}  # ticket -> sha256

    def holds(self, repository: Repository, sha256: str) -> bool:
        """Returns whether a commit to the repository may point to the object."""
        return sha256 in repository.objects or sha256 in self.xet.names

    def read(self, sha256: str) -> bytes:
        return self._lfs[sha256] if sha256 in self._lfs else self.xet.read(sha256)

    def size(self, sha256: str) -> int:
        if sha256 in self._lfs:
            return len(self._lfs[sha256])
        return self.xet.files[self.xet.names[sha256]].size

    def create_upload(self, repository: Repository, sha256: str, size: int) -> str:
        """Creates a ticket for uploading an object."""
        ticket = secrets.token_hex(16)
        self._uploads[ticket] = Upload(repository, sha256, size)
        return ticket

    def upload(self, ticket: str) -> Upload:
        if ticket not in self._uploads:
            raise Refusal(403, "the link is not signed by this Hub")
        return self._uploads[ticket]

    def store(self, upload: Upload, content: bytes) -> None:
        if len(content) != upload.size or hashlib.sha256(content).hexdigest() != upload.sha256:
            raise Refusal(
                400, f"the content does not have the sha256 {upload.sha256} and the size of {upload.size} bytes"
            )
        self._lfs[upload.sha256] = content
        upload.repository.objects.add(upload.sha256)

    def expect_xorb(self, name: str, length: int) -> str:
        """Creates a ticket for uploading a xorb, which is stored when it is committed."""
        ticket = secrets.token_hex(16)
        self._xorbs[ticket] = (name, length, None)
        return ticket

    def take_xorb(self, ticket: str, content: bytes) -> None:
        if ticket not in self._xorbs:
            raise Refusal(403, "the link is not signed by this Hub")
        name, length, _ = self._xorbs[ticket]
        if len(content) != length:
            raise Refusal(400, f"{len(content)} bytes were sent, but the ticket is for {length}")
        self._xorbs[ticket] = (name, length, content)

    def commit_xorb(self, name: str, ticket: str) -> bool:
        expected, _, content = self._xorbs.get(ticket, (None, 0, None))
        if expected != name or content is None:
            raise Refusal(404, f"nothing was uploaded with the ticket {ticket}")
        return self.xet.add_xorb(name, content)

    def goal(self, ticket: str) -> str:
        """Returns the sha256 of the object, or the name of the xorb, for which a ticket was created."""
        return self._xorbs[ticket][0] if ticket in self._xorbs else self.upload(ticket).sha256

    def create_download(self, sha256: str) -> str:
        """Creates a ticket for downloading an object."""
        ticket = secrets.token_hex(16)
        self._downloads[ticket] = sha256
        return ticket

    def download(self, ticket: str) -> str:
        if ticket not in self._downloads:
            raise Refusal(403, "the link is not signed by this Hub")
        return self._downloads[ticket]
