"""Score: the similarity of each generated image to the real image of its row.

Owns the column with the similarity S of the paper. The decisions that use it are in method/filtration.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any

from diffcore_hf.augmentation.stages.batches import load, worker_threads
from diffcore_hf.augmentation.stages.stage import ImageCell, Stage, files_setting
from diffcore_hf.config.augment import FilterConfig
from diffcore_hf.core import images
from diffcore_hf.core.image_files import NO_FILES, ImageFiles
from diffcore_hf.core.schema import GENERATED_IMAGE, SOURCE_IMAGE

if TYPE_CHECKING:
    from datasets import Features
    from torch import Tensor

    from diffcore_hf.models.tower_resolution import FilterRecord
    from diffcore_hf.models.towers import ImageTower


class Score(Stage):
    """Adds the cosine similarity of each generated image to the real image of its row (S in section 3 of the paper).

    Args:
        config: section `filter` of the recipe; its image tower is used, its policy is not.
        strict: true if an embedding must be the same bit for bit, however the images are divided into batches.
        device: auto, cpu, mps, cuda or cuda:<number>.
        tower: an image tower that is already loaded. It is not pickled.
        files: the files that a real image may name; by default only stored bytes are read.
    """

    VERSION = "1"
    reads = (SOURCE_IMAGE, GENERATED_IMAGE)
    _transient = ("_tower",)

    def __init__(
        self,
        config: FilterConfig,
        *,
        strict: bool = False,
        device: str = "auto",
        tower: ImageTower | None = None,
        files: ImageFiles = NO_FILES,
    ):
        self.config = config
        self.strict = strict
        self.device = device
        self.files = files
        self._tower = tower

    @property
    def adds(self) -> Features:
        from datasets import Features, Value

        return Features({"similarity": Value("float32")})

    @property
    def tower(self) -> ImageTower:
        """The image tower. Its weights are loaded before the first image."""
        if self._tower is None:
            from diffcore_hf.models.towers import ImageTower

            self._tower = ImageTower(self.config, strict=self.strict, device=self.device)
        return self._tower

    @cached_property
    def resolved(self) -> tuple[FilterConfig, FilterRecord]:
        """The filter with its commit, and the facts that a run records about the image tower."""
        from diffcore_hf.models.tower_resolution import resolve_filter

        return resolve_filter(self.config)

    def settings(self) -> dict[str, Any]:
        _, info = self.resolved
        settings = {"identity": info["identity"], "processor": info["processor"], "strict": self.strict}
        return settings | files_setting(self.files)

    def score(self, real: Sequence[Tensor], generated: Sequence[Tensor]) -> Tensor:
        """Return the similarity of each pair of images.

        It is computed from float16 embeddings, because a run stores these. So stored embeddings give the same value.

        Args:
            real: B real images, (3, H, W) uint8 of any sizes.
            generated: B generated images, (3, H, W) uint8 of any sizes.

        Returns:
            (B,) float32 in [-1, 1].
        """
        from torch.nn.functional import cosine_similarity

        left, right = (self.tower.embed(side).half().double() for side in (real, generated))
        return cosine_similarity(left, right, dim=-1).clamp(-1, 1).float()

    def run(self, *columns: list[Any]) -> dict[str, list[Any]]:
        load(self.tower)
        cells = list(zip(*columns, strict=True))
        similarity: list[float | None] = [None] * len(cells)
        step = self.tower.batch_size
        with ThreadPoolExecutor(worker_threads()) as threads:
            for start in range(0, len(cells), step):
                pairs = threads.map(self._decoded_pair, cells[start : start + step])
                usable = [(start + row, *pair) for row, pair in enumerate(pairs) if pair is not None]
                if not usable:
                    continue
                rows, real, generated = zip(*usable, strict=True)
                for row, value in zip(rows, self.score(real, generated).tolist(), strict=True):
                    similarity[row] = value
        return {"similarity": similarity}

    def _decoded_pair(self, cells: tuple[ImageCell | None, ImageCell | None]) -> tuple[Tensor, Tensor] | None:
        """Return the pixels of a real and a generated image; None if one of them cannot be decoded."""
        real, generated = (decode_pixels(cell, self.files) for cell in cells)
        return None if real is None or generated is None else (real, generated)


def decode_pixels(cell: ImageCell | None, files: ImageFiles) -> Tensor | None:
    """Decode an image to (3, H, W) uint8 at full size; None if it is missing or cannot be read."""
    import torch

    if cell is None:
        return None
    try:
        array = images.to_array(images.decode(cell, files))
    except images.UnreadableImage:
        return None
    return torch.from_numpy(array).permute(2, 0, 1)
