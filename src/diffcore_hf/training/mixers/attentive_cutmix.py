"""Attentive-CutMix (Walawalkar et al. 2020, arXiv:2003.13048): pastes the cells that a teacher attends to most."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from diffcore_hf.config.train import BackboneConfig
from diffcore_hf.core.errors import UserError
from diffcore_hf.training.data.framing import Normalisation
from diffcore_hf.training.data.row_images import RowImages
from diffcore_hf.training.mixers.activation_maps import channels_first
from diffcore_hf.training.mixers.base import BatchContext, MixerSetup, evaluation_mode
from diffcore_hf.training.mixers.hooks import black_images
from diffcore_hf.training.mixers.options import choice, text, whole
from diffcore_hf.training.mixers.pairwise import PairwiseMixer, Partners
from diffcore_hf.training.mixers.row_maps import RowMaps, row_maps
from diffcore_hf.training.mixers.unsupported import Unsupported
from diffcore_hf.training.networks import backbones

START, NETWORK = "start", "network"
CROP, ROW = "crop", "row"
_LARGEST_SIDE = 1024
"""Largest side in pixels to which images are enlarged for a teacher."""


class AttentiveCutMix(PairwiseMixer):
    """Pastes the most active cells of the partner into the image, at the same positions.

    A teacher computes the mean over the channels of its last feature map, which is resized to grid x grid cells. The
    label weight of the partner is the share of the pasted pixels: 6 / 49 with the values of the paper, if the sides of
    the images are multiples of 7.

    Args:
        setup: settings of all mixers.
        teacher: `start`: a frozen copy of the network before its training, with its pretrained weights if there are
            any; `network`: the network itself at the current step; or a timm name, which is loaded with its pretrained
            weights (the paper has a frozen ResNet-50).
        teacher_weights: Hub id, folder or `package:` path of the weights of a timm name. None: timm's default weights.
        cells: number of pasted cells, at least 1; 6 in the paper.
        grid: cells in each direction, from 2 to 64; 7 in the paper, 8 for CIFAR.
        teacher_size: side to which the images are resized for the teacher, in pixels. None: the size of the images, or
            the smallest multiple at which the teacher's map has two positions in each direction.
        maps: images of which the teacher computes maps. `crop`: the cropped images of each step. `row`: the whole image
            of each row, once before the first step. A step then uses the part of this map that a crop shows, and needs
            no forward pass of the teacher (row_maps.py).
    """

    uses_network = True

    def __init__(
        self,
        setup: MixerSetup,
        *,
        teacher: str = START,
        teacher_weights: str | None = None,
        cells: int = 6,
        grid: int = 7,
        teacher_size: int | None = None,
        maps: str = CROP,
    ):
        super().__init__(setup)
        self.teacher = text("teacher", teacher)
        self.weights = None if teacher_weights is None else text("teacher_weights", teacher_weights)
        self.grid = whole("grid", grid, 2, 64)
        self.cells = whole("cells", cells, 1, grid * grid)
        self.size = None if teacher_size is None else whole("teacher_size", teacher_size, 8, _LARGEST_SIDE)
        self.maps_of = choice("maps", maps, (CROP, ROW))
        self._rows: RowMaps | None = None
        self._frozen: tuple[nn.Module, ...] = ()  # a tuple keeps its weights out of the checkpoint
        self._normalisation: Normalisation | None = None

    def prepare(self, network: nn.Module, shape: tuple[int, int, int]) -> None:
        """Build the teacher and find the size of its input.

        Raises:
            UserError: the teacher cannot be loaded, or its last features are not a map with a useful mean.
        """
        if self.teacher == START:
            self._frozen = (copy.deepcopy(network).eval().requires_grad_(False),)
        elif self.teacher != NETWORK:
            config = BackboneConfig(self.teacher, self.weights or True)
            frozen = self._loaded(config, self.size or shape[1])
            self._normalisation = backbones.normalisation(config, frozen)
            self._frozen = (frozen.eval().requires_grad_(False),)
        self.size = self.size or self._size_of(self._frozen[0] if self._frozen else network, shape)

    def _loaded(self, config: BackboneConfig, size: int) -> nn.Module:
        """Return the network of a timm name with its weights.

        Raises:
            UserError: there is no such network, or its weights are missing.
        """
        try:
            return backbones.create(config, 1, size)
        except UserError as error:
            reason = str(error).split(". ")[0]
            raise UserError(
                f"mixer.options.teacher is {self.teacher!r}, which cannot be loaded: {reason}. Use --mixer.options "
                "'{teacher: start}'"
            ) from error

    def _size_of(self, teacher: nn.Module, shape: tuple[int, int, int]) -> int:
        """Return the smallest multiple of the image size at which the map of the teacher has 2 x 2 positions."""
        for side in range(shape[1], max(_LARGEST_SIDE, shape[1]) + 1, shape[1]):
            images = black_images(teacher, 2, (shape[0], side, side))
            images += torch.randn(images.shape, generator=torch.Generator().manual_seed(0)).to(images)
            with evaluation_mode(teacher):
                features = _features(teacher, images)
            if features is None:
                break
            if min(features.shape[2:]) >= 2:
                # After a layer norm, the mean over the channels is zero at every position.
                if features.mean(1).std() < 1e-3 * features.std():
                    break
                return side
        raise Unsupported(
            "attentive_cutmix",
            f"the last features of its teacher ({self.teacher}) are not a map whose channels have a useful mean",
            "Use --mixer.options '{teacher: resnet50}', or --mixer.name cutmix",
        )

    def check_rows(self, reason: str) -> None:
        """Check that the maps of rows can be used, if `maps` is `row`.

        Raises:
            UserError: the teacher changes, or the partners are not parts of the images of rows.
        """
        if self.maps_of == CROP:
            return
        if self.setup.partner == "own":
            reason = "the partner is a generated image. Use --mixer.partner batch"
        if self.teacher == NETWORK:
            reason = "the teacher changes with each step. Use --mixer.options '{teacher: start}'"
        if reason:
            raise UserError(f"mixer.options.maps is 'row', but {reason}, or use --mixer.options '{{maps: crop}}'")

    def read_rows(self, rows: RowImages) -> None:
        """Compute the map of each row that the training reads, if `maps` is `row`."""
        if self.maps_of == CROP:
            return
        self.check_rows(rows.reason)
        assert self.size is not None
        teacher = self._frozen[0].to(rows.device)
        self._rows = row_maps(rows, self.size, partial(self._activity, teacher, rows.normalisation, rows.autocast))

    def maps(self, context: BatchContext, images: Tensor) -> Tensor:
        """Return the activity of each cell, (B, grid, grid): the mean over the channels of the last feature map."""
        if self._rows is not None and images is context.images:
            return self._rows.of_batch(context, self.grid)
        teacher = self._frozen[0].to(images.device) if self._frozen else context.model
        return cell_means(self._activity(teacher, context.normalisation, context.autocast, images), self.grid)

    def _activity(
        self,
        teacher: nn.Module,
        normalisation: Normalisation,
        autocast: Callable[[], AbstractContextManager[Any]],
        images: Tensor,
    ) -> Tensor:
        """Return the mean over the channels of the teacher's last feature map, (B, h, w) float32."""
        if self._normalisation is not None:
            images = renormalised(images, normalisation, self._normalisation)
        if self.size is not None and images.shape[-1] != self.size:
            images = functional.interpolate(images, (self.size, self.size), mode="bilinear", align_corners=False)
        with autocast():
            features = _features(teacher, images.to(next(teacher.parameters()).dtype))
        assert features is not None
        return features.float().mean(1)

    def draw(self, random: np.random.Generator) -> tuple[float, ...]:
        """Return no random numbers, because the cells depend only on the partner."""
        return ()

    def mix(self, context: BatchContext, partners: Partners, drawn: np.ndarray) -> tuple[Tensor, Tensor]:
        """Paste the most active cells of the partner into each image."""
        assert partners.maps is not None
        mask = top_cells(partners.maps, self.cells)[:, None]
        mask = functional.interpolate(mask, context.images.shape[-2:], mode="nearest")
        return torch.where(mask > 0, partners.images, context.images), 1 - mask.mean((1, 2, 3))


def renormalised(images: Tensor, normalisation: Normalisation, target: Normalisation) -> Tensor:
    """Return normalised images (B, 3, H, W) with another normalisation, in their dtype."""
    mean, std, new_mean, new_std = (
        images.new_tensor(values).float().reshape(3, 1, 1) for values in (*normalisation, *target)
    )
    return ((images.float() * std + mean - new_mean) / new_std).to(images.dtype)


def cell_means(maps: Tensor, grid: int) -> Tensor:
    """Return maps (B, h, w) at the size of the grid: averaged if they are larger, bilinear if they are smaller."""
    if maps.shape[1] >= grid and maps.shape[2] >= grid:
        return functional.adaptive_avg_pool2d(maps[:, None], grid)[:, 0]
    return functional.interpolate(maps[:, None], (grid, grid), mode="bilinear", align_corners=False)[:, 0]


def top_cells(maps: Tensor, count: int) -> Tensor:
    """Return a mask (B, G, G) float32 with 1 at the `count` largest values of each map."""
    flat = maps.flatten(1)
    top = flat.argsort(dim=1, descending=True, stable=True)[:, :count]
    return torch.zeros_like(flat).scatter_(1, top, 1.0).reshape(maps.shape)


def _features(network: nn.Module, images: Tensor) -> Tensor | None:
    """Return the last feature map (B, C, h, w) without gradient; None if the network has no such map."""
    timm_network: Any = network
    if not hasattr(network, "forward_features"):
        return None
    with torch.no_grad():
        features = timm_network.forward_features(images)
    if not isinstance(features, Tensor) or features.ndim != 4:
        return None
    return channels_first(network, features)
