"""Reference: embeddings of real images, the facts of round `ref`.

Owns that each real image is decoded at most once, at full resolution and in threads, and that one that cannot be read
is a reason, not an error. Labels and row ids are carried by the part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from diffcore_hf.augmentation.stages.batches import load, worker_threads
from diffcore_hf.augmentation.stages.score import Score
from diffcore_hf.augmentation.stages.stage import Stage
from diffcore_hf.config.augment import FilterConfig
from diffcore_hf.core import images, schema

if TYPE_CHECKING:
    from datasets import Features
    from torch import Tensor

    from diffcore_hf.models.towers import ImageTower

ADDED = ("source_sha256", "embedding", "reason")


class Reference(Stage):
    """The facts about one real image a row: hash of its bytes, embedding, or the reason why there is none.

    Args:
        config: the filter; its tower alone matters here, not its policy.
        strict: equal bits however the work is cut.
        device: auto, cpu, mps, cuda or cuda:<number>.
        on_progress: told the number of images done after each device batch; stays in this process.
    """

    VERSION = f"1+{Score.VERSION}"
    reads = ("source_image",)
    _transient = ("on_progress",)

    def __init__(
        self,
        config: FilterConfig,
        *,
        strict: bool = False,
        device: str = "auto",
        on_progress: Callable[[int], None] | None = None,
    ):
        self.scoring = Score(config, strict=strict, device=device)
        self.on_progress = on_progress

    @property
    def tower(self) -> ImageTower:
        """The image tower, to share with an Attempt."""
        return self.scoring.tower

    def embed_text(self, texts: Sequence[str]) -> Tensor | None:
        """Captions -> (K, d) float32 unit rows; None where the model has no text tower."""
        return self.tower.embed_text(texts)

    @property
    def adds(self) -> Features:
        features = schema.reference_facts()
        return type(features)({name: features[name] for name in ADDED})

    def settings(self) -> dict[str, Any]:
        return self.scoring.settings()

    def run(self, source_image: list[dict | None]) -> dict[str, list]:
        tower = self.tower
        load(tower)
        step = tower.batch_size
        facts: dict[str, list] = {name: [] for name in ADDED}
        with ThreadPoolExecutor(worker_threads()) as threads:
            chunks = [source_image[start : start + step] for start in range(0, len(source_image), step)]
            coming: list[Future] = []
            for place, chunk in enumerate(chunks):
                ready = coming or [threads.submit(self._read, cell) for cell in chunk]
                following = chunks[place + 1] if place + 1 < len(chunks) else []
                coming = [threads.submit(self._read, cell) for cell in following]
                rows = [future.result() for future in ready]
                inputs = [prepared for _, prepared, _ in rows if prepared is not None]
                embeddings = iter(tower.embed_prepared(inputs).half().numpy()) if inputs else iter(())
                for digest, prepared, reason in rows:
                    facts["source_sha256"].append(digest)
                    facts["embedding"].append(None if prepared is None else next(embeddings))
                    facts["reason"].append(reason)
                if self.on_progress is not None:
                    self.on_progress(len(chunk))
        return facts

    def _read(self, cell: dict | None) -> tuple[str | None, dict | None, str | None]:
        """(hash of the bytes, the tower's input, reason); what a photo needs in memory is gone on return."""
        import torch

        digest = None
        try:
            content = images.read_bytes(cell)
            digest = images.sha256(content)
            array = images.to_array(images.decode_bytes(content))
        except images.UnreadableImage as error:
            return digest, None, f"unreadable: {error}"
        return digest, self.tower.prepare(torch.from_numpy(array).permute(2, 0, 1)), None
