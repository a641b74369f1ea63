"""Tests of MixTransform: samples are the same for every way of loading, and bad arguments give one-line errors."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from augmented_photos import augmented
from datasets import Image
from torch.utils.data import DataLoader

from diffcore_hf import MixTransform, mixing_rows
from diffcore_hf.config.train import TransformConfig
from diffcore_hf.core import seeding
from diffcore_hf.method.mixing import apply_mix, cover, draw_mix
from diffcore_hf.training.data import framing, pairs, transform

TINY = {"size": 32, "transform": "tiny_preact_1200"}


def loaded(rows, batch_size=4, workers=0):
    batches = list(DataLoader(rows, batch_size=batch_size, num_workers=workers))
    return torch.cat([batch["pixel_values"] for batch in batches]), torch.cat([batch["label"] for batch in batches])


@pytest.fixture(scope="module")
def rows():
    return augmented()


@pytest.mark.parametrize("heavy", [False, True], ids=["plain", "randaugment and erasing"])
def test_pixels_are_the_same_for_any_batch_size_and_workers(rows, heavy):
    config = (
        TransformConfig("tiny_preact_1200", 32, randaugment=9, erasing=0.5, jitter=0.3, blur=0.5) if heavy else None
    )
    mix = MixTransform(**({"transform": config} if heavy else TINY))
    view = mixing_rows(rows).with_transform(mix)
    mix.set_epoch(2)
    base = loaded(view, 1)
    for batch_size, workers in ((4, 0), (4, 1), (5, 3)):
        pixels, labels = loaded(view, batch_size, workers)
        assert torch.equal(pixels, base[0]) and torch.equal(labels, base[1])


def test_set_epoch_changes_the_draws_of_running_workers(rows):
    mix = MixTransform(**TINY)
    loader = DataLoader(mixing_rows(rows).with_transform(mix), 8, num_workers=2, persistent_workers=True)
    pixels_by_epoch = {}
    for epoch in (0, 1, 0):
        mix.set_epoch(epoch)
        pixels = torch.cat([batch["pixel_values"] for batch in loader])
        assert epoch not in pixels_by_epoch or torch.equal(pixels_by_epoch[epoch], pixels)
        pixels_by_epoch[epoch] = pixels
    assert not torch.equal(pixels_by_epoch[0], pixels_by_epoch[1])


def test_before_set_epoch_draws_differ_and_a_warning_is_logged_once(rows, caplog):
    transform._logged.clear()
    view = mixing_rows(rows).with_transform(MixTransform(**TINY))
    with caplog.at_level(logging.WARNING):
        first, second = loaded(view)[0], loaded(view)[0]
    assert not torch.equal(first, second)
    assert caplog.text.count("not reproducible") == 1


def test_another_seed_gives_different_draws(rows):
    pixels = []
    for seed in (0, 1):
        mix = MixTransform(seed=seed, **TINY)
        mix.set_epoch(0)
        pixels.append(loaded(mixing_rows(rows).with_transform(mix))[0])
    assert not torch.equal(*pixels)


def test_a_sample_is_computed_from_its_draws(rows):
    """Compute frame, mix, crop and flip step by step from the draws of each sample."""
    mix = MixTransform(seed=7, normalise=False, **TINY)
    batch = mixing_rows(rows)[:]
    samples = mix.samples(batch, [5] * len(batch["label"]))
    assert {sample.mix is None for sample in samples[:15]} == {True}
    assert {sample.mix.pixel for sample in samples[15:]} == {True, False}
    for row, sample in enumerate(samples):
        mixed = row >= 15
        stream = seeding.generator("sample", 7, 5, batch["row_id"][row], 0, mixed)
        stream.random()  # decides whether the row is mixed, if there is no column `mixed`
        draw = draw_mix(stream)
        frame = framing.framed(pairs.decoded(batch["image"][row]), mix.protocol)
        crop = framing.draw_crop(stream, mix.protocol, *frame.shape[-2:])
        if mixed:
            assert sample.mix == draw
            generated = pairs.decoded(batch["generated"][row])
            frame = apply_mix(frame, cover(generated, *frame.shape[-2:]), draw)
        expected = framing.flipped(framing.cropped(frame, crop, mix.protocol), crop)
        assert torch.equal(sample.pixels, expected) and sample.label == batch["label"][row]


def test_each_kind_mixes_two_images_of_one_colour_correctly():
    """All pixels of the real image are 200 and all pixels of the generated image are 100, so the mix is known."""
    real = torch.full((3, 32, 32), 200, dtype=torch.uint8)
    generated = torch.full((3, 64, 64), 100, dtype=torch.uint8)
    cell = [torch_to_pil(image) for image in (real, generated)]
    batch = {"image": [cell[0]], "generated": [cell[1]], "label": [0], "row_id": ["a"]}
    values = {}
    for kind in ("pixel", "patch", "none"):
        mix = MixTransform(kind=kind, normalise=False, transform="cifar_preact_1200", size=32)
        (sample,) = mix.samples(batch, [0])
        inside = sample.pixels[:, 4:-4, 4:-4].float()
        values[kind] = inside.mean().item()
        if kind == "pixel":
            assert inside.unique().item() == round(100 + 100 * sample.mix.lam)
        if kind == "patch":
            assert set(inside.unique().tolist()) <= {100.0, 200.0}
    assert values["none"] == 100


def torch_to_pil(image):
    from PIL import Image as Pillow

    return Pillow.fromarray(image.permute(1, 2, 0).numpy())


@pytest.mark.parametrize("preset", sorted(framing.PROTOCOLS))
def test_every_preset_returns_images_of_the_given_size(rows, preset):
    size = 48
    mix = MixTransform(size, transform=preset, normalise=False)
    mix.set_epoch(0)
    assert mixing_rows(rows).with_transform(mix)[:4]["pixel_values"].shape == (4, 3, size, size)


def test_rows_without_a_counterpart_are_not_mixed(rows):
    mix = MixTransform(normalise=False, **TINY)
    indices = [index for index, status in enumerate(rows["status"]) if status == "exhausted"]
    batch = rows.select(indices)[:]
    assert all(sample.mix is None and sample.share == 1 for sample in mix.samples(batch, [0] * len(indices)))


@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
def test_mode_replace_mixes_with_the_given_probability(probability):
    rows = augmented((40, 40), without=())
    mix = MixTransform(probability=probability, normalise=False, **TINY)
    samples = mix.samples(rows[:], [0] * 80)
    assert np.mean([sample.mix is not None for sample in samples]) == pytest.approx(probability, abs=0.15)


def test_partner_class_draws_kept_images_of_the_class_for_every_row(rows):
    pool = rows.filter(lambda status: status == "kept", input_columns="status")
    pool = pool.remove_columns("image").rename_column("generated", "image")
    view = mixing_rows(rows, partner="class", pool=pool)
    assert len(view) == 30
    mix = MixTransform(partner="class", pool=pool, kind="none", normalise=False, **TINY)
    mix.set_epoch(0)
    assert all(sample.share == 0 for sample in mix.samples(view[15:], [0] * 15))


def test_a_streamed_dataset_is_mixed_by_map(rows):
    stream = rows.to_iterable_dataset(num_shards=3)
    mix = MixTransform(normalise=False, **TINY)
    mix.set_epoch(1)
    mapped = list(stream.map(mix, batched=True, batch_size=4, remove_columns=rows.column_names))
    direct = rows.cast_column("image", Image(decode=False)).cast_column("generated", Image(decode=False))
    direct = direct.with_transform(mix)[:]
    assert [row["label"] for row in mapped] == direct["label"]
    assert torch.equal(torch.stack([torch.as_tensor(row["pixel_values"]) for row in mapped]), direct["pixel_values"])


def test_undecoded_and_pil_images_give_the_same_samples(rows):
    mix = MixTransform(**TINY)
    mix.set_epoch(0)
    raw = rows.cast_column("image", Image(decode=False)).cast_column("generated", Image(decode=False))
    assert torch.equal(raw.with_transform(mix)[:]["pixel_values"], rows.with_transform(mix)[:]["pixel_values"])


@pytest.mark.parametrize("names", [{"image": "img", "generated": "synthetic", "label": "species"}])
def test_column_names_can_be_given(rows, names):
    renamed = rows.rename_columns(names)
    mixes = [MixTransform(**TINY), MixTransform(**TINY, **names)]
    for mix in mixes:
        mix.set_epoch(0)
    pixels = renamed.with_transform(mixes[1])[:]["pixel_values"]
    assert torch.equal(pixels, rows.with_transform(mixes[0])[:]["pixel_values"])


def test_columns_with_a_prefix_are_recognised(rows):
    renamed = rows.rename_columns({name: f"dc_{name}" for name in ("generated", "status", "row_id")})
    mix = MixTransform(**TINY)
    mix.set_epoch(0)
    assert torch.equal(renamed.with_transform(mix)[:]["pixel_values"], rows.with_transform(mix)[:]["pixel_values"])


def test_without_row_ids_draws_depend_on_the_hash_of_the_image(rows):
    mix = MixTransform(**TINY)
    mix.set_epoch(0)
    view = rows.remove_columns("row_id").with_transform(mix)
    assert torch.equal(view[:]["pixel_values"][3], view[3:6]["pixel_values"][0])


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGBA", "P", "I;16"])
def test_images_of_any_mode_become_rgb(rows, mode):
    import io

    from PIL import Image as Pillow

    buffer = io.BytesIO()
    colour = Pillow.fromarray(np.random.default_rng(0).integers(0, 256, (30, 26, 3), dtype=np.uint8))
    converted = Pillow.fromarray(np.zeros((30, 26), np.uint16)) if mode == "I;16" else colour.convert(mode)
    converted.save(buffer, "JPEG" if mode in ("L", "CMYK") else "PNG")
    batch = {"image": [{"bytes": buffer.getvalue(), "path": None}], "generated": [None], "label": [1], "row_id": ["a"]}
    (sample,) = MixTransform(normalise=False, **TINY).samples(batch, [0])
    assert sample.pixels.shape == (3, 32, 32) and sample.label == 1


def test_an_unreadable_image_gets_the_ignored_label_and_is_logged(caplog):
    batch = {"image": [{"bytes": b"garbage", "path": None}], "generated": [None], "label": [1], "row_id": ["train/7"]}
    with caplog.at_level(logging.WARNING):
        transformed = MixTransform(**TINY)(batch)
    assert transformed["label"] == [-100] and "train/7" in caplog.text


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"partner": "class"}, "partner is 'class', which needs a pool. Give pool="),
        ({"partner": "neighbour"}, "partner is 'neighbour', not one of own, own_copies, class, any, real_same_class"),
        ({"kind": "blend"}, "kind is 'blend', not one of both"),
        ({"probability": 1.5}, "probability is 1.5, not a number in"),
        ({"alpha": 0}, "alpha is 0, not a number above 0"),
        ({"transform": "imagenet"}, "transform.preset is 'imagenet', not one of fgvc_scratch_224"),
    ],
)
def test_bad_arguments_raise_an_error(keys, line):
    with pytest.raises(ValueError, match="^" + line.replace("(", r"\(")):
        MixTransform(**keys)


@pytest.mark.parametrize(("drop", "kind"), [("generated", "generated"), ("image", "image"), ("label", "label")])
def test_a_missing_column_raises_an_error(rows, drop, kind):
    with pytest.raises(ValueError, match=rf"has no column '{drop}' \({kind}\). Its columns are "):
        MixTransform(**TINY).samples(rows.remove_columns(drop)[:], [0] * 15)


def test_rows_without_real_images_raise_an_error(rows):
    batch = rows[:2] | {"image": [None, None]}
    with pytest.raises(ValueError, match="has no real image. If the originals were left out, .* join_originals"):
        MixTransform(**TINY).samples(batch, [0, 0])


@pytest.mark.parametrize("call", [mixing_rows, lambda stream: MixTransform(partner="class", pool=stream)])
def test_a_stream_raises_an_error_if_rows_are_needed_by_index(rows, call):
    with pytest.raises(ValueError, match="stream"):
        call(rows.to_iterable_dataset())


def test_the_generated_image_is_decoded_only_if_the_draw_needs_it(rows, monkeypatch):
    decoded_cells = []
    decode = pairs.decoded
    monkeypatch.setattr(pairs, "decoded", lambda cell, files: (decoded_cells.append(cell), decode(cell, files))[1])
    batch = mixing_rows(rows)[:]
    for kind, expected in (("both", 15 + 2 * 12), ("none", 15 + 12)):
        decoded_cells.clear()
        MixTransform(kind=kind, **TINY).samples(batch, [0] * 27)
        assert len(decoded_cells) == expected


def test_the_default_size_is_the_size_of_the_preset():
    assert MixTransform(transform="cifar_preact_1200").protocol.size == 32
    assert MixTransform(48, transform=TransformConfig("cars448_author")).protocol.size == 48
    assert MixTransform().protocol.size == 224


@pytest.mark.parametrize("label", [None, -1])
def test_a_missing_label_becomes_the_ignored_label(rows, label):
    batch = rows[:2] | {"label": [label, 1]}
    assert [sample.label for sample in MixTransform(**TINY).samples(batch, [0, 0])] == [-100, 1]


def test_pixel_values_are_contiguous(rows):
    mix = MixTransform(**TINY)
    mix.set_epoch(0)
    assert rows.with_transform(mix)[:3]["pixel_values"].view(3, -1).shape == (3, 3 * 32 * 32)
