"""Checks of all arms with their networks and data, so that no arm of a comparison fails after hours of training."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import nn

from diffcore_hf.config.train import BackboneConfig, TrainRecipe
from diffcore_hf.core.errors import UserError
from diffcore_hf.training.data import framing
from diffcore_hf.training.data.row_images import why_not_whole
from diffcore_hf.training.data.samples import check_pairs
from diffcore_hf.training.data.training_data import TrainingData
from diffcore_hf.training.engine.checks import check_batch_norm, check_batch_size
from diffcore_hf.training.mixers.registry import make_mixer
from diffcore_hf.training.mixers.unsupported import Unsupported
from diffcore_hf.training.networks import backbones


def check_arms(
    arms: Mapping[str, TrainRecipe], data: Mapping[str, TrainingData], processes: int, finished: Collection[str] = ()
) -> None:
    """Build the network of each arm, and check that its mixer works with it. Each different network is built once.

    Args:
        arms: recipes of all arms.
        data: loaded data of each arm.
        processes: number of processes of the training.
        finished: names of arms that are not checked, because they are not trained again.

    Raises:
        UserError: a network cannot be built, or a mixer does not work with the network, the data or the batch size of
            its arm. The message names all arms whose networks cannot be used, and the other arms.
    """
    by_network: dict[tuple[BackboneConfig, int, int], list[str]] = {}
    for name, arm in arms.items():
        if name in finished:
            continue
        key = (arm.model, framing.protocol_of(arm.transform).size, len(data[name].classes))
        by_network.setdefault(key, []).append(name)
    reasons: dict[str, str] = {}
    for (model, size, classes), names in by_network.items():
        with torch.random.fork_rng(devices=[]):
            network = backbones.create(model, classes, size)
        for name in names:
            try:
                _check_arm(name, arms[name], data[name], network, size, processes)
            except Unsupported as error:
                reasons[name] = error.reason
    if reasons:
        raise UserError(_message(reasons, [name for name in arms if name not in reasons]))


def _check_arm(name: str, arm: TrainRecipe, data: TrainingData, network: nn.Module, size: int, processes: int) -> None:
    try:
        mixer = make_mixer(arm.mixer, len(data.classes))
        check_batch_size(arm, mixer, processes)
        check_batch_norm(arm, network, (3, size, size), processes)
        if mixer is None:
            return
        if mixer.asks_for_pairs:
            check_pairs(arm, data)
        mixer.prepare(network, (3, size, size))
        mixer.check_rows(why_not_whole(arm, data))
    except Unsupported:
        raise
    except UserError as error:
        raise UserError(f"arm {name}: {error}") from error


def _message(reasons: Mapping[str, str], others: list[str]) -> str:
    named = "; ".join(f"{name}, because {reason}" for name, reason in reasons.items())
    remedy = f"--compare {','.join(others)}" if others else "other arms, e.g. --compare plain,cutmix"
    return f"compare has arms that cannot be trained: {named}. Use {remedy}, or give these arms another model in arms"
