"""Tests of maps of training rows: the part of a map that belongs to a crop, and trainings that use the maps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diffcore_hf.core.errors import UserError
from diffcore_hf.training.data import framing
from diffcore_hf.training.data.keys import SampleKey
from diffcore_hf.training.data.row_images import rows_read
from diffcore_hf.training.data.training_data import load_data
from diffcore_hf.training.engine import loop
from diffcore_hf.training.engine.devices import make_accelerator
from diffcore_hf.training.mixers.attentive_cutmix import cell_means, top_cells
from diffcore_hf.training.mixers.base import BatchContext
from diffcore_hf.training.mixers.row_maps import scaled, seen

REAL = {"mix": {"mode": "off"}}
OTHER_IMAGES = "section mix replaces or adds images of samples. Use --mix.mode off, or"


@pytest.fixture
def training(train_recipe, tmp_path):
    """Return a function that builds a Training with Attentive-CutMix from its options and keys of the recipe."""

    def make(options=None, **keys):
        options = {"teacher_size": 64, "maps": "row", **(options or {})}
        recipe = train_recipe(mixer={"name": "attentive_cutmix", "options": options, **keys.pop("mixer", {})}, **keys)
        data = load_data(recipe.data, recipe.mix)
        return loop.Training(recipe, data, 0, tmp_path / "trained", make_accelerator(recipe, tmp_path))

    return make


def views(*each: framing.View) -> torch.Tensor:
    return torch.tensor(each)


@pytest.mark.parametrize("side", [2, 7, 14])
def test_a_whole_image_has_the_cells_of_its_map(side):
    maps = torch.rand(1, side, side, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(seen(maps, views(framing.WHOLE), 7), cell_means(maps, 7), atol=1e-6)


def test_a_view_has_the_cells_of_its_part_of_the_map():
    """The map is x + 10 y. The values of x are 0.125, 0.375, 0.625 and 0.875, and those of y are the same numbers."""
    places = 0.125 + 0.25 * torch.arange(4)
    maps = (places[None, :] + 10 * places[:, None])[None]
    parts = views((0.25, 0.25, 0.5, 0.5, False), (0.25, 0.25, 0.5, 0.5, True))
    part, flipped = seen(maps.expand(2, 4, 4), parts, 2).tolist()
    assert part == pytest.approx(np.array([[4.125, 4.375], [6.625, 6.875]]), abs=1e-5)
    assert flipped == pytest.approx(np.array([[4.375, 4.125], [6.875, 6.625]]), abs=1e-5)


def test_the_padding_around_an_image_has_no_activity():
    assert seen(torch.ones(1, 4, 4), views((-0.5, 0.0, 1.0, 1.0, False)), 2).tolist() == [[[0, 0], [1, 1]]]


def test_a_crop_of_a_frame_is_a_view_of_the_image():
    assert framing.view_of(framing.Crop(16, 8, 32, 32, True), 64, 128) == (0.25, 0.0625, 0.5, 0.25, True)


def test_stored_maps_are_small_and_from_0_to_1():
    maps = scaled(torch.stack([torch.arange(32.0 * 32).reshape(32, 32), torch.ones(32, 32)]))
    assert maps.shape == (2, 16, 16)
    assert [maps[0].min(), maps[0].max(), maps[1].abs().max()] == [0, 1, 0]


@pytest.mark.parametrize(
    "keys",
    [
        REAL,
        {"mix": {"mode": "replace", "probability": 0.0}},
        REAL | {"transform": {"preset": "imagenet_fast100", "size": 32}},
    ],
)
def test_maps_of_rows_are_used_if_samples_show_real_images(training, keys):
    assert training(**keys).parts.mixer._rows is not None


@pytest.mark.parametrize(
    ("keys", "options", "line"),
    [
        ({"mix": {"mode": "append"}}, {}, OTHER_IMAGES),
        ({"mix": {"mode": "replace", "probability": 0.5}}, {}, OTHER_IMAGES),
        (REAL, {"teacher": "network"}, r"the teacher changes with each step. Use --mixer.options '\{teacher: start\}'"),
        (
            REAL | {"transform": {"preset": "tiny_preact_1200", "size": 32, "randaugment": 9}}, {},
            "transform.randaugment moves the pixels of an image. Use --transform.randaugment null, or",
        ),
        (
            {"mix": {"mode": "replace", "probability": 0.0, "partner": "own"}, "mixer": {"partner": "own"}}, {},
            "the partner is a generated image. Use --mixer.partner batch, or",
        ),
    ],
)  # fmt: skip
def test_maps_of_rows_that_cannot_be_used_are_refused_in_one_line(training, keys, options, line):
    with pytest.raises(UserError, match=f"^mixer.options.maps is 'row', but {line}"):
        training(options, **keys)


def test_only_the_rows_that_the_steps_read_have_maps(training):
    built = training(max_steps=2, **REAL)
    read = {key.row_id for batch in built.batches() for key in batch["keys"]}
    rows = rows_read(built.data, 0, 2, 4)
    assert {built.data.train.row_ids[row] for row in rows} == read and len(rows) == 8
    assert (built.parts.mixer._rows.maps.amax((1, 2)) > 0).nonzero().flatten().tolist() == rows.tolist()
    assert len(rows_read(built.data, 0, 40, 4)) == 15


def test_a_step_does_not_call_the_teacher(training):
    built = training(**REAL)
    built.parts.mixer._frozen = ()
    built.parts.network.forward_features = None
    mixed = built.parts.batch_loss.mixed(next(iter(built.batches())), 0, 0)
    assert mixed.targets.sum(1).tolist() == pytest.approx([1, 1, 1, 1])


def test_whole_images_have_the_same_cells_with_both_kinds_of_maps(training):
    built = training(**REAL)
    method = built.parts.mixer
    (rows, images), *_ = method._rows.rows.squares(64)
    context = BatchContext(
        images=images,
        targets=torch.zeros(len(rows), dtype=torch.int64),
        keys=[SampleKey(built.data.train.row_ids[row], 0, row) for row in rows],
        seed=0,
        generator=np.random.default_rng(0),
        model=built.parts.network,
        loss=torch.nn.functional.cross_entropy,
        views=views(*[framing.WHOLE] * len(rows)),
    )
    of_rows, of_crops = (top_cells(method.maps(context, each), 6) for each in (images, images.clone()))
    assert torch.equal(of_rows, of_crops) and len({tuple(row) for row in of_rows.flatten(1).tolist()}) > 3
