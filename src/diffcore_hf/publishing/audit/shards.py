"""Shards: the columns of a config, batch by batch, so that no shard has to fit into memory, and the images in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from diffcore_hf.publishing.audit.findings import Findings

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Shards:
    """The published tables of a dataset."""

    manifest: Mapping[str, Any]
    """diffcore.json."""
    read: Callable[[str, Sequence[str]], Iterable[pa.Table]]
    """Path of a shard, names of columns -> batches of its rows."""
    names: Callable[[str], Sequence[str]]
    """Path of a shard -> its columns."""
    images: bool
    """Whether every image is read and hashed as well."""

    def splits(self, config: str) -> Mapping[str, Sequence[str]]:
        """Split -> paths of its shards; {} of a config without a row."""
        return self.manifest["configs"].get(config, {})

    def paths(self, config: str) -> list[str]:
        """All shards of a config."""
        return [path for paths in self.splits(config).values() for path in paths]

    def batches(self, config: str, columns: Sequence[str], image: str | None = None) -> Iterator[pa.Table]:
        """Batches of a config; with its column of images only where images are looked at."""
        for path in self.paths(config):
            yield from self.read(path, [*columns, *([image] if image and self.images else [])])

    @property
    def image(self) -> str:
        """The source's own name for its column of images."""
        return self.manifest["recipe"].get("source", {}).get("image", "image")

    @property
    def label(self) -> str:
        """The source's own name for its column of labels."""
        return self.manifest["recipe"].get("source", {}).get("label", "label")


def contents(table: pa.Table, name: str) -> list[bytes | None]:
    """The bytes of a column of images; None where there is no image, or where images are not looked at."""
    if name not in table.column_names:
        return [None] * len(table)
    return [cell and cell["bytes"] for cell in table[name].to_pylist()]


def check_images(
    findings: Findings, what: str, names: Iterable[str], found: Iterable[bytes | None],
    recorded: Iterable[str | None], *, required: bool,
) -> None:  # fmt: skip
    """Hash images against what is recorded of them.

    Args:
        what: to say of an image that does not fit, e.g. "default: the original".
        names: of the rows.
        found: the images.
        recorded: their sha256; None: nothing is recorded.
        required: whether an image whose hash is recorded has to be there.
    """
    for name, content, known in zip(names, found, recorded, strict=True):
        if known is not None and content is None and required:
            findings.add(f"{what} is missing", name)
        elif known is not None and content is not None and sha256(content).hexdigest() != known:
            findings.add(f"{what} is not the image whose hash is recorded", name)
