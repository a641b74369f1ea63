"""Shards: reads columns and images of the configs in batches, so that no shard has to fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from diffcore_hf.core.manifest import Manifest
from diffcore_hf.publishing.audit.findings import Findings

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Shards:
    """The published tables of a dataset."""

    manifest: Manifest
    read: Callable[[str, Sequence[str]], Iterable[pa.Table]]
    """Path of a shard, names of columns -> batches of its rows."""
    names: Callable[[str], Sequence[str]]
    """Path of a shard -> names of its columns."""
    images: bool
    """Whether every image is read and hashed as well."""

    def splits(self, config: str) -> Mapping[str, Sequence[str]]:
        """Return split -> paths of its shards; {} for a config without rows."""
        return self.manifest["configs"].get(config, {})

    def paths(self, config: str) -> list[str]:
        """Return the paths of all shards of a config."""
        return [path for paths in self.splits(config).values() for path in paths]

    def batches(self, config: str, columns: Sequence[str], image: str | None = None) -> Iterator[pa.Table]:
        """Yield the rows of a config in batches, with the column `image` if images are read."""
        wanted = [*columns, image] if image and self.images else list(columns)
        for path in self.paths(config):
            yield from self.read(path, wanted)

    @property
    def image(self) -> str:
        """The source's name of its image column."""
        return str(self.manifest["recipe"].get("source", {}).get("image", "image"))

    @property
    def label(self) -> str:
        """The source's name of its label column."""
        return str(self.manifest["recipe"].get("source", {}).get("label", "label"))


def image_bytes(table: pa.Table, name: str) -> list[bytes | None]:
    """Return the images of a column; None where a row has no image, or where images are not read."""
    if name not in table.column_names:
        return [None] * len(table)
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
        findings: receives the faults.
        subject: how a fault names the image, e.g. "default: the original".
        rows: the name of each row.
        images: the image of each row.
        recorded: its recorded sha256; None: none is recorded.
        required: whether an image with a recorded hash has to be present.
    """
    for row, image, expected in zip(rows, images, recorded, strict=True):
        if expected is None:
            continue
        if image is None and required:
            findings.add(f"{subject} is missing", row)
        elif image is not None and sha256(image).hexdigest() != expected:
            findings.add(f"{subject} is not the image whose hash is recorded", row)
