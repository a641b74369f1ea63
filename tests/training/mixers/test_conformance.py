"""Tests of the properties that all registered mixers share. A new mixer in the registry is tested automatically."""

from __future__ import annotations

import copy
import random
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pytest
import torch
from mixer_training import forward_pass, mixer_loss
from mixing import CLASSES, SIDE, batch, mixer, network_for, permuted, probabilities, small_network, timm_network

from diffcore_hf.core.errors import UserError
from diffcore_hf.training.engine.losses import classification_loss
from diffcore_hf.training.mixers.base import Mixed, Mixer, MixerSetup, evaluation_mode, one_hot
from diffcore_hf.training.mixers.names import MIXERS
from diffcore_hf.training.mixers.registry import mixer_class

EXEMPT: dict[tuple[str, str], str] = {
    ("manifold_mixup", "the_label_weight_is_the_share_of_the_pixels"): "the features of a layer are mixed, not pixels",
    ("augmix", "equal_images_do_not_change"): "an image is mixed with its own augmentations",
    ("augmix", "the_label_weight_is_the_share_of_the_pixels"): "an image is mixed with its own augmentations",
    ("pixmix", "equal_images_do_not_change"): "an image is mixed with pictures and its own augmentations",
    ("pixmix", "the_label_weight_is_the_share_of_the_pixels"): "an image is mixed with pictures without a label",
    ("resizemix", "equal_images_do_not_change"): "the partner is pasted at another size",
    ("puzzlemix", "equal_images_do_not_change"): "blocks are moved",
    ("samix", "the_label_weight_is_the_share_of_the_pixels"): "the mask is learned, and the label is lambda",
    ("automix", "the_label_weight_is_the_share_of_the_pixels"): "the mask is learned, and the label is lambda",
    ("transmix", "the_label_weight_is_the_share_of_the_pixels"): "the label follows the attention too",
    ("snapmix", "equal_images_do_not_change"): "the box of the partner is resized",
    ("snapmix", "labels_sum_to_one"): "the weights are shares of two different maps",
    ("snapmix", "equal_labels_do_not_change"): "the weights are shares of two different maps",
    ("snapmix", "the_label_weight_is_the_share_of_the_pixels"): "the weights are shares of two different maps",
}
"""(mixer, name of a test without `test_`) -> reason why the mixer is exempt from this test."""
OPTIONS = {"automix": {"clean_loss": False}, "samix": {"clean_loss": False}}
"""Options of mixers in these tests. AutoMix and SAMix would otherwise add clean images to the mixed batch."""
REFUSED = {
    ("samix", "vit"),
    ("samix", "swin"),
    ("automix", "vit"),
    ("automix", "swin"),
    ("transmix", "resnet"),
    ("transmix", "convnext"),
    ("transmix", "swin"),
    ("snapmix", "convnext"),
    ("snapmix", "vit"),
    ("attentive_cutmix", "vit"),
    ("attentive_cutmix", "swin"),
}
"""(mixer, network) pairs for which the mixer must give a one-line error."""
ROUNDING = {"automix": 1e-5, "samix": 1e-5}
"""Bounds of rounding errors that depend on the order of the images in a batch.

AutoMix and SAMix multiply matrices of whole batches to compute attention.
"""
BY_IMAGE_ONLY = {"a_permuted_batch_gives_the_permuted_result"}
"""Properties that hold only with `per: image`. With `per: batch`, partners depend on the positions in the batch."""


@dataclass(frozen=True)
class Make:
    """Builds a mixer from keys of section `mixer`."""

    name: str
    per: str

    def __call__(self, **keys) -> Mixer:
        return mixer(self.name, per=self.per, options=OPTIONS.get(self.name), **keys)


@pytest.fixture(params=[(name, per) for name in MIXERS for per in ("image", "batch")], ids=lambda p: "-".join(p))
def make(request):
    """Return a function that builds the mixer from keys of section `mixer`."""
    name, per = request.param
    test = request.node.originalname.removeprefix("test_")
    if (name, test) in EXEMPT:
        pytest.skip(EXEMPT[name, test])
    if per == "batch" and test in BY_IMAGE_ONLY:
        pytest.skip("with per batch, partners depend on the positions in the batch")
    return Make(name, per)


def test_every_exemption_names_a_mixer_and_a_test():
    """A test that is renamed would otherwise lose its exemptions."""
    tests = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert {mixer for mixer, _ in EXEMPT} | {mixer for mixer, _ in REFUSED} <= set(MIXERS)
    assert {test for _, test in EXEMPT} | BY_IMAGE_ONLY <= tests


def equal(a, b):
    return torch.equal(a.images, b.images) and torch.equal(a.targets, b.targets)


def test_equal_images_do_not_change(make):
    context = batch()
    context.images[:] = context.images[:1].clone()
    assert torch.equal(make()(context).images, context.images)


def test_labels_sum_to_one(make):
    assert torch.allclose(probabilities(make()(batch())).sum(1), torch.ones(6))


def test_equal_labels_do_not_change(make):
    context = batch()
    context.targets[:] = 3
    assert torch.allclose(probabilities(make()(context))[:, 3], torch.ones(6))


def test_the_label_weight_is_the_share_of_the_pixels(make):
    """All pixels of image i have value i + 1, so the mean of a mix is the weighted sum of these values."""
    greys = torch.arange(1.0, CLASSES + 1)
    for step in range(5):
        context = batch(CLASSES, seed=step, step=step)
        context.images[:] = greys.reshape(-1, 1, 1, 1)
        mixed = make()(context)
        assert torch.allclose(mixed.images.mean((1, 2, 3)), probabilities(mixed) @ greys, atol=1e-4)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_a_batch_of_any_size_keeps_its_size(make, count):
    context = batch(count)
    mixed = make()(context)
    assert mixed.images.shape == context.images.shape and len(mixed.targets) == count
    assert torch.isfinite(mixed.images).all() and torch.isfinite(probabilities(mixed)).all()


def test_the_same_seed_gives_the_same_batch_and_another_seed_another_batch(make):
    assert equal(make()(batch(step=3)), make()(batch(step=3)))
    assert not equal(make()(batch(seed=1, step=3)), make()(batch(seed=2, step=4)))


def test_a_permuted_batch_gives_the_permuted_result(make):
    method, context, order = make(), batch(7), [3, 0, 6, 2, 5, 1, 4]
    original, reordered = method(context), method(permuted(context, order))
    rounding = ROUNDING.get(make.name, 0.0)
    assert torch.allclose(original.images[order], reordered.images, rtol=0, atol=rounding)
    assert torch.equal(original.targets[order], reordered.targets)


@pytest.mark.parametrize("name", [name for name in MIXERS if "own" in mixer_class(name).partners])
def test_a_row_that_is_mixed_with_its_own_generated_image_keeps_its_label(name):
    method, network = mixer(name, partner="own"), network_for(name).eval()
    context = replace(batch(model=network), pairs=batch().images.flip(0) * 0.5)
    assert method.asks_for_pairs
    mixed = method(context)
    _, targets = forward_pass(mixed, network)
    assert torch.allclose(targets[range(6), context.targets], torch.ones(6), atol=1e-5)
    if (name, "equal_images_do_not_change") not in EXEMPT:
        assert torch.equal(method(replace(context, pairs=context.images.clone())).images, context.images)


def test_probability_zero_is_the_identity(make):
    context = batch()
    mixed = make(probability=0.0)(context)
    assert torch.equal(mixed.images, context.images) and torch.equal(mixed.targets, context.targets)


def assert_network_unchanged(method: Mixer) -> None:
    """Call a mixer as the training loop does; weights, buffers, gradients and training flags must stay the same."""
    for frozen in (False, True):
        network = small_network().train()
        if frozen:
            network[0][1].eval()  # a normalisation layer in evaluation mode must stay in this mode
        network(torch.randn(4, 3, SIDE, SIDE)).sum().backward()
        flags = [module.training for module in network.modules()]
        state = copy.deepcopy(network.state_dict())
        gradients = [parameter.grad.clone() for parameter in network.parameters()]
        with evaluation_mode(network) if method.uses_network else nullcontext():
            method(batch(model=network))
        assert flags == [module.training for module in network.modules()]
        assert all(torch.equal(state[name], tensor) for name, tensor in network.state_dict().items())
        assert all(torch.equal(a, b.grad) for a, b in zip(gradients, network.parameters(), strict=True))


def test_the_network_is_not_changed(make):
    assert_network_unchanged(make())


@pytest.mark.parametrize("kind", ["resnet", "convnext", "vit", "swin"])
@pytest.mark.parametrize("name", list(MIXERS))
def test_a_timm_network_is_trained_or_refused_with_a_remedy(name, kind):
    network = timm_network(kind).train()
    if (name, kind) in REFUSED:
        with pytest.raises(UserError, match=rf"mixer.name is {name}.*\bUse "):
            mixer(name, network=network)
        return
    loss = mixer_loss(mixer(name, network=network))(batch(model=network))
    loss.backward()
    assert torch.isfinite(loss) and all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("kind", ["cross_entropy", "softmax_bce"])
@pytest.mark.parametrize("name", list(MIXERS))
def test_every_loss_accepts_the_labels_of_a_mixer(name, kind, smoothing):
    """Some labels are shares of three images, whose sum can exceed 1 by a rounding error."""
    network = network_for(name).train()
    loss = partial(classification_loss, kind=kind, smoothing=smoothing)
    for step in range(3):
        context = replace(batch(5, seed=step, step=step, model=network), loss=loss)
        context.targets[:] = step
        value = mixer_loss(mixer(name, network=network))(context)
        assert torch.isfinite(value) and value > 0


@pytest.mark.parametrize("kind", ["cross_entropy", "softmax_bce"])
@pytest.mark.parametrize("name", list(MIXERS))
def test_images_whose_labels_have_several_classes_are_mixed(name, kind):
    """One-hot probabilities have the loss of class indices, and labels of two classes have a finite loss."""
    loss = partial(classification_loss, kind=kind, smoothing=0.0)
    indices = batch().targets
    hard = torch.nn.functional.one_hot(indices, CLASSES).float()
    values = []
    for targets in (indices, hard, 0.7 * hard + 0.3 * hard.roll(1, 1)):
        network = network_for(name).train()
        method = mixer(name, network=network)
        torch.manual_seed(0)  # for the dropout layers
        values.append(mixer_loss(method)(replace(batch(model=network), targets=targets, loss=loss)).item())
    assert values[0] == pytest.approx(values[1], rel=1e-5) and np.isfinite(values[2]) and values[2] != values[0]


class _CallsTheNetwork(Mixer):
    """A mixer with a fault: it calls the network, but declares that it does not use the network."""

    uses_network = False

    def forward(self, context):
        with torch.no_grad():
            context.model(context.images)
        return Mixed(context.images, context.targets)


def test_a_mixer_that_changes_batchnorm_statistics_is_found():
    """The assertion fails for this mixer. It passes if the mixer declares that it uses the network."""
    wrong = _CallsTheNetwork(MixerSetup(CLASSES))
    with pytest.raises(AssertionError):
        assert_network_unchanged(wrong)
    wrong.uses_network = True
    assert_network_unchanged(wrong)


def test_the_global_generators_are_not_changed(make):
    method = make()
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    method(batch(model=small_network().eval()))
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    assert before[:2] == after[:2] and torch.equal(before[2], after[2])


def test_inputs_are_not_changed(make):
    context = batch()
    images, targets = context.images.clone(), context.targets.clone()
    make()(context)
    assert torch.equal(images, context.images) and torch.equal(targets, context.targets)


def test_bfloat16_stays_finite(make):
    context = batch()
    mixed = make()(replace(context, images=context.images.bfloat16(), model=context.model.bfloat16()))
    assert torch.isfinite(mixed.images).all() and torch.isfinite(probabilities(mixed)).all()


def test_channels_last_stays_channels_last(make):
    context = batch()
    images = context.images.contiguous(memory_format=torch.channels_last)
    mixed = make(probability=0.5)(replace(context, images=images))
    assert mixed.images.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", list(MIXERS))
def test_labels_computed_after_the_forward_pass_sum_to_one(name):
    """The labels of each image sum to 1, and equal labels do not change."""
    if (name, "labels_sum_to_one") in EXEMPT:
        pytest.skip(EXEMPT[name, "labels_sum_to_one"])
    network = network_for(name).eval()
    context = batch(model=network)
    for targets in (context.targets, torch.full_like(context.targets, 3)):
        mixed = mixer(name, options=OPTIONS.get(name))(replace(context, targets=targets))
        after = probabilities(replace(mixed, targets=forward_pass(mixed, network)[1]))
        assert torch.allclose(after.sum(1), torch.ones(6), atol=1e-5) and (after >= 0).all()
    assert torch.allclose(after[:, 3], torch.ones(6), atol=1e-5)


@pytest.mark.parametrize("name", list(MIXERS))
def test_probabilities_of_one_class_give_the_loss_of_its_index(name):
    results = []
    for as_targets in (lambda targets: targets, lambda targets: one_hot(targets, CLASSES)):
        network = network_for(name).train()
        torch.manual_seed(0)  # for the dropout layer
        context = batch(model=network)
        method = mixer(name, options=OPTIONS.get(name), network=network)
        results.append(mixer_loss(method)(replace(context, targets=as_targets(context.targets))))
    assert torch.allclose(*results, rtol=1e-5)


@pytest.mark.parametrize("name", list(MIXERS))
def test_probabilities_of_several_classes_still_sum_to_one(name):
    if (name, "labels_sum_to_one") in EXEMPT:
        pytest.skip(EXEMPT[name, "labels_sum_to_one"])
    network = network_for(name).eval()
    context = batch(model=network)
    soft = 0.163 * one_hot(context.targets, CLASSES) + 0.837 * one_hot((context.targets + 1) % CLASSES, CLASSES)
    mixed = mixer(name, options=OPTIONS.get(name))(replace(context, targets=soft))
    after = forward_pass(mixed, network)[1]
    assert torch.allclose(after.sum(1), torch.ones(6), atol=1e-5) and (after >= 0).all()


def test_gradients_reach_the_network_through_the_mixed_batch(make):
    method = make()
    network = network_for(make.name).train()
    context = batch(model=network)
    with evaluation_mode(network) if method.uses_network else nullcontext():
        mixed = method(context)
    with mixed.during() as seen:
        logits = network(mixed.images)
    targets = mixed.targets if mixed.targets_after is None else mixed.targets_after(seen)
    (mixed.loss or context.loss)(logits.float(), targets).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
