"""Strategies without a model: each image is noise that depends only on the columns that the strategy reads."""

from __future__ import annotations

import numpy as np
import torch

from diffcore_hf.generation.base import Samples, Strategy


class Drawn(Strategy):
    """Returns noise for the seed modulo 1000 and the length of the prompt, so that duplicates occur."""

    uses_model = False
    reads = ("prompt", "negative_prompt", "seed")
    kinds = 1000

    def sample(self, batch):
        drawn = [
            np.random.default_rng([seed % self.kinds, len(prompt)]).integers(0, 255, (3, 16, 16), np.uint8)
            for seed, prompt in zip(batch["seed"], batch["prompt"], strict=True)
        ]
        return Samples(torch.from_numpy(np.stack(drawn)), [None] * len(drawn))


class Few(Drawn):
    """Returns noise for the seed modulo 6 and the length of the prompt, so that most images are duplicates."""

    kinds = 6


class OfImage(Drawn):
    """Mixes a noise image with the real image, and adds a brightness that depends on the index of the class."""

    reads = ("source_image", "label", "prompt", "seed")

    def sample(self, batch):
        drawn = super().sample(batch)
        real = np.stack([np.asarray(image.resize((16, 16))).transpose(2, 0, 1) for image in batch["source_image"]])
        shift = np.array(batch["label"], np.uint8).reshape(-1, 1, 1, 1)
        return Samples(drawn.images // 4 + torch.from_numpy(real // 2 + 40 * shift), drawn.flags)


class Prepared(Drawn):
    """Returns noise images with a brightness that depends on all references."""

    def preparation(self):
        return {"kind": "ids"}

    def prepare(self, references, folder):
        (folder / "ids.txt").write_text(" ".join(reference["row_id"] for reference in references))

    def use_preparation(self, folder):
        self.shift = len((folder / "ids.txt").read_text()) % 200

    def sample(self, batch):
        drawn = super().sample(batch)
        return Samples(drawn.images // 4 + self.shift, drawn.flags)


class Restless(Drawn):
    """A strategy with a fault: the inputs of its preparation differ in each call."""

    calls = 0

    def preparation(self):
        Restless.calls += 1
        return {"call": Restless.calls}

    def prepare(self, references, folder):
        (folder / "empty.txt").write_text("")

    def use_preparation(self, folder):
        pass
