"""Tests of the loader: the samples of a step depend only on the number of the step."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
import torch
from train_batches import batches_of

from diffcore_hf.training.data import loader
from diffcore_hf.training.data.training_data import load_data


def stream(count, batch_size, start, stop, *, accumulate=1, world=1, rank=0):
    sampler = loader.StepBatches(count, batch_size, 0, start, stop, accumulate=accumulate, rank=rank, world=world)
    return list(sampler)


@pytest.mark.parametrize(("count", "batch_size"), [(10, 4), (7, 16), (12, 3), (1, 2)])
def test_every_sample_is_read_once_in_an_epoch_and_every_batch_is_full(count, batch_size):
    read = list(chain.from_iterable(stream(count, batch_size, 0, 3 * count)))
    assert len(read) == 3 * count * batch_size
    for epoch in range(3):
        assert sorted(sample for e, sample in read if e == epoch) == list(range(count))
    orders = [tuple(sample for e, sample in read if e == epoch) for epoch in range(3)]
    assert count < 3 or len(set(orders)) == 3


def test_a_stream_that_starts_later_has_the_same_steps():
    assert stream(10, 4, 5, 9) == stream(10, 4, 0, 9)[5:]


@pytest.mark.parametrize(("world", "accumulate"), [(2, 1), (1, 2), (2, 2), (4, 1)])
def test_the_samples_of_a_step_are_divided_among_processes_and_accumulated_batches(world, accumulate):
    whole = stream(10, 8, 0, 5)
    parts = [stream(10, 8, 0, 5, world=world, rank=rank, accumulate=accumulate) for rank in range(world)]
    for step in range(5):
        read = [parts[rank][step * accumulate + part] for part in range(accumulate) for rank in range(world)]
        assert list(chain.from_iterable(read)) == whole[step]


@pytest.mark.parametrize("workers", [1, 3])
def test_batches_are_the_same_for_any_number_of_workers(train_recipe, workers):
    recipe = train_recipe(transform={"randaugment": 9, "erasing": 0.3})
    base, parallel = batches_of(recipe), batches_of(recipe, workers=workers)
    assert torch.equal(base[0], parallel[0]) and torch.equal(base[1], parallel[1])


@pytest.mark.parametrize(("count", "world"), [(7, 1), (7, 2), (8, 2), (1, 3), (10, 4)])
def test_scored_rows_are_divided_into_equal_parts_and_none_is_left_out(count, world):
    parts = [loader.scored_batches(count, 3, rank, world) for rank in range(world)]
    assert len({len(part) for part in parts}) == 1 and len({sum(map(len, part)) for part in parts}) == 1
    assert set(chain.from_iterable(chain.from_iterable(parts))) == set(range(count))


def test_an_unreadable_image_has_the_ignored_label(train_recipe):
    recipe = train_recipe()
    data = load_data(recipe.data, recipe.mix)
    from diffcore_hf.training.data import framing

    split = data.test

    class FirstUnreadable:
        """Rows of the split. In each call, the first image that is read is unreadable."""

        def __getitem__(self, indices):
            cells = split.rows[indices]["image"].to_pylist()
            cells[0] = {"bytes": b"garbage", "path": None}

            class Column:
                def to_pylist(self):
                    return cells

            return {"image": Column()}

    scored = loader.ScoredRows(replace(split, rows=FirstUnreadable()), "image", framing.protocol_of(recipe.transform))
    batch = scored.__getitems__([0, 1])
    assert batch["labels"].tolist()[0] == -100 and batch["labels"].tolist()[1] >= 0


def test_the_order_of_an_epoch_depends_on_seed_and_epoch():
    orders = {tuple(loader.epoch_order(seed, epoch, 20)) for seed in (0, 1) for epoch in (0, 1)}
    assert len(orders) == 4 and all(sorted(order) == list(range(20)) for order in orders)
    assert np.array_equal(loader.epoch_order(0, 0, 20), loader.epoch_order(0, 0, 20))
