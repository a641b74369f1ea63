"""Hash cache: the sha256 and the header of image files, kept between runs in the cache folder of the user.

A hash is used again if device, inode, size and both times of the file are the same. If the file changed in the last two
seconds before it was read, the hash is not kept, because the clock of a file system may give a later change the same
time. A damaged cache file is ignored.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from diffcore_hf.augmentation.source.file_kinds import Kind
from diffcore_hf.augmentation.source.files import SourceFile, read_kind
from diffcore_hf.augmentation.source.hashes import ImageHash, hash_of, header_text, parse_header
from diffcore_hf.core.folder import write_atomic
from diffcore_hf.core.image_files import ImageFiles
from diffcore_hf.core.image_formats import UnreadableImage

State = tuple[int, int, int, int, int]
"""(device, inode, size, mtime_ns, ctime_ns) of a file."""

Photo = tuple[str | None, SourceFile | None]
"""Absolute path and file of the photo of a row; NO_PHOTO for a row of a table that names none."""
NO_PHOTO: Photo = (None, None)

UNSETTLED_NS = 2 * 10**9
"""Nanoseconds after a change of a file within which a further change may leave the times of the file as they are."""
THREADS = 4
LARGE = 2**24
"""Size in bytes from which files are read one at a time, to bound the memory."""

_HEADER = "diffcore-hf image hashes 3"


def cache_folder() -> Path:
    """Returns the folder below the cache of `datasets` for the files of this package."""
    from datasets import config

    return Path(config.HF_DATASETS_CACHE) / "diffcore-hf"


class HashCache:
    """The hashes of the image files of one source folder.

    Args:
        path: file of the cache. It may not exist.
    """

    def __init__(self, path: Path):
        self.path = path
        self.known = dict(_read(path))
        self.used: dict[State, ImageHash] = {}
        self._lock = threading.Lock()

    @classmethod
    def of_folder(cls, folder: str) -> HashCache:
        """Returns the cache of a source folder, given by its absolute path."""
        name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
        return cls(cache_folder() / "hashes" / f"{name}.txt")

    def kind(self, path: str, state: os.stat_result) -> Kind | str:
        """Returns the kind of a file. A file with a known hash is an image and is not opened."""
        return "image" if _state(state) in self.known else read_kind(path, state)

    def hashes(
        self, files: Sequence[Photo], read: ImageFiles, done: Callable[[int], object] = lambda _: None
    ) -> list[ImageHash]:
        """Returns the hashes of image files, in order.

        Args:
            files: the photos of some rows.
            read: reads the files.
            done: called with a number of finished files.
        """
        results = [ImageHash(None, 0)] * len(files)
        small: list[int] = []
        large: list[int] = []
        for index, (_, file) in enumerate(files):
            known = self.known.get(_key(file)) if file else None
            if file and known:
                results[index] = known
                self.used[_key(file)] = known
            else:
                (large if file and file.size > LARGE else small).append(index)
        done(len(files) - len(small) - len(large))

        def hash_batch(indices: Sequence[int]) -> int:
            for index in indices:
                results[index] = self._hash(*files[index], read)
            return len(indices)

        with ThreadPoolExecutor(THREADS) as threads:
            for finished in threads.map(hash_batch, _batches(small, 64)):
                done(finished)
        for index in large:
            done(hash_batch([index]))
        return results

    def _hash(self, path: str | None, file: SourceFile | None, read: ImageFiles) -> ImageHash:
        started = time.time_ns()
        if path is None:
            return ImageHash(None, 0, "the table names no photo of the folder")
        try:
            content = read.read(path)
            after = os.stat(path)
        except (UnreadableImage, OSError) as error:
            return ImageHash(None, 0, str(error))
        image = hash_of(content)
        settled = max(after.st_mtime_ns, after.st_ctime_ns) < started - UNSETTLED_NS
        if file and settled and _state(after) == _key(file) and len(content) == file.size:
            with self._lock:
                self.used[_key(file)] = image
        return image

    def save(self) -> None:
        """Writes the hashes that this run used. The cache is optional, so a fault of the disk is ignored."""
        nothing_new = self.used.keys() <= self.known.keys()
        if nothing_new and (not self.known or len(self.used) * 2 > len(self.known)):
            return
        lines = [
            f"{' '.join(map(str, key))} {image.sha256} {header_text(image.header)}"
            for key, image in sorted(self.used.items())
        ]
        body = "\n".join(lines)
        check = hashlib.sha256(body.encode()).hexdigest()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(self.path, f"{_HEADER} {check}\n{body}".encode())
        except OSError:
            return


def _key(file: SourceFile) -> State:
    return file.device, file.inode, file.size, file.mtime_ns, file.ctime_ns


def _state(state: os.stat_result) -> State:
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns


def _batches(items: Sequence[int], size: int) -> Iterable[Sequence[int]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _read(path: Path) -> Iterator[tuple[State, ImageHash]]:
    """Yields the entries of a cache file; a missing or damaged file has no entries."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return
        header, _, body = path.read_text(encoding="ascii").partition("\n")
    except (OSError, UnicodeDecodeError):
        return
    if header != f"{_HEADER} {hashlib.sha256(body.encode()).hexdigest()}":
        return
    for line in body.splitlines():
        device, inode, size, mtime_ns, ctime_ns, digest, header = line.split(" ", 6)
        key = (int(device), int(inode), int(size), int(mtime_ns), int(ctime_ns))
        yield key, ImageHash(digest, key[2], header=parse_header(header))
