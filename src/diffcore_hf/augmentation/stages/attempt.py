"""The stage `Attempt`, which generates, embeds and encodes the images of a part in one pass.

Owns the facts about a generated image. The image tower gets the pixels before they are compressed. The
images are encoded in threads while the next batch is generated. Does not choose the attempts (plan.py, rounds.py) or
decide about them (method/filtration.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any

from diffcore_hf.augmentation.stages.batches import DeviceBatches, Result, load, worker_threads
from diffcore_hf.augmentation.stages.generate import Generate, encode_pixels
from diffcore_hf.augmentation.stages.score import Score
from diffcore_hf.augmentation.stages.stage import Stage
from diffcore_hf.config.augment import Recipe
from diffcore_hf.core import images, schema
from diffcore_hf.core.image_files import NO_FILES, ImageFiles
from diffcore_hf.core.image_marks import ImageMark
from diffcore_hf.core.schema import GENERATED_IMAGE

if TYPE_CHECKING:
    from datasets import Features

    from diffcore_hf.generation.base import Strategy
    from diffcore_hf.models.towers import ImageTower

ADDED = (GENERATED_IMAGE, "image_sha256", "embedding", "reason")


class Attempt(Stage):
    """Adds the facts about one attempt per row: encoded image, hash and embedding, or the reason why they are missing.

    The stage receives a whole part (`batch_size=len(part)`) and divides it into device batches. An image that
    the strategy flags, for example as unsafe, is stored without an embedding. A crashed attempt has no image.

    Args:
        recipe: the recipe; its model, strategy, filter, image_format, store_size, strict and batch_size are used.
        tower: an image tower that is already loaded, such as that of the stage `Reference`. It is not pickled.
        on_progress: called with the number of attempts after each device batch; it is not pickled.
        files: the files that a real image may name; by default only stored bytes are read.
        mark: the XMP mark of the images; see `Generate`.
    """

    VERSION = f"3+{Score.VERSION}"
    _transient = ("on_progress", "on_batch")
    _cached = ("batches",)

    def __init__(
        self,
        recipe: Recipe,
        *,
        tower: ImageTower | None = None,
        on_progress: Callable[[int], None] | None = None,
        files: ImageFiles = NO_FILES,
        mark: ImageMark | None = None,
    ):
        self.generating = Generate(
            recipe.model,
            strategy=recipe.strategy,
            image_format=recipe.image_format,
            store_size=recipe.store_size,
            strict=recipe.strict,
            batch_size=recipe.batch_size,
            checks=recipe.filter.checks,
            files=files,
            mark=mark,
        )
        self.scoring = Score(recipe.filter, strict=recipe.strict, device=recipe.model.device, tower=tower)
        self.on_progress = on_progress
        self.reads = self.generating.reads

    @property
    def adds(self) -> Features:
        features = schema.attempt_facts()
        return type(features)({name: features[name] for name in ADDED})

    @property
    def strategy(self) -> Strategy:
        """The strategy that generates the images."""
        return self.generating.strategy

    @cached_property
    def batches(self) -> DeviceBatches:
        """The division of a part into device batches."""
        return DeviceBatches(self.strategy)

    def settings(self) -> dict[str, Any]:
        return {"generate": self.generating.settings(), "score": self.scoring.settings()}

    def run(self, *columns: list[Any]) -> dict[str, list[Any]]:
        tower = self.scoring.tower
        load(self.strategy, tower)

        def generate_rows(rows: Sequence[int]) -> list[Result]:
            samples = self.generating.sample(columns, rows)
            pixels = samples.images.cpu()
            usable = [position for position, flag in enumerate(samples.flags) if flag is None]
            embeddings: Any = ()
            if usable:
                embeddings = tower.embed([pixels[position] for position in usable]).half().numpy()
            by_position = dict(zip(usable, embeddings, strict=True))
            return [
                ((pixels[position], by_position.get(position)), flag) for position, flag in enumerate(samples.flags)
            ]

        count = len(columns[0])
        encoded: list[Future[bytes] | None] = [None] * count
        embedding: list[Any] = [None] * count
        reasons: list[str | None] = [None] * count
        self.finished = 0
        with ThreadPoolExecutor(worker_threads()) as threads:
            for row, (result, reason) in self.batches.run(generate_rows, count, self.on_progress, self.on_batch):
                reasons[row] = reason
                self.finished += 1
                if result is not None:
                    pixels, embedding[row] = result
                    encoded[row] = threads.submit(self._encode, pixels)
        contents = [future and future.result() for future in encoded]
        return {
            GENERATED_IMAGE: [content and {"bytes": content, "path": None} for content in contents],
            "image_sha256": [content and images.sha256(content) for content in contents],
            "embedding": embedding,
            "reason": reasons,
        }

    def _encode(self, pixels: Any) -> bytes:
        stage = self.generating
        return encode_pixels(pixels, stage.image_format, stage.store_size, stage.mark)
