"""Manifold Mixup: exact values, the layers of timm's networks, and a training compared with a slow implementation."""

from __future__ import annotations

from itertools import pairwise

import pytest
import timm
import torch
from mixer_training import assert_trains_alike
from mixing import CLASSES, SIDE, batch, mixer, probabilities, small_network, timm_network
from torch import nn

from diffcore_hf.config.train import MixerConfig
from diffcore_hf.core.errors import UserError
from diffcore_hf.training.mixers.base import MixerSetup
from diffcore_hf.training.mixers.manifold_mixup import ManifoldMixup
from diffcore_hf.training.mixers.registry import make_mixer


def prepared(network: nn.Module, side: int = SIDE, per: str = "image", **options) -> ManifoldMixup:
    """Return a mixer that is prepared for a network."""
    method = make_mixer(MixerConfig("manifold_mixup", per=per, options=options), CLASSES)
    method.prepare(network, (3, side, side))
    return method


@pytest.mark.parametrize("per", ["image", "batch"])
def test_mixing_at_layer_0_equals_mixup_bit_for_bit(per):
    manifold = mixer("manifold_mixup", per=per, options={"alpha": 1.0, "layers": [0]})(batch())
    mixup = mixer("mixup", per=per)(batch())
    assert torch.equal(manifold.images, mixup.images) and torch.equal(manifold.targets, mixup.targets)


@pytest.mark.parametrize("layer", [0, 1, 2, 3])
@pytest.mark.parametrize("per", ["image", "batch"])
def test_a_network_of_linear_layers_mixes_its_logits_at_every_layer(layer, per):
    """Compare with z' = L z, where L is the matrix of mixed labels and each image has its own class."""
    torch.manual_seed(0)
    sizes = [3 * SIDE * SIDE, 8, 7, 6]
    hidden = [nn.Sequential(nn.Linear(a, b)) for a, b in pairwise(sizes)]
    hidden[0].insert(0, nn.Flatten())
    network = nn.Sequential(*hidden, nn.Linear(6, CLASSES))
    context = batch(CLASSES, model=network)
    mixed = prepared(network, per=per, layers=[layer])(context)
    with mixed.during():
        logits = network(mixed.images)
    assert torch.allclose(logits, probabilities(mixed) @ network(context.images), atol=1e-4)
    assert not torch.allclose(probabilities(mixed), torch.eye(CLASSES), atol=0.01)


def test_the_hook_is_removed_after_the_step_and_after_an_error():
    network = small_network().eval()
    context = batch(model=network)
    mixed = prepared(network, layers=[1])(context)
    plain = network(context.images)
    with mixed.during():
        assert not torch.equal(network(context.images), plain)
    assert torch.equal(network(context.images), plain)
    with pytest.raises(RuntimeError, match="channels"), mixed.during():
        network(context.images[:, :2])
    assert torch.equal(network(context.images), plain) and not network[0]._forward_hooks


def test_a_compiled_network_is_mixed_too():
    network = small_network().eval()
    compiled = torch.compile(network, backend="eager")
    context = batch(model=network)
    plain = compiled(context.images)
    mixed = prepared(network, layers=[1])(context)
    with mixed.during():
        assert not torch.allclose(compiled(mixed.images), plain)
    assert torch.equal(compiled(context.images), plain)


@pytest.mark.parametrize(
    ("network", "names"),
    [
        ("resnet", ("", "layer1", "layer2")),
        ("convnext", ("", "stages.0", "stages.1")),
        ("vit", ("", "blocks.0", "blocks.1")),
        ("swin", ("", "layers.0", "layers.1")),
        ("vgg", ("", "features.1", "features.4")),
        ("preact", ("", "stages.0", "stages.1")),
    ],
)
def test_the_layers_are_the_input_and_the_first_two_stages(network, names):
    assert prepared(timm_network(network)).names == names


class _TwoOutputs(nn.Module):
    """A stage whose output is a pair of tensors."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Sequential(nn.Conv2d(3, 4, 3))

    def forward(self, images):
        features = self.layer(images)
        return features, features


class _Pooled(nn.Module):
    def forward(self, pair):
        return (pair[0] + pair[1]).mean((2, 3))


def test_a_layer_that_cannot_be_mixed_is_refused_and_the_remedy_works():
    network = nn.Sequential(_TwoOutputs(), _Pooled(), nn.Linear(4, CLASSES))
    with pytest.raises(UserError, match=r"behind layer 1 \(0\).*not one tensor.*layers: \[0\]"):
        prepared(network)
    assert prepared(network, layers=[0]).names == ("",)


def test_a_missing_layer_is_refused_and_the_remedy_works():
    with pytest.raises(UserError, match=r"layers has 7, but the network has the layers 0 to 1\..*layers: \[0, 1\]"):
        prepared(small_network(), layers=[0, 7])
    assert prepared(small_network(), layers=[0, 1]).names == ("", "0")


def test_recomputed_features_are_refused():
    network = timm.create_model("test_resnet", num_classes=CLASSES)
    network.set_grad_checkpointing()
    with pytest.raises(UserError, match="recomputes features"):
        prepared(network)


@pytest.mark.parametrize("layers", [[], [0, 0], [-1], ["stem"], 1, [True]])
def test_wrong_layers_are_refused(layers):
    with pytest.raises(UserError, match="not a list of different numbers from 0"):
        ManifoldMixup(MixerSetup(CLASSES), layers=layers)


@pytest.mark.parametrize("per", ["image", "batch"])
def test_50_training_steps_have_the_losses_of_a_slow_implementation(per):
    def slow(context):
        count, layer = len(context.images), None
        if per == "batch":
            partner = context.generator.permutation(count)
            context.generator.random()
            shares = [context.generator.beta(2, 2)] * count
        else:
            streams = context.streams()
            order = sorted(range(count), key=[stream.random() for stream in streams].__getitem__)
            partner = {order[place]: order[(place + 1) % count] for place in range(count)}
            for stream in streams:
                stream.random()
            shares = [stream.beta(2, 2) for stream in streams]
        layer = context.generator.integers(2)
        features = context.images if layer == 0 else context.model[0](context.images)
        rows = [shares[i] * features[i] + (1 - shares[i]) * features[int(partner[i])] for i in range(count)]
        logits = context.model[layer:](torch.stack(rows).float())
        rows = logits.log_softmax(1)
        loss = 0.0
        for i in range(count):
            own, other = context.targets[i], context.targets[int(partner[i])]
            loss = loss - shares[i] * rows[i, own] - (1 - shares[i]) * rows[i, other]
        return loss / count

    assert_trains_alike(prepared(small_network(), per=per), slow, small_network())
