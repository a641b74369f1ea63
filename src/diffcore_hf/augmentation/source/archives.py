"""Archives: unpacks zip and tar files of photos into the cache folder of the user.

Only regular files with safe relative names are written. Their number and size are bounded before and while they are
written. An archive is unpacked once: the folder is named by the hash of its content, and another process waits.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import os
import re
import shutil
import stat
import tarfile
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple, cast

from diffcore_hf.augmentation.source.file_kinds import ZIP_HEADS
from diffcore_hf.augmentation.source.files import UnreadFile
from diffcore_hf.augmentation.source.hash_cache import UNSETTLED_NS, cache_folder
from diffcore_hf.augmentation.source.tar_headers import BoundedHeader
from diffcore_hf.core.errors import UserError, environment_fault, innermost_cause
from diffcore_hf.core.folder import write_atomic
from diffcore_hf.core.loading import make_cache

MAX_FILES = 2_000_000
MAX_BYTES = 2**40
MAX_RATIO = 200
"""Largest ratio of unpacked to packed bytes. Photos are already compressed, so a higher ratio means an attack."""
RATIO_FREE = 2**28
"""Number of unpacked bytes below which the ratio does not matter."""
MAX_NAME = 2000
"""Largest length of the name of a member in bytes, because the path of its file is longer."""
MAX_DEPTH = 100
"""Largest number of folders in the name of a member."""

UNSAFE = "member of an archive with an unsafe name"
SPECIAL = "member of an archive that is not a regular file"
REPEATED = "member of an archive whose name another member has"
BY_HAND = "If you trust it, unpack it into a folder and give the folder"
_CHUNK = 2**20


class Member(NamedTuple):
    """One entry of an archive."""

    name: str
    is_file: bool
    open: Callable[[], IO[bytes]]


class Unpacked(NamedTuple):
    """A folder with the files of archives."""

    folder: Path
    unread: tuple[UnreadFile, ...]
    """The members that were not unpacked."""


def unpack(archives: Sequence[Path]) -> Unpacked:
    """Unpacks archives into one folder of the cache and returns it. Several archives get a sub-folder each.

    Args:
        archives: paths of zip or tar files.

    Raises:
        UserError: an archive is damaged, encrypted, or larger than the bounds.
    """
    from filelock import FileLock

    base = cache_folder() / "archives"
    make_cache(base)
    digests = [_digest(archive, base) for archive in archives]
    name = digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()
    target, record = base / name[:32], base / f"{name[:32]}.skipped"
    with FileLock(str(base / f"{name[:32]}.lock")):
        unread = _unpacked_before(target, record)
        if unread is None:
            # Folders of this name were left by a process that was killed, because the lock is held.
            for old in (target, record, *base.glob(f"{name[:16]}.*/")):
                _remove(old)
            working = Path(tempfile.mkdtemp(prefix=f"{name[:16]}.", dir=base))
            try:
                unread = []
                for archive, folder in zip(archives, _folders(archives), strict=True):
                    unread += _unpack_one(archive, working / folder)
                write_atomic(record, _record(working, unread))
                os.rename(working, target)
            finally:
                shutil.rmtree(working, ignore_errors=True)
    return Unpacked(target, tuple(unread))


def is_webdataset(archive: Path) -> bool:
    """Returns whether an archive is a shard of a WebDataset: files of equal name with different suffixes side by side.

    An archive that cannot be read is not a shard.
    """
    names: set[str] = set()
    try:
        with _members(archive) as members:
            for number, member in enumerate(members):
                names.add(member.name)
                if number >= 200:
                    break
    except UserError:
        return False
    suffixes: dict[str, set[str]] = {}
    for name in names:
        stem, dot, suffix = os.path.basename(name).partition(".")
        if dot and not stem.startswith("_"):
            suffixes.setdefault(os.path.join(os.path.dirname(name), stem), set()).add(suffix.lower())
    pairs = [
        found for found in suffixes.values() if found & {"cls", "json", "txt", "label", "labels"} and len(found) > 1
    ]
    return 2 * len(pairs) > len(suffixes)


def _folders(archives: Sequence[Path]) -> list[str]:
    """Returns the sub-folder of each archive; a single archive has no sub-folder."""
    if len(archives) == 1:
        return ["."]
    names: list[str] = []
    for archive in archives:
        name = archive.name.split(".")[0] or "archive"
        names.append(name if name not in names else f"{name}_{len(names)}")
    return names


def _unpacked_before(target: Path, record: Path) -> list[UnreadFile] | None:
    """Returns the members that an earlier call did not unpack; None if the archives have to be unpacked.

    Programs that delete old files, and a loss of power, can leave a folder or a record incomplete.
    """
    if not target.is_dir() or not record.is_file():
        return None
    check, _, body = record.read_bytes().partition(b"\n")
    if check.decode("ascii", "replace") != hashlib.sha256(body).hexdigest():
        return None
    content = json.loads(body)
    if content["size"] != _size(target):
        return None
    return [UnreadFile(path, reason) for path, reason in content["unread"]]


def _record(folder: Path, unread: Sequence[UnreadFile]) -> bytes:
    """Returns the record of an unpacked folder: a hash of the second line; then its size and the unread members."""
    pairs = [(file.path, file.reason) for file in unread]
    body = json.dumps({"size": _size(folder), "unread": pairs}).encode()
    return f"{hashlib.sha256(body).hexdigest()}\n".encode() + body


def _size(folder: Path) -> list[int]:
    """Returns the number of files in a folder, and the number of their bytes."""
    count = size = 0
    for where, _, names in os.walk(folder):
        count += len(names)
        size += sum(os.lstat(os.path.join(where, name)).st_size for name in names)
    return [count, size]


def _remove(path: Path) -> None:
    """Removes a file or a folder of the cache, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _digest(archive: Path, base: Path) -> str:
    """Returns the hash of an archive's content. It is kept in `base` as long as the file is the same."""
    state, started = archive.stat(), time.time_ns()
    key = (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
    kept = base / f"{hashlib.sha256(repr(key).encode()).hexdigest()[:32]}.sha256"
    if kept.is_file() and re.fullmatch("[0-9a-f]{64}", text := kept.read_text(encoding="ascii", errors="replace")):
        return text
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if max(state.st_mtime_ns, state.st_ctime_ns) < started - UNSETTLED_NS:
        _remove(kept)
        write_atomic(kept, digest.encode())
    return digest


@contextmanager
def _members(archive: Path) -> Iterator[Iterator[Member]]:
    """Context with an iterator over the files of an archive.

    Raises:
        UserError: the archive is damaged or encrypted, also while its members are read inside the context.
    """
    try:
        if _is_zip(archive):
            with _open_zip(archive) as packed:
                yield _zip_members(packed)
        else:
            with _open_tar(archive) as unpacked:
                yield _tar_members(unpacked, archive.stat().st_size)
    except UserError:
        raise
    except _FAULTS as error:
        if environment_fault(error):
            raise
        raise UserError(f"{archive} cannot be unpacked: {innermost_cause(error)}. {BY_HAND}") from error


def _is_zip(archive: Path) -> bool:
    """Returns whether a file begins as a zip file. `zipfile` tests the end, and a tar file can end with a zip file."""
    with archive.open("rb") as file:
        return file.read(4).startswith(ZIP_HEADS)


def _open_zip(archive: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(archive)
    except zipfile.BadZipFile:  # the message "File is not a zip file" is also raised if only the end is missing
        raise zipfile.BadZipFile("it is not a complete zip file") from None


def _open_tar(archive: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(archive, "r:*", tarinfo=BoundedHeader)
    except tarfile.ReadError:  # the original message lists a fault for every compression that was tried
        raise tarfile.ReadError("it is not a complete tar file") from None


def _zip_members(file: zipfile.ZipFile) -> Iterator[Member]:
    for info in file.infolist():
        if info.flag_bits & 1:
            raise UserError(f"{file.filename} is encrypted. {BY_HAND}")
        mode = info.external_attr >> 16
        special = bool(stat.S_IFMT(mode)) and not stat.S_ISREG(mode)
        if not info.is_dir():
            yield Member(info.filename, not special, partial(file.open, info))


def _tar_members(file: tarfile.TarFile, packed: int) -> Iterator[Member]:
    position = -1
    while (info := file.next()) is not None:
        file.members = []  # type: ignore[attr-defined]  # tarfile would keep every header in memory
        # The position also counts members that are left out, because they are decompressed too. If it does not grow,
        # a wrong size has led back to an earlier header.
        if file.offset <= position or info.size < 0:
            raise ValueError(f"the header of member {_escaped(info.name)!r} has a wrong size")
        position = file.offset
        if position > RATIO_FREE and position > MAX_RATIO * packed:
            raise ValueError(f"it unpacks to more than {position:,} bytes, {packed:,} packed")
        if not info.isdir():
            opener = cast("Callable[[], IO[bytes]]", partial(file.extractfile, info))
            yield Member(info.name, info.isreg() and not info.issparse(), opener)


_FAULTS = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
)


def _unpack_one(archive: Path, folder: Path) -> list[UnreadFile]:
    """Writes the regular files of one archive below `folder` and returns the other members."""
    packed, written = archive.stat().st_size, 0
    unread: list[UnreadFile] = []
    folder.mkdir(parents=True, exist_ok=True)
    with _members(archive) as members:
        for count, member in enumerate(members):
            if count >= MAX_FILES:
                raise UserError(f"{archive} has more than {MAX_FILES:,} files. {BY_HAND}")
            steps = _steps(member.name)
            target = folder.joinpath(*steps or ())
            reason = ""
            if steps is None:
                reason = UNSAFE
            elif not member.is_file:
                reason = SPECIAL
            elif target.exists() or _below_file(target, folder):
                reason = REPEATED
            if reason:
                unread.append(UnreadFile(f"{archive.name}/{_escaped(member.name)}", reason))
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            written = _write(member.open(), target, archive, packed, written)
    return unread


def _below_file(target: Path, folder: Path) -> bool:
    """Returns whether a part of a path is a file, so that no folder of that name can be made."""
    return any(parent.is_file() for parent in target.parents if parent.is_relative_to(folder))


def _write(source: IO[bytes], target: Path, archive: Path, packed: int, written: int) -> int:
    """Writes one member and returns the number of bytes written so far."""
    with source, target.open("xb") as file:
        while chunk := source.read(_CHUNK):
            written += len(chunk)
            if written > MAX_BYTES or (written > RATIO_FREE and written > MAX_RATIO * packed):
                raise UserError(f"{archive} unpacks to more than {written:,} bytes, {packed:,} packed. {BY_HAND}")
            file.write(chunk)
    return written


def _steps(name: str) -> list[str] | None:
    """Returns the parts of a member's name; None if the path could leave the folder or is not a valid file name."""
    if len(os.fsencode(name)) > MAX_NAME or name.count("/") > MAX_DEPTH:
        return None
    name = name.replace("\\", "/")
    steps = [step for step in name.split("/") if step not in ("", ".")]
    unsafe = name.startswith("/") or "\0" in name or ".." in steps or not steps
    return None if unsafe or ":" in steps[0][:2] or any(len(os.fsencode(step)) > 255 for step in steps) else steps


def _escaped(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()
