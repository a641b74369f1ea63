"""Score: the similarity of each generated image to the real image of its row.

Owns the column with the similarity S of the paper. The decisions that use it are in method/filtration.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any

from diffcore_hf.augmentation.stages.batches import load, worker_threads
from diffcore_hf.augmentation.stages.stage import ImageCell, Stage, files_setting
from diffcore_hf.config.augment import FilterConfig
from diffcore_hf.core import images
from diffcore_hf.core.errors import UserError, innermost_cause
from diffcore_hf.core.image_files import NO_FILES, ImageFiles
from diffcore_hf.core.schema import GENERATED_IMAGE, SOURCE_IMAGE

if TYPE_CHECKING:
    from datasets import Features
    from PIL import Image
    from torch import Tensor

    from diffcore_hf.models.tower_resolution import FilterRecord
    from diffcore_hf.models.towers import ImageTower

TOWER_PIXELS = 16_000_000
"""Largest number of pixels of an image that the processor of an image tower gets."""


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
        left, right = (self.tower.embed(side) for side in (real, generated))
        return _cosine(left, right)

    def _similarity(self, real: Sequence[Any], generated: Sequence[Any]) -> Tensor:
        """Return the similarity of each pair of prepared images, (B,) float32 in [-1, 1]."""
        left, right = (self.tower.embed_prepared(side) for side in (real, generated))
        return _cosine(left, right)

    def run(self, *columns: list[Any]) -> dict[str, list[Any]]:
        load(self.tower)
        cells = list(zip(*columns, strict=True))
        similarity: list[float | None] = [None] * len(cells)
        step = self.tower.batch_size
        with ThreadPoolExecutor(worker_threads()) as threads:
            for start in range(0, len(cells), step):
                pairs = threads.map(self._prepared_pair, cells[start : start + step])
                usable = [(start + row, *pair) for row, pair in enumerate(pairs) if pair is not None]
                if not usable:
                    continue
                rows, real, generated = zip(*usable, strict=True)
                for row, value in zip(rows, self._similarity(real, generated).tolist(), strict=True):
                    similarity[row] = value
        return {"similarity": similarity}

    def _prepared_pair(self, cells: tuple[ImageCell | None, ImageCell | None]) -> tuple[Any, Any] | None:
        """Return the inputs of the image tower for both images of a row; None if one of them cannot be read."""
        try:
            real, generated = (self.prepared(cell)[1] for cell in cells)
        except images.UnreadableImage:
            return None
        return real, generated

    def prepared(self, cell: ImageCell | None, look_at: Callable[[bytes], None] | None = None) -> tuple[str, Any]:
        """Return the hash of the bytes of an image, and the input of the image tower. Threads may call it.

        The pixels at full size are freed on return, and the memory of all threads is bounded.

        Args:
            cell: undecoded storage of an image.
            look_at: called with the encoded bytes, before they are decoded.

        Raises:
            PreparationError: the bytes were read, but not decoded or prepared. It has their hash.
            UnreadableImage: the bytes cannot be read.
        """
        with images.reserved(cell, self.files) as content:
            sha256 = images.sha256(content)
            try:
                if look_at is not None:
                    look_at(content)
                return sha256, tower_input(self.tower, images.decode_bytes(content, self.files.grey_range))
            except images.UnreadableImage as error:
                raise PreparationError(str(error), sha256) from error


class PreparationError(images.UnreadableImage):
    """Raised for an image whose bytes were read, but cannot be decoded or prepared for the image tower."""

    def __init__(self, reason: str, sha256: str):
        super().__init__(reason)
        self.sha256 = sha256


def tower_input(tower: ImageTower, image: Image.Image) -> Any:
    """Return the input of an image tower for one RGB image.

    A large image is reduced first, because a processor may need 12 bytes for each of its pixels.

    Raises:
        UnreadableImage: the processor of the tower cannot prepare the image.
    """
    import torch

    pixels = torch.from_numpy(images.to_array(images.at_most(image, TOWER_PIXELS))).permute(2, 0, 1)
    try:
        return tower.prepare(pixels)
    except UserError:
        raise
    except Exception as error:  # processors raise many types for shapes that they do not expect
        raise images.UnreadableImage(f"not prepared for the image tower: {innermost_cause(error)}"[:200]) from error


def _cosine(left: Tensor, right: Tensor) -> Tensor:
    """Return the cosine similarity of each pair of embeddings after they are rounded to float16."""
    from torch.nn.functional import cosine_similarity

    return cosine_similarity(left.half().double(), right.half().double(), dim=-1).clamp(-1, 1).float()
