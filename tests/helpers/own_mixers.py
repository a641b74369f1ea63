"""Mixers outside the package, as a user writes them. Recipes name them `own_mixers:<Class>`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diffcore_hf.core.errors import UserError
from diffcore_hf.training.data.keys import SampleKey
from diffcore_hf.training.mixers.base import BatchContext, Mixed, Mixer, MixerSetup, one_hot

CALLS: list[BatchContext] = []
"""Every context that a mixer of this file received in this process."""


class Recorder(Mixer):
    """Returns the images without mixing them, and stores each context and the training flags of the network."""

    flags: list[set[bool]]

    def __init__(self, setup: MixerSetup):
        super().__init__(setup)
        self.flags = []

    def forward(self, context: BatchContext) -> Mixed:
        CALLS.append(context)
        self.flags.append({module.training for module in context.model.modules()})
        return Mixed(context.images, context.targets)


class Learned(Mixer):
    """Learns a brightness, and updates the average of a weight of the network after each step."""

    def __init__(self, setup: MixerSetup, *, lr: float = 0.5, classifier: str = "Linear"):
        super().__init__(setup)
        self.lr, self.classifier = lr, classifier

    def prepare(self, network: nn.Module, shape: tuple[int, int, int]) -> None:
        if type(network.get_classifier()).__name__ != self.classifier:
            raise UserError(f"own_mixers:Learned needs a {self.classifier} classifier. Use e.g. --model.name resnet18")
        self.gain = nn.Parameter(torch.ones(shape[0]))
        self.register_buffer("average", network.get_classifier().weight.detach().clone())

    def forward(self, context: BatchContext) -> Mixed:
        self.context = context
        return Mixed(context.images * self.gain.reshape(1, -1, 1, 1), context.targets)

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [{"params": [self.gain], "lr": self.lr, "weight_decay": 0.0}]

    def after_step(self, network: nn.Module, progress: float) -> None:
        self.average.lerp_(network.get_classifier().weight.detach(), 0.5)
        if path := os.environ.get("OWN_MIXERS_LOG"):
            record = {
                "progress": progress,
                "gain": self.gain.tolist(),
                "network": type(self.context.model).__name__,
                "rows": [f"{key.epoch} {key.layout_index}" for key in self.context.keys],
            }
            file = Path(path) / f"{os.environ.get('RANK', '0')}.jsonl"
            with open(file, "a", encoding="utf-8") as lines:
                lines.write(json.dumps(record) + "\n")


class Hooked(Mixer):
    """Adds 1 to the logits in the forward pass and computes the targets from them. An option defines its own loss."""

    def __init__(self, setup: MixerSetup, *, own_loss: bool = False):
        super().__init__(setup)
        self.own_loss = own_loss
        self.seen: list[Tensor] = []

    def forward(self, context: BatchContext) -> Mixed:
        @contextmanager
        def during() -> Iterator[list[Tensor]]:
            def hook(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
                self.seen.append(output.detach())
                return output + 1.0

            handle = context.model.get_classifier().register_forward_hook(hook)
            try:
                yield self.seen
            finally:
                handle.remove()

        def targets_after(seen: list[Tensor]) -> Tensor:
            return one_hot(seen[-1].argmax(1), self.setup.classes)

        loss = (lambda logits, targets: 100.0 + 0.0 * logits.sum()) if self.own_loss else None
        return Mixed(context.images, context.targets, during, targets_after, loss)


class OfPairs(Recorder):
    """Requests two tensors from the loader: the generated image of each row, and the mean of each image."""

    asks_for_pairs = True

    def loader_tensors(self, image: Tensor, key: SampleKey) -> Mapping[str, Tensor]:
        return {"mean": image.float().mean(), "layout_index": torch.tensor(key.layout_index)}
