"""Attempt: generate, embed and encode in one go, for a part of the ledger.

Owns the facts about a generated image. Pixels go from the model to the tower as they are and are encoded in threads
while the next batch is drawn. Does not own what is attempted (plan, rounds) nor whether it is kept (filtration).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from diffcore_hf.augmentation.stages.batches import Result, in_batches, load, worker_threads
from diffcore_hf.augmentation.stages.generate import Generate, encode_pixels
from diffcore_hf.augmentation.stages.score import Score
from diffcore_hf.augmentation.stages.stage import Stage
from diffcore_hf.config.augment import Recipe
from diffcore_hf.core import images, schema

if TYPE_CHECKING:
    from datasets import Features

    from diffcore_hf.models.towers import ImageTower

ADDED = ("generated_image", "image_sha256", "embedding", "reason")


class Attempt(Stage):
    """The facts about one attempt a row: the encoded image, its hash, its embedding, or the reason why there is none.

    Receives a whole part (`batch_size=len(part)`) and cuts device batches itself. A flagged image is stored as it is,
    without an embedding; a crashed attempt has no image.

    Args:
        recipe: its model, filter, image_format, store_size, strict and batch_size.
        tower: an image tower to share, such as a Reference's; stays in this process.
        on_progress: told the number of attempts done after each device batch; stays in this process.
    """

    VERSION = f"1+{Generate.VERSION}+{Score.VERSION}"
    reads = ("prompt", "negative_prompt", "seed")
    _transient = ("on_progress",)

    def __init__(
        self,
        recipe: Recipe,
        *,
        tower: ImageTower | None = None,
        on_progress: Callable[[int], None] | None = None,
    ):
        self.drawing = Generate(
            recipe.model,
            image_format=recipe.image_format,
            store_size=recipe.store_size,
            strict=recipe.strict,
            batch_size=recipe.batch_size,
        )
        self.scoring = Score(recipe.filter, strict=recipe.strict, device=recipe.model.device, tower=tower)
        self.on_progress = on_progress

    @property
    def adds(self) -> Features:
        features = schema.attempt_facts()
        return type(features)({name: features[name] for name in ADDED})

    def settings(self) -> dict[str, Any]:
        return {"generate": self.drawing.settings(), "score": self.scoring.settings()}

    def run(self, prompt: list[str], negative_prompt: list[str | None], seed: list[int]) -> dict[str, list]:
        model, tower = self.drawing.model, self.scoring.tower
        load(model, tower)

        def work(rows: Sequence[int]) -> list[Result]:
            samples = model.sample(*([column[row] for row in rows] for column in (prompt, negative_prompt, seed)))
            pixels = samples.images.cpu()
            sound = [place for place, flag in enumerate(samples.flags) if flag is None]
            embeddings = tower.embed([pixels[place] for place in sound]).half().numpy() if sound else []
            found = dict(zip(sound, embeddings, strict=True))
            return [((pixels[place], found.get(place)), flag) for place, flag in enumerate(samples.flags)]

        count = len(prompt)
        encoded: list[Any] = [None] * count
        embedding: list[Any] = [None] * count
        reasons: list[str | None] = [None] * count
        with ThreadPoolExecutor(worker_threads()) as threads:
            for row, (made, reason) in in_batches(work, count, model, self.on_progress):
                reasons[row] = reason
                if made is not None:
                    pixels, embedding[row] = made
                    encoded[row] = threads.submit(self._encode, pixels)
        contents = [future and future.result() for future in encoded]
        return {
            "generated_image": [content and {"bytes": content, "path": None} for content in contents],
            "image_sha256": [content and images.sha256(content) for content in contents],
            "embedding": embedding,
            "reason": reasons,
        }

    def _encode(self, pixels: Any) -> bytes:
        return encode_pixels(pixels, self.drawing.image_format, self.drawing.store_size)
