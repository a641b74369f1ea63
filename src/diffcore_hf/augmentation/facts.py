"""Facts: the facts of some parts as columns in memory, with one entry per key. Images stay on disk.

Owns the choice of the fact that is used if several parts have one with the same key, and the storage of the columns.
Does not own the files (part_files.py) or their names (ledger.py). A fact is used only if its inputs are those that the
current plan has (inputs.py). If two parts contain such facts with the same key, the fact of the part whose name sorts
first is used.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import overload

import numpy as np
import pyarrow as pa

from diffcore_hf.augmentation.ledger import Ledger
from diffcore_hf.augmentation.part_files import REFERENCES, Location, embedding_rows, keys_of
from diffcore_hf.core.schema import AttemptKey

Wanted = Callable[[AttemptKey], str | None]
"""Function that returns the digest of the inputs that the fact of a key must have; None: no fact is wanted."""
GROWTH_BYTES = 64_000_000
"""Largest number of bytes by which the array of embeddings grows at a time, so that little of it is unused."""
_HASH = 64
"""Number of characters of a hash."""


class Embeddings:
    """The embeddings of facts, as rows of one float16 array. A fact without embedding has a row of NaN."""

    def __init__(self) -> None:
        self._array: np.ndarray | None = None
        self._has = bytearray()

    def __len__(self) -> int:
        return len(self._has)

    def __getitem__(self, index: int) -> np.ndarray:
        """Return the (d,) float16 embedding of a fact; an empty array if the fact has none."""
        if self._array is None or not self._has[index]:
            return np.empty(0, np.float16)
        row: np.ndarray = self._array[index]
        return row

    def width(self) -> int:
        """Return the length of an embedding; 0 if no fact has an embedding."""
        return 0 if self._array is None else int(self._array.shape[1])

    def exist(self, indices: np.ndarray) -> np.ndarray:
        """Return (n,) bool: whether the fact at each index has an embedding; false for the index -1."""
        has = np.zeros(len(self._has) + 1, np.bool_)
        if self._array is not None:
            has[:-1] = self._has
        present: np.ndarray = has[indices]
        return present

    def extend(self, rows: Sequence[np.ndarray] | np.ndarray, has: Sequence[bool]) -> None:
        """Add the embeddings of further facts.

        Args:
            rows: (n, d) array, or n arrays of length d; the row of a fact without embedding is not read.
            has: n flags; whether a fact has an embedding.
        """
        start = len(self._has)
        self._has.extend(has)
        first = next((row for row, flag in zip(rows, has, strict=True) if flag), None)
        width = self.width() if first is None else len(first)
        if not len(has) or not width:
            return
        self._reserve(len(self._has), width, start)
        assert self._array is not None
        if all(has):
            self._array[start : len(self._has)] = rows
            return
        for position, (row, flag) in enumerate(zip(rows, has, strict=True), start):
            self._array[position] = row if flag else np.nan

    def replace(self, index: int, row: np.ndarray | None) -> None:
        """Set the embedding of one fact; None: it has none."""
        self._has[index] = row is not None
        if row is not None:
            self._reserve(len(self._has), self.width() or len(row), len(self._has))
        if self._array is not None:
            self._array[index] = np.nan if row is None else row

    def _reserve(self, rows: int, width: int, used: int) -> None:
        """Make the array large enough for a number of rows."""
        if self._array is None:
            self._array = np.full((rows, width), np.nan, np.float16)
        elif rows > len(self._array):
            more = min(len(self._array), GROWTH_BYTES // (2 * width))
            size = max(rows, len(self._array) + more), width
            try:
                # The system moves the pages of a large array without copying them.
                self._array.resize(size)
            except ValueError:  # a caller has a view of the array
                larger = np.empty(size, np.float16)
                larger[:used] = self._array[:used]
                self._array = larger

    def matrix(self, indices: Sequence[int | None] | np.ndarray, width: int) -> np.ndarray:
        """Return (N, width) float16: the embedding at each index. It may be a view.

        The row for the index None, and for a fact without embedding, is NaN.
        """
        if self._array is None:
            return np.full((len(indices), width), np.nan, np.float16)
        if isinstance(indices, np.ndarray):
            positions = indices
        else:
            positions = np.array([-1 if index is None else index for index in indices], np.int64)
        if len(positions) == len(self._has) and np.array_equal(positions, np.arange(len(positions))):
            return self._array[: len(positions)]
        rows = self._array[positions]
        rows[positions < 0] = np.nan
        return rows


class Hashes(Sequence[str | None]):
    """Hashes of images, in 64 bytes each. The hash of a fact without image is None."""

    def __init__(self) -> None:
        self._text = bytearray()

    def __len__(self) -> int:
        return len(self._text) // _HASH

    @overload
    def __getitem__(self, index: int) -> str | None: ...
    @overload
    def __getitem__(self, index: slice) -> list[str | None]: ...
    def __getitem__(self, index: int | slice) -> str | list[str | None] | None:
        if isinstance(index, slice):
            first, last, step = index.indices(len(self))
            if step != 1:
                return [self[position] for position in range(first, last, step)]
            text = self._text[_HASH * first : _HASH * last].decode()
            return [text[start : start + _HASH].rstrip(" ") or None for start in range(0, len(text), _HASH)]
        position = range(len(self))[index]
        return self._text[_HASH * position : _HASH * (position + 1)].rstrip(b" ").decode() or None

    def extend(self, hashes: Sequence[str | None]) -> None:
        """Add the hashes of further facts."""
        self._text += "".join([(sha256 or "").ljust(_HASH) for sha256 in hashes]).encode()

    def append(self, sha256: str | None) -> None:
        """Add the hash of a further fact."""
        self._text += (sha256 or "").encode().ljust(_HASH)

    def replace(self, index: int, sha256: str | None) -> None:
        """Set the hash of one fact."""
        self._text[_HASH * index : _HASH * (index + 1)] = (sha256 or "").encode().ljust(_HASH)


class Locations(Sequence[Location]):
    """The locations of facts, in 8 bytes each."""

    def __init__(self) -> None:
        self._paths: list[Path] = []
        self._path_of, self._row_of = array("i"), array("i")

    def __len__(self) -> int:
        return len(self._row_of)

    @overload
    def __getitem__(self, index: int) -> Location: ...
    @overload
    def __getitem__(self, index: slice) -> list[Location]: ...
    def __getitem__(self, index: int | slice) -> Location | list[Location]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        return self._paths[self._path_of[index]], self._row_of[index]

    def add_path(self, path: Path) -> None:
        """Set the part to which the rows that are added next belong."""
        self._paths.append(path)

    def append(self, row: int) -> None:
        """Add the location of a fact: a row of the part that was added last."""
        self._path_of.append(len(self._paths) - 1)
        self._row_of.append(row)

    def extend(self, rows: Sequence[int]) -> None:
        """Add the locations of facts: rows of the part that was added last."""
        self._path_of.extend([len(self._paths) - 1] * len(rows))
        self._row_of.extend(rows)

    def replace(self, index: int, row: int) -> None:
        """Set the location of one fact to a row of the part that was added last."""
        self._path_of[index], self._row_of[index] = len(self._paths) - 1, row


class Facts:
    """The facts of some parts as columns in memory, with one entry per key.

    Args:
        wanted: function that returns the digest of the inputs that the fact of a key must have; None: no fact is
            wanted.
    """

    def __init__(self, wanted: Wanted):
        self.wanted = wanted
        self.keys: dict[AttemptKey, int] = {}
        """Key -> index of the fact in the columns."""
        self.embeddings = Embeddings()
        self.reasons: list[str | None] = []
        """Reason that a stage recorded; None if it found no fault."""
        self.sha256 = Hashes()
        """Hash of the image file; None if there is no image."""
        self.locations = Locations()
        """Location of each image."""
        self.unread: set[AttemptKey] = set()
        """Keys of facts about real images that exist but could not be read. A later run reads these images again."""
        self.paths: set[Path] = set()
        """Paths of the parts that were read."""

    @classmethod
    def empty(cls, wanted: Wanted) -> Facts:
        """Return an object without facts, to which facts with the wanted inputs can be added."""
        return cls(wanted)

    @classmethod
    def read(cls, ledger: Ledger, kinds: Iterable[str], wanted: Wanted) -> Facts:
        """Read the facts of all parts of some kinds that have the wanted inputs.

        Raises:
            DamagedPart: a part is damaged, and the ledger does not rename such parts.
        """
        facts = cls(wanted)
        for kind in kinds:
            for path in ledger.parts(kind):
                facts.read_part(ledger, kind, path)
        return facts

    def read_part(self, ledger: Ledger, kind: str, path: Path | None) -> None:
        """Add the facts of one part from its file. A path of None means that the task wrote no part."""
        table = None if path is None else ledger.facts(kind, path)
        if path is not None and table is not None:
            self.add(path, table, is_reference=kind == REFERENCES)

    def add(self, path: Path, table: pa.Table, *, is_reference: bool) -> None:
        """Add the facts of a part that have the wanted inputs. If a key already has such a fact, the first one stays.

        A real image that exists but could not be read keeps its reason until a fact with the wanted inputs is added.
        """
        self.paths.add(path)
        self.locations.add_path(path)
        rows, has = embedding_rows(table["embedding"])
        hashes = table["source_sha256" if is_reference else "image_sha256"].to_pylist()
        inputs, reasons = table["inputs"].to_pylist(), table["reason"].to_pylist()
        keys = keys_of(table)
        if self._all_are_new(keys, inputs):
            self.keys.update(zip(keys, range(len(self), len(self) + len(keys)), strict=True))
            self.reasons += reasons
            self.sha256.extend(hashes)
            self.locations.extend(range(len(keys)))
            self.embeddings.extend(rows, has)
            return
        added: list[int] = []
        for row, key in enumerate(keys):
            if (wanted := self.wanted(key)) is None:
                continue
            fits = inputs[row] == wanted
            if key not in self.keys and (fits or (is_reference and hashes[row] is None)):
                self.keys[key] = len(self.locations)
                self.reasons.append(reasons[row])
                self.sha256.append(hashes[row])
                self.locations.append(row)
                added.append(row)
                if not fits:
                    self.unread.add(key)
            elif fits and key in self.unread:
                self.unread.remove(key)
                index = self.keys[key]
                # The embeddings collected so far are stored first, because the fact at `index` can be one of them.
                self.embeddings.extend([rows[at] for at in added], [has[at] for at in added])
                added = []
                self.embeddings.replace(index, rows[row] if has[row] else None)
                self.reasons[index] = reasons[row]
                self.sha256.replace(index, hashes[row])
                self.locations.replace(index, row)
        self.embeddings.extend([rows[at] for at in added], [has[at] for at in added])

    def _all_are_new(self, keys: Sequence[AttemptKey], inputs: Sequence[str]) -> bool:
        """Return whether all facts of a part have the wanted inputs, and keys that no other fact has."""
        distinct = set(keys)
        return (
            len(distinct) == len(keys)
            and self.keys.keys().isdisjoint(distinct)
            and list(map(self.wanted, keys)) == inputs
        )

    def __len__(self) -> int:
        return len(self.locations)

    def matrix(self, indices: Sequence[int | None] | np.ndarray, width: int) -> np.ndarray:
        """Return (N, width) float16: the embedding at each index, see `Embeddings.matrix`."""
        return self.embeddings.matrix(indices, width)

    def since(self, index: int) -> Iterator[tuple[AttemptKey, int]]:
        """Return the keys and indices of the facts from `index` on, in the order in which they were added."""
        return islice(self.keys.items(), index, None)

    def width(self) -> int:
        """Return the length of an embedding; 0 if no fact has an embedding."""
        return self.embeddings.width()
