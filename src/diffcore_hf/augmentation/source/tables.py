"""Tables: files with the names and the classes of photos, such as Kaggle's train.csv and metadata.csv of imagefolder.

Owns the reading of a table and the guess of its two columns. The guess uses the values, not only the titles: the column
of file names is the one whose values name most photos, and the column of classes is one with few different values.
A value is looked up in the list of photos, so a table never leads out of the folder.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TextIO

from diffcore_hf.augmentation.source.split_names import split_of
from diffcore_hf.core.errors import UserError, environment_fault, innermost_cause

if TYPE_CHECKING:
    import pyarrow as pa

Texts = dict[str, list[str | None]]
"""Columns of a table as texts; None for a missing value."""
Find = Callable[[str | None], str | None]
"""Function of a value that returns the photo that it names, or None."""

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
MAX_BYTES = 2**30
"""Largest size of a table in bytes."""
MAX_LINE = 2**20
"""Largest number of characters of a line of a text table."""
METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
"""Names of the tables that imagefolder reads."""

_CLASS_TITLES = ("label", "labels", "class", "class_name", "classname", "category", "species", "breed", "target",
                 "variety", "diagnosis", "type", "name")  # fmt: skip
_SPLIT_TITLES = ("split", "set", "subset", "partition")
_SAMPLE = 1000
_NAMED_SHARE = 0.1
"""Share of the rows that must name a photo in the column of file names."""


@dataclass(frozen=True)
class PhotoTable:
    """A table whose rows are photos."""

    name: str
    """Path of the table, for messages."""
    file_column: str
    class_column: str
    columns: pa.Table
    """All columns of the table, the file names as text."""
    paths: tuple[str | None, ...]
    """Path of the photo of each row; None if there is no such photo."""
    splits: tuple[str, ...]
    """Split of each row."""

    def values_without_photo(self) -> list[str | None]:
        """Returns the values of the column of file names that name no photo."""
        values = self.columns[self.file_column].to_pylist()
        return [value for value, path in zip(values, self.paths, strict=True) if path is None]


class PhotoNames:
    """The photos of a folder, found by the values that tables use for them.

    A value is a path below the table's folder or below the source folder. It may also be the last part of the path of
    one photo anywhere, with or without the suffix.

    Args:
        paths: paths of the photos below the source folder.
    """

    def __init__(self, paths: Sequence[str]):
        self.paths = frozenset(paths)
        self._by_name: dict[str, list[str]] = {}
        for path in paths:
            name = path.rpartition("/")[2]
            self._by_name.setdefault(name, []).append(path)
            stem = name.rpartition(".")[0]
            if stem:
                self._by_name.setdefault(stem, []).append(path)

    def find(self, value: str, folder: str = "", table: str = "") -> str | None:
        """Returns the photo that a value names; None if it names none or several.

        Args:
            value: a value of the table.
            folder: folder of the table below the source folder, with `/` at the end.
            table: name of the table. If several photos have the name, the one in a folder with the name or the split of
                the table is returned.
        """
        steps = value.strip().replace("\\", "/").removeprefix("./")
        if not steps or steps.startswith("/") or ".." in steps.split("/"):
            return None
        for path in (folder + steps, steps):
            if path in self.paths:
                return path
        found = self._by_name.get(steps.rpartition("/")[2], [])
        if "/" in steps:
            found = [path for path in found if path.rpartition(".")[0].endswith(steps) or path.endswith("/" + steps)]
        if len(found) > 1 and table:
            found = [path for path in found if _fits_table(path, table)]
        return found[0] if len(found) == 1 else None


def _fits_table(path: str, table: str) -> bool:
    """Returns whether a folder on the way to a photo has the name, or means the split, of a table."""
    stem = PurePosixPath(table).stem
    meaning = split_of(stem)
    for step in path.split("/")[:-1]:
        other = split_of(step)
        if step == stem or (meaning and other and meaning.split == other.split):
            return True
    return False


def read_photo_table(
    location: Path, name: str, names: PhotoNames, image: str, label: str, folder: str = ""
) -> PhotoTable | str:
    """Reads a table and chooses its columns.

    Args:
        location: path of the file.
        name: its path below the source folder.
        names: the photos of the source folder.
        image: value of `source.image`; the column of file names if the table has it.
        label: value of `source.label`; the column of classes if the table has it.
        folder: folder of the table below the source folder, with `/` at the end.

    Returns:
        The table; or the reason why its rows are not photos with classes.

    Raises:
        UserError: the file cannot be read as a table.
    """
    texts = _read_texts(location, name, names, folder)
    if not any(texts.values()):
        return "it has no rows"
    titles = ", ".join(list(texts)[:8]) + (", ..." if len(texts) > 8 else "")
    for key, title, default in (("image", image, "image"), ("label", label, "label")):
        if title != default and title not in texts:
            return f"it has no column {title!r}; its columns: {titles}. Use --source.{key}"

    def find(value: str | None) -> str | None:
        return None if value is None else names.find(value, folder, name)

    file_column = image if image != "image" else _file_column(texts, find)
    if file_column is None:
        return (
            f"no column names photos of the folder; its columns: {titles}. Correct the names in it, or name the column "
            "of file names with --source.image"
        )
    class_column = _class_column(texts, file_column, label)
    if isinstance(class_column, list):
        several = f"{' or '.join(class_column)} could be" if class_column else "no column repeats its values to be"
        return f"{several} the classes; its columns: {titles}. Use --source.label"
    paths = tuple(find(value) for value in texts[file_column])
    return PhotoTable(
        name, file_column, class_column, _typed(location, texts, file_column), paths, _splits(texts, paths)
    )


def _read_texts(location: Path, name: str, names: PhotoNames, folder: str) -> Texts:
    """Returns a table as texts.

    A CSV file without a line of titles gets the titles column_1, column_2, ...
    """
    try:
        _check_size(location, location.stat().st_size)
        if not _is_text(location):
            return {title: [_text(value) for value in column] for title, column in _arrow(location).to_pydict().items()}
        rows = _csv_rows(location)
    except UserError:
        raise
    except Exception as error:  # csv and pyarrow raise many types for invalid files
        if environment_fault(error):
            raise
        raise UserError(
            f"table {name} cannot be read: {innermost_cause(error)}. Save it as CSV in UTF-8 with one line of titles"
        ) from error
    titles, *lines = rows or [[]]
    if any(names.find(title, folder, name) for title in titles):
        titles, lines = [f"column_{number}" for number in range(1, len(titles) + 1)], rows
    columns = zip(*(line + [""] * (len(titles) - len(line)) for line in lines), strict=False)
    return {
        title: [value or None for value in column] for title, column in zip(_different(titles), columns, strict=False)
    }


def _different(titles: Sequence[str]) -> list[str]:
    """Returns titles of which no two are equal; an empty title is named by its position."""
    found: list[str] = []
    for number, title in enumerate(titles, start=1):
        title = title.strip() or f"column_{number}"
        found.append(title if title not in found else f"{title}.{number}")
    return found


def _is_text(location: Path) -> bool:
    return location.suffix.lower() in (".csv", ".tsv")


def _csv_rows(location: Path) -> list[list[str]]:
    """Returns the lines of a text table that are not empty. Separator and encoding follow from its first lines."""
    with location.open("rb") as file:
        head = file.read(2**16)
    try:
        head[: head.rfind(b"\n") + 1].decode("utf-8")
        encoding = "utf-8-sig"
    except UnicodeDecodeError:
        encoding = "utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "cp1252"
    first = head.decode(encoding, "replace").partition("\n")[0]
    separator = max(",;\t|", key=first.count)
    with location.open(encoding=encoding, newline="") as text:
        return [row for row in csv.reader(_lines(text), delimiter=separator) if any(row)]


def _lines(text: TextIO) -> Iterator[str]:
    """Yields the lines of a text.

    Raises:
        ValueError: a line is too long. Such a file is not a table, and it may be as large as the disk.
    """
    while line := text.readline(MAX_LINE):
        if len(line) == MAX_LINE:
            raise ValueError(f"a line has more than {MAX_LINE:,} characters")
        yield line


def _arrow(location: Path) -> pa.Table:
    """Returns a typed table.

    Raises:
        UserError: it is larger than MAX_BYTES in memory.
    """
    if location.suffix.lower() == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet

        file, batches, size = pyarrow.parquet.ParquetFile(location), [], 0
        for batch in file.iter_batches(batch_size=256):
            batches.append(batch)
            size += batch.nbytes
            _check_size(location, size)
        return pa.Table.from_batches(batches, file.schema_arrow)
    import pyarrow.json

    return pyarrow.json.read_json(location)


def _check_size(location: Path, size: int) -> None:
    if size > MAX_BYTES:
        raise UserError(
            f"table {location.name} holds {size // 2**20:,} MiB, more than {MAX_BYTES // 2**20:,} MiB. Remove the "
            "columns and rows that are not needed"
        )


def _text(value: Any) -> str | None:
    """Returns a value of a typed table as text; None for a missing value and for a list or a struct."""
    if value is None or isinstance(value, (list, dict, bytes)) or value != value:
        return None
    return str(value)


def _typed(location: Path, texts: Texts, file_column: str) -> pa.Table:
    """Returns the table with the types that its values have. The column of file names stays text."""
    import pyarrow as pa

    if _is_text(location):
        text = _text_type(location)
        return pa.table({title: _column(values, text, keep=title == file_column) for title, values in texts.items()})
    table = _arrow(location)
    files = pa.array(texts[file_column], pa.string())
    return table.set_column(table.column_names.index(file_column), file_column, files)


def _text_type(location: Path) -> pa.DataType:
    """Returns the Arrow type of text columns. In a table of imagefolder, it is the type that pandas gives to texts."""
    import pyarrow as pa

    if location.name not in METADATA:
        return pa.string()
    import pandas  # type: ignore[import-untyped]

    return pa.Schema.from_pandas(pandas.DataFrame({"text": ["a"]})).field(0).type


def _column(values: Sequence[str | None], text: pa.DataType, *, keep: bool) -> pa.Array:
    """Returns a column of texts as booleans, integers, numbers or texts: the first type that all values have."""
    import pyarrow as pa

    distinct = set(values) - {None}
    if keep or not distinct or any(value is not None and _changes_as_number(value) for value in distinct):
        return pa.array(values, text)
    if distinct <= {"True", "False"}:
        return pa.array([None if value is None else value == "True" for value in values])
    for kind, convert in ((pa.int64(), int), (pa.float64(), float)):
        try:
            return pa.array([None if value is None else convert(value) for value in values], kind)
        except (ValueError, OverflowError, pa.ArrowInvalid):
            continue
    return pa.array(values, text)


def _changes_as_number(text: str) -> bool:
    """Returns whether a text such as `007`, `1_000` or ` 1` changes if it is converted to a number and back."""
    digits = text.lstrip("+-")
    leading = len(digits) > 1 and digits[0] == "0" and digits[1].isdigit()
    return leading or "_" in text or text != text.strip()


def _file_column(table: Texts, find: Find) -> str | None:
    """Returns the column whose values name most photos; None if no column names enough of them."""
    rows = len(next(iter(table.values())))
    step = max(1, rows // _SAMPLE)
    best, most = None, 0
    for title, values in table.items():
        found = {find(value) for value in values[::step]} - {None}
        if len(found) > most:
            best, most = title, len(found)
    return best if most >= _NAMED_SHARE * len(range(0, rows, step)) else None


def _class_column(table: Texts, file_column: str, wanted: str) -> str | list[str]:
    """Returns the column of classes; or a list of the columns that could be it."""
    others = [title for title in table if title != file_column]
    if wanted in others:
        return wanted
    candidates = [title for title in others if _is_class(table[title])]
    titled = [title for title in candidates if title.lower() in _CLASS_TITLES]
    if titled:
        return min(titled, key=lambda title: _CLASS_TITLES.index(title.lower()))
    words = [title for title in candidates if not _is_number(table[title])]
    for found in (words, candidates):
        if len(found) == 1:
            return found[0]
    return candidates


def _is_class(values: Sequence[str | None]) -> bool:
    """Returns whether values repeat often enough to be classes, and are neither fractions nor splits."""
    present = [value for value in values if value is not None]
    distinct = set(present)
    if not 1 < len(distinct) <= max(2, len(present) // 2):
        return False
    fractions = any("." in value and _float(value) is not None for value in distinct)
    return not fractions and not all(split_of(value) for value in distinct)


def _is_number(values: Sequence[str | None]) -> bool:
    return all(value is None or _float(value) is not None for value in values)


def _float(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


def _splits(table: Texts, paths: Sequence[str | None]) -> tuple[str, ...]:
    """Returns the split of each row: by a column of splits, else by the uppermost folder of the photos, else train."""
    for title, values in table.items():
        if title.lower() in _SPLIT_TITLES and (known := _meanings(values)):
            return tuple("train" if value is None else known[value] for value in values)
    tops = ["" if path is None else path.partition("/")[0] for path in paths]
    known = {top: meaning.split for top in set(tops) if (meaning := split_of(top))}
    if len(set(known.values())) < 2:
        return ("train",) * len(paths)
    return tuple(known.get(top, "train") for top in tops)


def _meanings(values: Sequence[str | None]) -> Mapping[str, str]:
    """Returns the split of each value of a column of splits; {} if at least one value means no split."""
    distinct = {value for value in values if value is not None}
    known = {value: meaning.split for value in distinct if (meaning := split_of(value))}
    return known if len(known) == len(distinct) else {}
