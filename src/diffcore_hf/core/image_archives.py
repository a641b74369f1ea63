"""Archives: reads an image inside a zip file, which `datasets` names as `zip://member::/path/of/the/archive.zip`.

Owns the form of such a path and the bounds on a member, which is a file in the archive. image_files.py opens the
archive itself, with the same checks as any other file.
"""

from __future__ import annotations

import functools
import os
import zipfile
from pathlib import Path

from diffcore_hf.core.image_formats import HEAD, UnreadableImage, signature

_PREFIX, _SEPARATOR = "zip://", "::"


def archive_of(path: str) -> tuple[str, str] | None:
    """Return the path of the zip file and the name of its member that `path` names; None if it has another form."""
    member, separator, archive = path.removeprefix(_PREFIX).partition(_SEPARATOR)
    if not path.startswith(_PREFIX) or not separator or not member:
        return None
    return archive, member


def file_name(path: str) -> str:
    """Return the file name of an image from its path. The image can be in an archive."""
    archived = archive_of(path)
    return Path(archived[1] if archived else path).name


def read_member(handle: int, archive: str, member: str, most: int) -> bytes:
    """Return the content of an image in a zip file.

    Args:
        handle: the open zip file.
        archive: its path, which identifies it together with its time and size.
        member: name of the image in the archive.
        most: largest number of bytes of the image.

    Raises:
        UnreadableImage: the archive is damaged, or the member is missing, encrypted, too large or no image.
    """
    opened = os.fstat(handle)
    key = (archive, opened.st_ino, opened.st_mtime_ns, opened.st_size, os.getpid())
    try:
        with _index(key, _Handle(handle)).open(member) as file:
            head = file.read(HEAD)
            if signature(head) is None:
                raise UnreadableImage("no image in a known format, in an archive")
            # The size in the directory of the archive is not trusted.
            file.seek(0)
            content = file.read(most + 1)
    except UnreadableImage:
        raise
    except KeyError:
        raise UnreadableImage("no such file in the archive") from None
    except Exception as error:  # zipfile and its decompressors raise many types for damaged archives
        raise UnreadableImage("damaged or encrypted file in an archive") from error
    if len(content) > most:
        raise UnreadableImage(f"more than {most // 10**6} MB, in an archive")
    return content


class _Handle(int):
    """Number of an open file. All handles compare as equal, so `_index` finds a cached archive by its `key` alone."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Handle)

    def __hash__(self) -> int:
        return 0


@functools.lru_cache(maxsize=4)
def _index(key: tuple[str, int, int, int, int], handle: _Handle) -> zipfile.ZipFile:
    """Return an archive with its directory, which is read once. A forked process opens the archive again."""
    return zipfile.ZipFile(os.fdopen(os.dup(handle), "rb"))
