"""AutoMix and SAMix: exact cases of masks and losses, the averaged network, and a short training."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from mixing import CLASSES, batch, mixer, probabilities, small_network, timm_network
from torch.nn import functional

from diffcore_hf.core.errors import UserError
from diffcore_hf.training.mixers.automix import MaskGenerator, mask_loss
from diffcore_hf.training.mixers.base import evaluation_mode


@pytest.mark.parametrize("name", ["automix", "samix"])
def test_a_generator_whose_value_layer_is_zero_gives_mixup_with_one_half(name):
    method = mixer(name, options={"clean_loss": False, "margin": 0.0})
    for parameter in method.generator.value.parameters():
        torch.nn.init.zeros_(parameter)
    context = batch(CLASSES)
    mixed = method(context)
    used = (probabilities(mixed) > 0).float() / 2
    assert torch.allclose(mixed.images, torch.einsum("ij,jchw->ichw", used, context.images), atol=1e-5)


@pytest.mark.parametrize("per", ["image", "batch"])
def test_lambda_inside_the_margin_is_mixup_bit_for_bit(per):
    automix = mixer("automix", per=per, options={"clean_loss": False, "margin": 1.0, "alpha": 1.0})(batch())
    mixup = mixer("mixup", per=per)(batch())
    assert torch.equal(automix.images, mixup.images) and torch.equal(automix.targets, mixup.targets)


def test_the_mask_loss_ignores_differences_below_its_margin():
    masks = torch.stack([torch.full((2, 2), value) for value in (0.5, 0.5, 0.9)])
    assert mask_loss(masks, torch.tensor([0.45, 0.8, 0.99]), 0.08).item() == pytest.approx(0.2 / 2)


def test_the_averaged_network_follows_in_closed_form_and_copies_buffers():
    """If the network has the constant weight w, k_n - w is (k_0 - w) times the product of the momenta."""
    method, network = mixer("automix"), small_network()
    start = [weight.clone() for weight in method.averaged.parameters()]
    for weight in network.parameters():
        weight.data += 1.0
    network[0][1].running_mean += 3.0
    factor = 1.0
    for step in range(1, 6):
        method.after_step(network, step / 5)
        factor *= 0.99999 - (0.99999 - 0.999) * (1 + math.cos(math.pi * step / 5)) / 2
    for averaged, before in zip(method.averaged.parameters(), start, strict=True):
        assert torch.allclose(averaged, before + 1 - factor, atol=1e-6)
    assert torch.equal(method.averaged[0][1].running_mean, network[0][1].running_mean)
    assert method.progress == 1.0


def test_only_the_generator_gets_gradients_and_the_averaged_network_stays_in_evaluation_mode():
    method = mixer("automix")
    network = small_network().train()
    mixed = method(batch(model=network))
    mixed.loss(network(mixed.images), mixed.targets).backward()
    assert all(weight.grad is not None for weight in method.generator.parameters())
    assert all(weight.grad is None for weight in method.averaged.parameters())
    assert not any(module.training for module in method.averaged.modules()) and method.generator.training
    assert len(mixed.images) == 12 and mixed.targets.shape == (6, CLASSES)


def test_a_network_without_a_feature_map_is_refused():
    with pytest.raises(UserError, match="Use --mixer.name cutmix, or --model.name resnet50"):
        mixer("automix", network=timm_network("vit"))


def slow_mask(generator: MaskGenerator, own, other, lam, side):
    """Return the mask of one partner, computed position by position."""
    _, height, width = own.shape
    query = generator.query.weight[:, :, 0, 0]
    value = generator.value.weight[0, :, 0, 0]
    cells = [(row, column) for row in range(height) for column in range(width)]
    ends = (
        [torch.cat([own[:, r, c], lam[None]]) for r, c in cells],
        [torch.cat([other[:, r, c], 1 - lam[None]]) for r, c in cells],
    )
    queries, keys = (torch.stack([query @ cell + generator.query.bias for cell in end]) for end in ends)
    values = torch.stack([value @ cell + generator.value.bias[0] for cell in ends[1]])
    logits = (queries @ keys.T / math.sqrt(len(query))).softmax(1) @ values
    places = [int(position * height / side) for position in range(side)]
    return logits.reshape(height, width).sigmoid()[places][:, places]


def slow_draws(context):
    """Return partner and lambda of each image, for the network and for the generator."""
    count, streams = len(context.images), context.streams()
    first = [stream.random() for stream in streams]
    for stream in streams:
        stream.random()
    draws = [(stream.beta(2, 2), stream.random(), stream.beta(2, 2)) for stream in streams]
    result = []
    for positions, place in ((first, 0), ([draw[1] for draw in draws], 2)):
        order = sorted(range(count), key=positions.__getitem__)
        partner = {order[at]: order[(at + 1) % count] for at in range(count)}
        result.append([(partner[i], draws[i][place]) for i in range(count)])
    return result


def slow_samix_mask(generator, own, other, lam, side):
    """Return the mask of SAMix for one partner, position by position, with the bilinear enlargement of torch."""
    own, other = own * (1 + lam), other * (2 - lam)
    _, height, width = own.shape
    cells = [(row, column) for row in range(height) for column in range(width)]
    both = [torch.cat([own[:, r, c], other[:, r, c]]) for r, c in cells]
    queries, keys = (
        torch.stack([layer.weight[:, :, 0, 0] @ cell + layer.bias for cell in both])
        for layer in (generator.query, generator.key)
    )
    first, second = generator.value[0], generator.value[2]
    values = []
    for r, c in cells:
        hidden = (first.weight[:, :, 0, 0] @ other[:, r, c] + first.bias).clamp_min(0)
        values.append(second.weight[0, :, 0, 0] @ hidden + second.bias[0])
    logits = (queries @ keys.T / math.sqrt(queries.shape[1])).softmax(1) @ torch.stack(values)
    enlarged = functional.interpolate(logits.reshape(1, 1, height, width), side, mode="bilinear")
    return enlarged[0, 0].sigmoid()


def test_the_mask_cost_of_samix_is_lower_for_masks_that_vary():
    masks = torch.tensor([[[0.0, 1.0], [0.0, 1.0]], [[0.5, 0.5], [0.5, 0.5]]])
    method = mixer("samix")
    assert method.mask_cost(masks, torch.tensor([0.5, 0.5])).item() == pytest.approx(-2 * 0.25 / 2)


@pytest.mark.parametrize(("name", "mask_of", "spread"), [("automix", slow_mask, 0.0), ("samix", slow_samix_mask, 2.0)])
def test_50_training_steps_have_the_losses_of_a_slow_implementation(name, mask_of, spread):
    steps, rate = 50, 0.05
    method = mixer(name)
    generator, network = copy.deepcopy(method.generator), small_network().train()
    network[3].p = 0.0
    slow = copy.deepcopy(network)
    averaged = copy.deepcopy(network).eval().requires_grad_(False)
    fast_optimizer = torch.optim.SGD([{"params": network.parameters()}, *method.parameter_groups()], lr=rate)
    slow_optimizer = torch.optim.SGD(
        [{"params": slow.parameters()}, {"params": generator.parameters(), "lr": 0.01}], lr=rate
    )
    for step in range(steps):
        context = batch(4, seed=step, step=step, model=network)
        small = context.images[..., :8, :8].contiguous()
        object.__setattr__(context, "images", small)
        with evaluation_mode(network):
            mixed = method(context)
        loss = mixed.loss(network(mixed.images), mixed.targets)
        fast_optimizer.zero_grad()
        loss.backward()
        fast_optimizer.step()
        method.after_step(network, (step + 1) / steps)

        features, mask_cost, mixes = averaged[0](small), [], []
        for kind, draws in enumerate(slow_draws(context)):
            rows, labels = [], []
            for i, (j, lam) in enumerate(draws):
                lam = torch.tensor(lam, dtype=torch.float32)
                mask = mask_of(generator, features[i], features[j], lam, 8)
                mask = mask if kind else mask.detach()
                if 0.08 < lam < 0.92:
                    rows.append((1 - mask) * small[i] + mask * small[j])
                    if kind:
                        variance = (mask - mask.mean()).square().mean()
                        mask_cost.append(((1 - mask.mean() - lam).abs() - 0.1).clamp_min(0) - spread * variance)
                else:
                    rows.append(lam * small[i] + (1 - lam) * small[j])
                one = functional.one_hot(context.targets, CLASSES)
                labels.append(lam * one[i] + (1 - lam) * one[j])
            mixes.append((torch.stack(rows), torch.stack(labels)))
        both = slow(torch.cat([small, mixes[0][0]])).log_softmax(1)
        terms = [-both[range(4), context.targets].mean(), -(both[4:] * mixes[0][1]).sum(1).mean()]
        terms.append(-(averaged(mixes[1][0]).log_softmax(1) * mixes[1][1]).sum(1).mean())
        weight = 0.1 * (1 + math.cos(math.pi * step / steps)) / 2
        expected = sum(terms) + weight * (sum(mask_cost) / len(mask_cost) if mask_cost else 0)
        slow_optimizer.zero_grad()
        expected.backward()
        slow_optimizer.step()
        share = 0.99999 - (0.99999 - 0.999) * (1 + math.cos(math.pi * (step + 1) / steps)) / 2
        for average, current in zip(averaged.parameters(), slow.parameters(), strict=True):
            average.data = share * average.data + (1 - share) * current.data
        for average, current in zip(averaged.buffers(), slow.buffers(), strict=True):
            average.copy_(current)
        np.testing.assert_allclose(loss.item(), expected.item(), rtol=2e-3)
