"""Tar headers: reads the headers of a tar file with bounds, because `tarfile` has none.

A header can hold a name of gigabytes, or the list of the millions of pieces of a sparse file. Both can be compressed to
some megabytes.
"""

from __future__ import annotations

import tarfile

MAX_HEADER = 2**20
"""Largest size of a header in bytes."""

_LONG_HEADERS = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)


class BoundedHeader(tarfile.TarInfo):
    """Header of a member of a tar file. It raises ValueError instead of reading a header of unbounded size."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        """Reads what follows the header. `tarfile` calls this method for every header."""
        if self.type in _LONG_HEADERS and not 0 <= self.size <= MAX_HEADER:
            raise ValueError(f"a header in it has {self.size:,} bytes")
        if self.type == tarfile.GNUTYPE_SPARSE and self._sparse_structs[1]:  # type: ignore[attr-defined]
            raise ValueError("a sparse file in it has many pieces")
        return super()._proc_member(archive)  # type: ignore[misc]

    def _proc_gnusparse_10(self, following: tarfile.TarInfo, *_: object) -> None:
        """Marks a sparse file without reading the list of its pieces, because sparse files are not unpacked."""
        following.sparse = []  # type: ignore[assignment]
