"""Tests of optimisers and schedules: the groups of parameters, and the learning rate of each group at each step."""

from __future__ import annotations

import itertools

import pytest
import timm
import torch

from diffcore_hf.config.train import OptimizerConfig, ScheduleConfig
from diffcore_hf.training.engine import optimisers


@pytest.fixture(scope="module")
def network():
    return timm.create_model("test_resnet", num_classes=3)


def scheduled(schedule, epochs, total_steps, lrs=(0.1,)):
    """Return the learning rate of each group at each step."""
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in lrs]
    optimizer = torch.optim.SGD(groups, lr=lrs[0])
    scheduler = optimisers.scheduler(optimizer, schedule, epochs, total_steps)
    rates = []
    for step in range(total_steps):
        scheduler.step_update(step)
        rates.append([group["lr"] for group in optimizer.param_groups])
    return rates


def names_by_group(model, optimizer):
    named = {id(parameter): name for name, parameter in model.named_parameters()}
    return [sorted(named[id(parameter)] for parameter in group["params"]) for group in optimizer.param_groups]


# Groups


def test_every_parameter_is_in_one_group_and_the_classifier_has_its_own_rate(network):
    optimizer = optimisers.optimiser(network, OptimizerConfig(lr=0.001, head_lr=0.01, weight_decay=5e-4))
    groups = names_by_group(network, optimizer)
    assert sorted(itertools.chain(*groups)) == sorted(name for name, _ in network.named_parameters())
    assert groups[1] == ["fc.bias", "fc.weight"]
    assert [(group["lr"], group["weight_decay"]) for group in optimizer.param_groups] == [(0.001, 5e-4), (0.01, 5e-4)]
    assert optimizer.defaults["nesterov"] and optimizer.defaults["momentum"] == 0.9


def test_norms_and_biases_have_no_weight_decay_in_all_layers(network):
    optimizer = optimisers.optimiser(
        network, OptimizerConfig(lr=0.001, head_lr=0.01, weight_decay=0.1, decay_norms=False)
    )
    rates = {}
    for names, group in zip(names_by_group(network, optimizer), optimizer.param_groups, strict=True):
        rates |= dict.fromkeys(names, (group["lr"], group["weight_decay"]))
    assert rates["fc.weight"] == (0.01, 0.1)
    assert rates["fc.bias"] == (0.01, 0.0)
    assert rates["conv1.0.weight"] == (0.001, 0.1)
    assert rates["bn1.weight"] == (0.001, 0.0)


def test_without_head_lr_the_classifier_has_the_same_learning_rate(network):
    optimizer = optimisers.optimiser(network, OptimizerConfig(lr=0.02, head_lr=None, weight_decay=0.0))
    assert [(group["lr"], group["weight_decay"]) for group in optimizer.param_groups] == [(0.02, 0.0)]


def test_layer_decay_does_not_change_the_rate_of_the_classifier():
    model = timm.create_model("test_vit", num_classes=3, img_size=32)
    config = OptimizerConfig("adamw", lr=0.001, head_lr=0.01, layer_decay=0.5, decay_norms=False)
    optimizer = optimisers.optimiser(model, config)
    optimisers.scheduler(optimizer, ScheduleConfig("constant"), 1, 10)
    rates = {}
    for names, group in zip(names_by_group(model, optimizer), optimizer.param_groups, strict=True):
        rates |= dict.fromkeys(names, group["lr"])
    depth = len(model.blocks)
    assert rates["head.weight"] == rates["head.bias"] == 0.01
    assert rates[f"blocks.{depth - 1}.mlp.fc1.weight"] == pytest.approx(0.001 * 0.5)
    assert rates["blocks.0.mlp.fc1.weight"] == pytest.approx(0.001 * 0.5**depth)
    assert rates["pos_embed"] == pytest.approx(0.001 * 0.5 ** (depth + 1))


def test_both_heads_of_a_distilled_network_are_in_the_classifier_group():
    model = timm.create_model("deit_tiny_distilled_patch16_224", num_classes=3, img_size=32)
    groups = names_by_group(model, optimisers.optimiser(model, OptimizerConfig()))
    assert {"head.weight", "head_dist.weight"} <= set(groups[-1])


@pytest.mark.parametrize(
    "name, momentum, expected",
    [
        ("sgd", 0.8, {"momentum": 0.8, "nesterov": True}),
        ("sgd", 0.0, {"momentum": 0.0, "nesterov": False}),
        ("momentum", 0.8, {"momentum": 0.8, "nesterov": False}),
        ("adamw", 0.8, {"betas": (0.8, 0.999)}),
        ("AdamW", 0.8, {"betas": (0.8, 0.999)}),
        ("lion", 0.8, {"betas": (0.8, 0.99)}),
        ("adan", 0.8, {"betas": (0.8, 0.92, 0.99)}),
        ("lookahead_lamb", 0.8, {"betas": (0.8, 0.999), "lookahead_k": 6}),
        ("adafactor", 0.8, {"beta1": None}),
    ],
)
def test_the_momentum_key_sets_the_momentum_or_beta_of_the_optimiser(network, name, momentum, expected):
    optimizer = optimisers.optimiser(network, OptimizerConfig(name, momentum=momentum))
    for group in optimizer.param_groups:
        assert {key: group[key] for key in expected} == expected


@pytest.mark.parametrize("name", ["sgd", "adamw", "lookahead_adamw", "lamb", "muon"])
def test_a_training_step_changes_body_and_head(name):
    model = timm.create_model("test_resnet", num_classes=3)
    optimizer = optimisers.optimiser(model, OptimizerConfig(name, lr=0.01, head_lr=0.1))
    scheduler = optimisers.scheduler(optimizer, ScheduleConfig(), 1, 4)
    before = {key: value.clone() for key, value in model.named_parameters()}
    for step in range(2):
        scheduler.step_update(step)
        optimizer.zero_grad()
        model(torch.randn(2, 3, 32, 32)).square().sum().backward()
        optimizer.step()
    moved = {key for key, value in model.named_parameters() if not torch.equal(value, before[key])}
    assert {"conv1.0.weight", "fc.weight"} <= moved
    state = optimizer.state_dict()
    optimizer.load_state_dict(state)
    assert [group["lr"] for group in optimizer.param_groups] == [group["lr"] for group in state["param_groups"]]


@pytest.mark.parametrize(
    "name, parts",
    [
        ("adamv", ["optimizer.name is 'adamv'", "nearest names: ", "--optimizer.name adam"]),
        ("lookahead_sgdx", ["sgd"]),
        ("!", ["which timm does not have. Use e.g.", "--optimizer.name sgd"]),
        ("adahessian", ["second derivatives", "--optimizer.name adamw"]),
        ("foo_adamw", ["adamw"]),
    ],
)
def test_unknown_optimisers_give_a_one_line_error(network, name, parts):
    with pytest.raises(ValueError, match="optimizer.name is") as caught:
        optimisers.optimiser(network, OptimizerConfig(name))
    assert "\n" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="what is missing differs on a GPU")
def test_an_optimiser_that_is_not_installed_gives_a_one_line_error(network):
    with pytest.raises(
        ValueError, match="optimizer.name is 'bnbadamw', .*bitsandbytes.*Use e.g. --optimizer.name adamw"
    ):
        optimisers.optimiser(network, OptimizerConfig("bnbadamw"))


# Rates over time


def test_the_rate_changes_exactly_at_the_milestones():
    rates = scheduled(ScheduleConfig("multistep", milestones=(150, 225)), 300, 600, lrs=(0.1, 1.0))
    for step, factor in [(0, 1), (299, 1), (300, 0.1), (301, 0.1), (449, 0.1), (450, 0.01), (599, 0.01)]:
        assert rates[step] == pytest.approx([0.1 * factor, 1.0 * factor]), step


def test_milestones_may_come_in_any_order_and_decay_by_any_factor():
    rates = scheduled(ScheduleConfig("multistep", milestones=(2.5, 1), decay=0.5), 4, 8)
    assert [rate for (rate,) in rates] == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.05, 0.025, 0.025, 0.025])


@pytest.mark.parametrize(
    "schedule, expected",
    [
        (ScheduleConfig("constant"), {0: 0.1, 50: 0.1, 99: 0.1}),
        (ScheduleConfig("cosine"), {0: 0.1, 25: 0.0853553, 50: 0.05, 99: 2.467e-5}),
        (ScheduleConfig("cosine", min_lr=0.02), {0: 0.1, 50: 0.06, 99: 0.0200197}),
        (ScheduleConfig("linear"), {0: 0.1, 25: 0.075, 50: 0.05, 99: 0.001}),
        (ScheduleConfig("linear", min_lr=0.02), {0: 0.1, 50: 0.06, 99: 0.0208}),
        (ScheduleConfig("constant", warmup=2), {0: 0.001, 10: 0.0505, 20: 0.1, 99: 0.1}),
        (ScheduleConfig("linear", warmup=2), {0: 0.001, 10: 0.0505, 20: 0.08, 50: 0.05}),
        (ScheduleConfig("multistep", milestones=(5,), warmup=2), {0: 0.001, 10: 0.0505, 20: 0.1, 49: 0.1, 50: 0.01}),
    ],
)  # fmt: skip
def test_learning_rates_at_chosen_steps(schedule, expected):
    rates = scheduled(schedule, 10, 100)
    assert {step: rates[step][0] for step in expected} == pytest.approx(expected, rel=1e-3)


def test_every_group_is_scaled_from_its_own_rate(network):
    optimizer = optimisers.optimiser(network, OptimizerConfig(lr=0.001, head_lr=0.01))
    scheduler = optimisers.scheduler(optimizer, ScheduleConfig("cosine"), 30, 100)
    for step, factor in [(0, 1.0), (50, 0.5), (75, 0.1464466)]:
        scheduler.step_update(step)
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.001 * factor, 0.01 * factor])


def test_a_warm_up_raises_every_group_to_its_own_rate():
    rates = scheduled(ScheduleConfig("constant", warmup=1), 10, 100, lrs=(0.001, 0.01))
    assert rates[0] == pytest.approx([1e-5, 1e-5])
    assert rates[5] == pytest.approx([0.000505, 0.005005])
    assert rates[10] == pytest.approx([0.001, 0.01])


def test_the_learning_rate_of_a_step_does_not_depend_on_the_step_of_a_restart(network):
    """A resumed schedule equals an uninterrupted one, whether the optimiser's state is loaded first or last."""
    config, schedule = OptimizerConfig(lr=0.001, head_lr=0.01), ScheduleConfig("cosine", warmup=1)
    whole = optimisers.optimiser(network, config)
    scheduler = optimisers.scheduler(whole, schedule, 10, 100)
    for step in range(60):
        scheduler.step_update(step)
    state = whole.state_dict()
    scheduler.step_update(60)
    expected = [group["lr"] for group in whole.param_groups]
    for load_first in (True, False):
        resumed = optimisers.optimiser(network, config)
        if load_first:
            resumed.load_state_dict(state)
        again = optimisers.scheduler(resumed, schedule, 10, 100)
        if not load_first:
            resumed.load_state_dict(state)
        again.step_update(60)
        assert [group["lr"] for group in resumed.param_groups] == expected


@pytest.mark.parametrize("schedule", [ScheduleConfig(), ScheduleConfig("linear"), ScheduleConfig("constant", warmup=3)])
def test_a_schedule_of_one_step_works(schedule):
    assert len(scheduled(schedule, 1, 1)) == 1
