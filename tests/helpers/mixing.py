"""Batches and networks for the tests of mixers."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import timm
import torch
from torch import nn

from diffcore_hf.config.train import MixerConfig
from diffcore_hf.core import seeding
from diffcore_hf.training.data import framing
from diffcore_hf.training.data.keys import SampleKey
from diffcore_hf.training.engine.losses import classification_loss
from diffcore_hf.training.mixers.base import BatchContext, Mixed, Mixer
from diffcore_hf.training.mixers.registry import make_mixer
from diffcore_hf.training.networks import preact  # noqa: F401  # registers its networks with timm

CLASSES = 5
SIDE = 32


class SmallNetwork(nn.Sequential):
    """A network of a convolution, pooling and a linear layer. It has the methods of timm that mixers call."""

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        return self[0](images)

    def get_classifier(self) -> nn.Module:
        return self[-1]


def small_network() -> SmallNetwork:
    """Returns a network with BatchNorm and dropout, because both depend on the training mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        convolution = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU())
        head = nn.Linear(4, CLASSES)
        return SmallNetwork(convolution, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), head)


def timm_network(kind: str) -> nn.Module:
    """Returns a small network of timm in training mode: resnet, convnext, vit, swin, vgg or preact."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if kind == "swin":
            sizes = {"img_size": SIDE, "patch_size": 4, "window_size": 4, "embed_dim": 16}
            return timm.models.SwinTransformer(**sizes, depths=(1, 1), num_heads=(1, 2), num_classes=CLASSES)
        if kind == "vit":
            sizes = {"img_size": SIDE, "patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 3}
            return timm.models.VisionTransformer(**sizes, num_classes=CLASSES)
        name = {"vgg": "vgg11", "preact": "preact_resnet18"}.get(kind, f"test_{kind}")
        return timm.create_model(name, num_classes=CLASSES)


def network_for(name: str) -> nn.Module:
    """Returns a small network that the mixer with this name supports."""
    return timm_network("vit") if name == "transmix" else small_network()


def batch(count: int = 6, *, seed: int = 0, step: int = 0, model: nn.Module | None = None) -> BatchContext:
    """Returns a batch of random images for the rows 0, 1, 2, ... of epoch 0."""
    random = torch.Generator().manual_seed(count)
    pixels = torch.randint(256, (count, 3, SIDE, SIDE), generator=random, dtype=torch.uint8)
    return BatchContext(
        images=framing.normalised(pixels, framing.HALF),
        targets=torch.arange(count) % CLASSES,
        keys=[SampleKey(f"row-{index}", 0, index) for index in range(count)],
        seed=seed,
        generator=seeding.generator("test", seed, step),
        model=model or small_network().eval(),
        loss=partial(classification_loss, kind="cross_entropy", smoothing=0.0),
        normalisation=framing.HALF,
    )


def permuted(context: BatchContext, order: list[int]) -> BatchContext:
    """Returns a batch with its images in another order."""
    keys = [context.keys[index] for index in order]
    return replace(context, images=context.images[order], targets=context.targets[order], keys=keys)


def probabilities(mixed: Mixed) -> torch.Tensor:
    """Returns (B, K) targets; class indices become one-hot rows."""
    targets = mixed.targets
    return targets if targets.ndim == 2 else nn.functional.one_hot(targets, CLASSES).float()


def mixer(name: str, classes: int = CLASSES, *, network: nn.Module | None = None, **keys) -> Mixer:
    """Returns a registered mixer that is prepared for `network`, or for a small network that it supports."""
    made = make_mixer(MixerConfig(name, **keys), classes)
    assert made is not None
    made.prepare(network or network_for(name), (3, SIDE, SIDE))
    made.register_forward_pre_hook(_add_loader_tensors)
    return made.train()


def _add_loader_tensors(method: Mixer, arguments: tuple[BatchContext]) -> tuple[BatchContext]:
    """Adds the tensors that the loader computes for the mixer."""
    (context,) = arguments
    if type(method).loader_tensors is Mixer.loader_tensors or context.loader_tensors:
        return arguments
    method.setup = replace(method.setup, seed=context.seed)
    pixels = (255 * context.pixels()).round().clamp(0, 255).to(torch.uint8)
    images = [method.loader_tensors(image, key) for image, key in zip(pixels, context.keys, strict=True)]
    return (
        replace(context, loader_tensors={name: torch.stack([each[name] for each in images]) for name in images[0]}),
    )
