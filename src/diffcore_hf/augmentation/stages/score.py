"""Score: how alike each generated image and its row's real image are.

Owns S of the paper as a column. What is kept on the ground of it is method/filtration.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any

from diffcore_hf.augmentation.stages.batches import load, worker_threads
from diffcore_hf.augmentation.stages.stage import Stage
from diffcore_hf.config.augment import FilterConfig
from diffcore_hf.core import images

if TYPE_CHECKING:
    from datasets import Features
    from torch import Tensor

    from diffcore_hf.models.towers import ImageTower


class Score(Stage):
    """Cosine similarity of each generated image to its row's real image (S in section 3 of the paper).

    Args:
        config: the filter; its tower alone matters here, not its policy.
        strict: equal bits however the work is cut.
        device: auto, cpu, mps, cuda or cuda:<number>.
        tower: an image tower to share; stays in this process.
    """

    VERSION = "1"
    reads = ("source_image", "generated_image")
    _transient = ("_tower",)

    def __init__(
        self, config: FilterConfig, *, strict: bool = False, device: str = "auto", tower: ImageTower | None = None
    ):
        self.config = config
        self.strict = strict
        self.device = device
        self._tower = tower

    @property
    def adds(self) -> Features:
        from datasets import Features, Value

        return Features({"similarity": Value("float32")})

    @property
    def tower(self) -> ImageTower:
        """The image tower; its weights load when it is used."""
        if self._tower is None:
            from diffcore_hf.models.towers import ImageTower

            self._tower = ImageTower(self.config, strict=self.strict, device=self.device)
        return self._tower

    @cached_property
    def resolved(self) -> tuple[FilterConfig, dict[str, Any]]:
        """The filter with its commit, and the tower's identity."""
        from diffcore_hf.models.towers import resolve_filter

        return resolve_filter(self.config)

    def settings(self) -> dict[str, Any]:
        _, info = self.resolved
        return {"identity": info["identity"], "processor": info["processor"], "strict": self.strict}

    def score(self, real: Sequence[Tensor], generated: Sequence[Tensor]) -> Tensor:
        """(3, H, W) uint8 of any sizes, as many of each -> (B,) float32 in [-1, 1].

        Like the main job's, from embeddings in float16, so that stored embeddings repeat it.
        """
        from torch.nn.functional import cosine_similarity

        rows = [self.tower.embed(side).half().double() for side in (real, generated)]
        return cosine_similarity(*rows, dim=-1).clamp(-1, 1).float()

    def run(self, source_image: list[dict | None], generated_image: list[dict | None]) -> dict[str, list]:
        load(self.tower)
        similarity: list[float | None] = [None] * len(source_image)
        with ThreadPoolExecutor(worker_threads()) as threads:
            step = self.tower.batch_size
            for start in range(0, len(source_image), step):
                rows = range(start, min(start + step, len(source_image)))
                pairs = threads.map(
                    lambda row: (decode_pixels(source_image[row]), decode_pixels(generated_image[row])), rows
                )
                there = [(row, *pair) for row, pair in zip(rows, pairs, strict=True) if None not in pair]
                if not there:
                    continue
                kept, real, drawn = zip(*there, strict=True)
                for row, value in zip(kept, self.score(real, drawn).tolist(), strict=True):
                    similarity[row] = value
        return {"similarity": similarity}


def decode_pixels(cell: dict | None) -> Tensor | None:
    """An undecoded image -> (3, H, W) uint8 at full resolution; None where there is none that can be read."""
    import torch

    if cell is None:
        return None
    try:
        array = images.to_array(images.decode(cell))
    except images.UnreadableImage:
        return None
    return torch.from_numpy(array).permute(2, 0, 1)
