"""Generate: the stage that generates one image per row, from the columns that the strategy reads.

Owns the encoding of generated images. Does not own the generation (generation/), the division into device batches or
the handling of failures (batches.py).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from diffcore_hf.augmentation.marks import mark_of_model
from diffcore_hf.augmentation.stages.batches import DeviceBatches, Result, load, worker_threads
from diffcore_hf.augmentation.stages.samples import checked
from diffcore_hf.augmentation.stages.stage import ImageCell, Stage, attempt_fields, files_setting
from diffcore_hf.augmentation.strategy_weights import resolve_weights_of
from diffcore_hf.config.augment import ModelConfig, StrategyConfig
from diffcore_hf.core import images
from diffcore_hf.core.image_files import NO_FILES, ImageFiles
from diffcore_hf.core.image_marks import ImageMark
from diffcore_hf.core.schema import GENERATED_IMAGE, UNIT_IMAGES
from diffcore_hf.method.checks import checks_of, recorded_reasons

if TYPE_CHECKING:
    from datasets import Features
    from PIL import Image
    from torch import Tensor

    from diffcore_hf.generation.base import Samples, Strategy
    from diffcore_hf.models.model_resolution import ModelRecord

logger = logging.getLogger(__name__)

STRATEGY_PIXELS = 4_000_000
"""Largest number of pixels of a real image that a strategy gets. A whole batch of them is in memory."""
ImageFormat = Literal["jpeg", "png", "webp"]


class Generate(Stage):
    """Adds one generated image per row; null if the generation failed.

    Args:
        config: section `model` of the recipe.
        strategy: section `strategy` of the recipe. The default reads prompt, negative prompt and seed.
        image_format: jpeg (quality 95, 4:4:4), png or webp (lossless).
        store_size: shorter side of the stored image in pixels; None keeps all pixels.
        strict: true if an image must be the same bit for bit, however the rows are divided into batches.
        batch_size: number of images in a device batch. None: it is chosen automatically.
        checks: `filter.checks` of the recipe. The strategy may return the reason of such a check as a flag, if the
            check has `recorded=True`.
        files: the folders whose files the cell of a real image may name. By default there are none, so only images
            that are stored as bytes are read.
        mark: the XMP mark of the images. None: the mark names the model.
    """

    VERSION = "2"
    _transient = ("_strategy",)
    _cached = ("batches",)

    def __init__(
        self,
        config: ModelConfig,
        *,
        strategy: StrategyConfig | None = None,
        image_format: ImageFormat = "jpeg",
        store_size: int | None = 512,
        strict: bool = False,
        batch_size: int | None = None,
        checks: tuple[str, ...] = (),
        files: ImageFiles = NO_FILES,
        mark: ImageMark | None = None,
    ):
        self.config = config
        self.strategy_config = strategy or StrategyConfig()
        self.image_format = image_format
        self.store_size = store_size
        self.strict = strict
        self.batch_size = batch_size
        self.files = files
        self._mark = mark
        self.reasons = recorded_reasons(checks_of(checks))
        self._strategy: Strategy | None = None
        self.reads = self.strategy.reads

    @property
    def adds(self) -> Features:
        from datasets import Features, Image

        return Features({GENERATED_IMAGE: Image()})

    @property
    def strategy(self) -> Strategy:
        """The strategy. Its weights are loaded before the first image."""
        if self._strategy is None:
            from diffcore_hf.generation.base import make_strategy

            self._strategy = make_strategy(
                self.strategy_config, self.config, strict=self.strict, batch_size=self.batch_size
            )
        return self._strategy

    @cached_property
    def resolved(self) -> tuple[ModelConfig, ModelRecord]:
        """Section `model` with `auto` and null replaced by values, and the record of the model."""
        from diffcore_hf.models.model_resolution import resolve_model

        return resolve_model(self.config)

    @property
    def mark(self) -> ImageMark:
        """The mark of the images."""
        if self._mark is None:
            self._mark = mark_of_model(self.resolved[1]) if self.strategy.uses_model else ImageMark()
        return self._mark

    def settings(self) -> dict[str, Any]:
        options, weights = resolve_weights_of(self.strategy_config, self.config)
        named = {"weights": {option: record["identity"] for option, record in weights.items()}} if weights else {}
        return {
            **self._model_settings(),
            **named,
            "strategy": [
                *attempt_fields(options).items(),
                self.strategy.VERSION,
                self.strategy.settings(),
            ],
            "image_format": self.image_format,
            "store_size": self.store_size,
            "strict": self.strict,
            **files_setting(self.files),
        }

    def _model_settings(self) -> dict[str, Any]:
        """Return the settings of the model, and the identities of the model and its adapters.

        The result is empty if the strategy uses no model.
        """
        if not self.strategy.uses_model:
            return {}
        config, info = self.resolved
        return {"model": attempt_fields(config), "identity": [info["identity"], *info["adapters"]]}

    def sample(self, columns: Sequence[Sequence[Any]], rows: Sequence[int]) -> Samples:
        """Generate the images of some rows.

        Args:
            columns: the columns in `reads`, with undecoded images.
            rows: the rows to generate.

        Raises:
            UnreadableImage: the real image of a row cannot be decoded.
            SamplesError: the strategy returned images or flags that its interface does not allow.
        """
        batch: dict[str, list[Any]] = {}
        for name, column in zip(self.reads, columns, strict=True):
            cells = [column[row] for row in rows]
            batch[name] = [self._source_image(cell) for cell in cells] if name in UNIT_IMAGES else cells
        return checked(self.strategy.sample(batch), len(rows), self.strategy_config.name, self.reasons)

    def _source_image(self, cell: ImageCell | None) -> Image.Image:
        """Return a real image for the strategy, with at most STRATEGY_PIXELS pixels."""
        with images.reserved(cell, self.files) as content:
            return images.at_most(images.decode_bytes(content, self.files.grey_range), STRATEGY_PIXELS)

    def generate(self, *columns: Sequence[Any]) -> Tensor:
        """Generate one image per row without encoding it.

        Args:
            columns: the columns in `reads`, by default prompts, negative prompts and seeds.

        Returns:
            (B, 3, H, W) uint8, flagged images included.
        """
        return self.sample(columns, range(len(columns[0]))).images

    @cached_property
    def batches(self) -> DeviceBatches:
        """The division of rows into device batches."""
        return DeviceBatches(self.strategy)

    def run(self, *columns: list[Any]) -> dict[str, list[Any]]:
        load(self.strategy)

        def generate_rows(rows: Sequence[int]) -> list[Result]:
            samples = self.sample(columns, rows)
            pixels = samples.images.cpu()
            return [(image if flag is None else None, flag) for image, flag in zip(pixels, samples.flags, strict=True)]

        count, mark = len(columns[0]), self.mark
        cells: list[Any] = [None] * count
        with ThreadPoolExecutor(worker_threads()) as threads:
            for row, (image, reason) in self.batches.run(generate_rows, count):
                if reason is None:
                    cells[row] = threads.submit(encode_pixels, image, self.image_format, self.store_size, mark)
                else:
                    logger.warning("no image for %s: %s", self._described(columns, row), reason)
        return {GENERATED_IMAGE: [cell and {"bytes": cell.result(), "path": None} for cell in cells]}

    def _described(self, columns: Sequence[Sequence[Any]], row: int) -> str:
        """Return the name of a row for a log line: its seed, or its index if the strategy reads no seed."""
        return f"seed {columns[self.reads.index('seed')][row]}" if "seed" in self.reads else f"row {row} of the batch"


def encode_pixels(image: Tensor, image_format: ImageFormat, store_size: int | None, mark: ImageMark) -> bytes:
    """Return the encoded file of an image (3, H, W) uint8 on the CPU, after it is reduced to `store_size`."""
    from PIL import Image

    picture = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
    return images.encode(images.shrink(picture, store_size), image_format, mark)
