"""Shards: reads columns and images of the configurations in batches, so that no shard has to fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain
from typing import TYPE_CHECKING

from diffcore_hf.core.manifest import Manifest
from diffcore_hf.core.schema import TARGET_COLUMNS
from diffcore_hf.publishing.audit.column_types import check_column_types, check_image_type
from diffcore_hf.publishing.audit.findings import Findings

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Shards:
    """The published tables of a dataset."""

    manifest: Manifest
    read: Callable[[str, Sequence[str]], Iterable[pa.Table]]
    """Function of (path of a shard, names of columns) that returns batches of its rows."""
    names: Callable[[str], Sequence[str]]
    """Function of the path of a shard that returns the names of its columns."""
    images: bool
    """Whether the images are also read and hashed."""

    def splits(self, config: str) -> Mapping[str, Sequence[str]]:
        """Return the paths of a configuration's shards by split; {} if it has no rows."""
        return self.manifest["configs"].get(config, {})

    def paths(self, config: str) -> list[str]:
        """Return the paths of all shards of a configuration."""
        return list(chain.from_iterable(self.splits(config).values()))

    def batches(self, config: str, columns: Sequence[str], image: str | None = None) -> Iterator[pa.Table]:
        """Yield the rows of a configuration in batches, with the column `image` if images are read."""
        names = [*columns, image] if image and self.images else list(columns)
        for path in self.paths(config):
            for table in self.read(path, names):
                check_column_types(table, config, (self.image, self.label) if config == "generated" else ())
                yield table

    @property
    def augmented_split(self) -> str:
        """The split of the source that has counterparts."""
        return str(self.manifest["recipe"].get("source", {}).get("split", "train"))

    @property
    def target_columns(self) -> tuple[str, ...]:
        """The names of the columns of drawn classes, without prefix; () if the run drew no classes."""
        strategy = self.manifest["recipe"].get("strategy", {})
        return TARGET_COLUMNS if strategy.get("targets", "own") != "own" else ()

    @property
    def image(self) -> str:
        """The name of the image column in the source."""
        return str(self.manifest["recipe"].get("source", {}).get("image", "image"))

    @property
    def label(self) -> str:
        """The name of the label column in the source."""
        return str(self.manifest["recipe"].get("source", {}).get("label", "label"))


def image_bytes(table: pa.Table, name: str) -> list[bytes | None]:
    """Return the encoded images of a column; None for a row without image, or if images are not read.

    Raises:
        UserError: the column does not contain images.
    """
    if name not in table.column_names:
        return [None] * len(table)
    check_image_type(table[name], name)
    return [cell and cell["bytes"] for cell in table[name].to_pylist()]


def check_images(
    findings: Findings,
    subject: str,
    rows: Iterable[str],
    images: Iterable[bytes | None],
    recorded: Iterable[str | None],
    *,
    required: bool,
) -> None:
    """Compare images with their recorded hashes.

    Args:
        findings: collection to which the faults are added.
        subject: name of the image in a fault, e.g. "default: the original".
        rows: name of each row.
        images: encoded image of each row; None for a row without image.
        recorded: recorded sha256 of each row; None if none is recorded.
        required: whether a row with a recorded hash must have an image.
    """
    for row, image, expected in zip(rows, images, recorded, strict=True):
        if expected is None:
            continue
        if image is None and required:
            findings.add(f"{subject} is missing", row)
        elif image is not None and sha256(image).hexdigest() != expected:
            findings.add(f"{subject} does not have the recorded hash", row)
