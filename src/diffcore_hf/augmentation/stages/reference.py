"""Reference: the stage that embeds real images, for round `ref`.

Each real image is decoded once, at full size and in threads. If an image cannot be read, the reason is recorded and
nothing is raised.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

from diffcore_hf.augmentation.stages.batches import load, worker_threads
from diffcore_hf.augmentation.stages.score import PreparationError, Score
from diffcore_hf.augmentation.stages.stage import ImageCell, Stage
from diffcore_hf.config.augment import FilterConfig
from diffcore_hf.core import images, schema, signals
from diffcore_hf.core.image_files import NO_FILES, ImageFiles
from diffcore_hf.core.schema import SOURCE_IMAGE

if TYPE_CHECKING:
    from datasets import Features
    from torch import Tensor

    from diffcore_hf.models.towers import ImageTower

log = logging.getLogger(__name__)

ADDED = ("source_sha256", "embedding", "reason")


class _ReadImage(NamedTuple):
    """A real image that is prepared for the image tower."""

    sha256: str | None
    """Hash of the encoded bytes; None if they cannot be read."""
    pixels: Any | None
    """Input of the image tower; None if the image cannot be decoded."""
    reason: str | None
    """Reason why the image cannot be read or decoded; None if it can."""


class Reference(Stage):
    """Adds the facts about one real image per row: its hash and its embedding, or the reason why they are missing.

    Args:
        config: section `filter` of the recipe; its image tower is used, its policy is not.
        strict: true if an embedding must be the same bit for bit, however the images are divided into batches.
        device: auto, cpu, mps, cuda or cuda:<number>.
        on_progress: called with the number of images after each device batch; it is not pickled.
        files: the files that a real image may name; by default only stored bytes are read.
    """

    VERSION = f"1+{Score.VERSION}"
    reads = (SOURCE_IMAGE,)
    _transient = ("on_progress", "on_batch")

    def __init__(
        self,
        config: FilterConfig,
        *,
        strict: bool = False,
        device: str = "auto",
        on_progress: Callable[[int], None] | None = None,
        files: ImageFiles = NO_FILES,
    ):
        self.scoring = Score(config, strict=strict, device=device, files=files)
        self.files = files
        self.on_progress = on_progress
        self._dark: list[int] = []

    @property
    def tower(self) -> ImageTower:
        """The image tower; the stage `Attempt` can use the same one."""
        return self.scoring.tower

    def embed_text(self, texts: Sequence[str]) -> Tensor | None:
        """Embed captions as (K, d) float32 rows of norm 1; None if the model has no text tower."""
        return self.tower.embed_text(texts)

    @property
    def adds(self) -> Features:
        features = schema.reference_facts()
        return type(features)({name: features[name] for name in ADDED})

    def settings(self) -> dict[str, Any]:
        return self.scoring.settings()

    def run(self, *columns: list[Any]) -> dict[str, list[Any]]:
        [cells] = columns
        self._dark.clear()
        tower = self.tower
        load(tower)
        step = tower.batch_size
        chunks = [cells[start : start + step] for start in range(0, len(cells), step)]
        facts: dict[str, list[Any]] = {name: [] for name in ADDED}
        with ThreadPoolExecutor(worker_threads()) as threads:
            # The next chunk is decoded while the tower embeds the current one. So only two chunks are in memory.
            next_images: list[Future[_ReadImage]] = []
            for number, chunk in enumerate(chunks):
                if self.on_batch is not None:
                    # The next chunk is decoded at the same time.
                    self.on_batch(range(number * step, min((number + 2) * step, len(cells))))
                current_images = next_images or [threads.submit(self._read, cell) for cell in chunk]
                next_chunk = chunks[number + 1] if number + 1 < len(chunks) else []
                next_images = [threads.submit(self._read, cell) for cell in next_chunk]
                if not self._embedded([future.result() for future in current_images], facts):
                    break
                if self.on_progress is not None:
                    self.on_progress(len(chunk))
        self.finished = len(facts["reason"])
        for column in facts.values():
            column += [None] * (len(cells) - self.finished)
        if self._dark:
            log.warning(
                "%d of %d real images have 16-bit grey of a small range and become nearly black. "
                "Use --source.grey_range data and a new --output",
                len(self._dark),
                len(cells),
            )
        return facts

    def _embedded(self, rows: Sequence[_ReadImage], facts: dict[str, list[Any]]) -> bool:
        """Append the facts of some images, and return whether they were appended. After a signal they are not."""
        if signals.requested() is not None:
            return False
        try:
            with signals.interruptible(signals.BATCH):
                self._embed(rows, facts)
        except signals.Stopped:
            return False
        return True

    def _embed(self, rows: Sequence[_ReadImage], facts: dict[str, list[Any]]) -> None:
        """Append the facts of some images."""
        inputs = [row.pixels for row in rows if row.pixels is not None]
        embeddings = iter(self.tower.embed_prepared(inputs).half().numpy()) if inputs else iter(())
        for row in rows:
            facts["source_sha256"].append(row.sha256)
            facts["embedding"].append(None if row.pixels is None else next(embeddings))
            facts["reason"].append(row.reason)

    def _look_at(self, content: bytes) -> None:
        """Count an image that becomes nearly black, for the log."""
        if self.files.grey_range == "dtype" and images.is_underexposed(content):
            self._dark.append(1)

    def _read(self, cell: ImageCell | None) -> _ReadImage:
        """Read and decode one image; the full-size pixels are freed on return."""
        try:
            sha256, pixels = self.scoring.prepared(cell, self._look_at)
        except PreparationError as error:
            return _ReadImage(error.sha256, None, f"unreadable: {error}")
        except images.UnreadableImage as error:
            return _ReadImage(None, None, f"unreadable: {error}")
        return _ReadImage(sha256, pixels, None)
