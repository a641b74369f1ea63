"""Tests of the labels of images with drawn classes, for each mode and partner, for mixes and for mixers."""

import numpy as np
import pytest
import torch
from augmented_photos import augmented
from datasets import ClassLabel, Value, concatenate_datasets

from diffcore_hf import MixTransform, mixing_rows
from diffcore_hf.core.errors import UserError
from diffcore_hf.method.soft_labels import target_weight
from diffcore_hf.training.comparison import trials
from diffcore_hf.training.data.columns import Columns
from diffcore_hf.training.data.image_labels import mixed_label, probabilities, soft_label
from diffcore_hf.training.data.pool import Pool
from diffcore_hf.training.data.samples import train_samples
from diffcore_hf.training.data.training_data import load_data

WEIGHT = target_weight(0.7, 0.5)
TINY = {"size": 32, "transform": "tiny_preact_1200"}
CLASSES = 3


@pytest.mark.parametrize(
    ("label", "target", "strength", "gamma", "expected"),
    [
        (0, 1, 0.7, 0.5, (0.163, 0.837, 0)),
        (0, 1, 1.0, 0.5, (0, 1, 0)),  # nothing of the real image remains
        (0, 1, None, 0.5, (0, 1, 0)),  # the image was not generated from a real image
        (1, None, 0.7, 0.5, (0, 1, 0)),  # the image shows the class of its row
        (1, 1, 0.7, 0.5, (0, 1, 0)),
        (2, 0, 0.7, 0.0, (1, 0, 0)),
    ],
)
def test_a_label_has_the_weight_of_the_drawn_class_and_sums_to_1(label, target, strength, gamma, expected):
    weights = soft_label(label, target, target_weight(strength, gamma))
    row = probabilities([weights], CLASSES)[0]
    assert row.tolist() == pytest.approx(expected, abs=5e-4)
    assert row.sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("share", "expected"),
    [(1.0, (1, 0, 0)), (0.0, (0.163, 0.837, 0)), (0.5, (0.582, 0.418, 0)), (0.25, (0.373, 0.627, 0))],
)
def test_the_label_of_a_mix_follows_the_shares_of_the_pixels(share, expected):
    mix = mixed_label(soft_label(0, None, None), soft_label(0, 1, WEIGHT), share)
    assert probabilities([mix], CLASSES)[0].tolist() == pytest.approx(expected, abs=1e-3)


def with_targets(rows, shift=1):
    """Returns rows whose counterparts show the next class with weight 0.837. Every third shows the class of its row."""
    kept = [status == "kept" and index % 3 > 0 for index, status in enumerate(rows["status"])]
    labels = rows["label"][:]
    targets = [(label + shift) % CLASSES if flag else None for label, flag in zip(labels, kept, strict=True)]
    rows = rows.add_column("target_label", targets, feature=ClassLabel(names=rows.features["label"].names))
    return rows.add_column("target_weight", [WEIGHT if flag else None for flag in kept], feature=Value("float32"))


def generated_rows(rows):
    """Returns the kept images of rows as the dataset configuration `generated`."""
    kept = rows.filter(lambda status: status == "kept", input_columns="status")
    kept = kept.select_columns(["generated", "label", "row_id", "target_label", "target_weight"])
    return kept.rename_column("generated", "image")


def expected_row(row):
    """Returns the probabilities of the counterpart of a row."""
    return probabilities([soft_label(row["label"], row["target_label"], row["target_weight"])], CLASSES)[0]


@pytest.fixture(scope="module")
def soft_folder(tmp_path_factory):
    """Returns a folder with configurations `default` and `generated` whose counterparts show drawn classes."""
    folder = tmp_path_factory.mktemp("soft") / "photos"
    for path, table in {
        "data/train-0.parquet": with_targets(augmented()),
        "data/test-0.parquet": with_targets(augmented((2, 2, 2), start=30)),
        "generated/train.parquet": generated_rows(with_targets(augmented())),
    }.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        table.to_parquet(folder / path)
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files:\n  - {split: train, path: data/train-*}\n"
        "  - {split: test, path: data/test-*}\n- config_name: generated\n  data_files:\n"
        "  - {split: train, path: generated/train.parquet}\n---\n"
    )
    return folder


@pytest.fixture
def epoch(soft_folder, train_recipe):
    """Returns a function of keys of section `mix`. It returns all samples of an epoch as one batch, and the data."""

    def epoch(number=0, with_pairs=False, **mix):
        recipe = train_recipe(data={"path": str(soft_folder)}, mix=mix)
        data = load_data(recipe.data, recipe.mix)
        samples = train_samples(recipe, data, seed=0, with_pairs=with_pairs)
        return samples.__getitems__([(number, index) for index in range(len(samples))]), data

    return epoch


def test_append_adds_each_counterpart_with_its_own_label(epoch):
    """Mode `append` has every real image with its class, then every counterpart with its label."""
    batch, data = epoch(mode="append", kind="none")
    rows = with_targets(augmented())
    assert torch.equal(batch["targets"][:15], probabilities([((label, 1.0),) for label in rows["label"]], CLASSES))
    kept = [row for row in rows if row["status"] == "kept"]
    assert len(kept) == 12
    assert torch.equal(batch["targets"][15:], torch.stack([expected_row(row) for row in kept]))
    assert data.train.labels.tolist() == rows["label"][:]


@pytest.mark.parametrize("probability", [1.0, 0.4])
def test_replace_gives_a_replaced_sample_the_label_of_its_own_counterpart(epoch, probability):
    """Probability 1 replaces every sample that has a counterpart; a lower probability replaces some of them."""
    batch, _ = epoch(mode="replace", kind="none", probability=probability)
    replaced = 0
    for row, target in zip(with_targets(augmented()), batch["targets"], strict=True):
        real = probabilities([((row["label"], 1.0),)], CLASSES)[0]
        generated = expected_row(row) if row["status"] == "kept" else real
        assert any(torch.equal(target, label) for label in (real, generated))
        replaced += not torch.equal(target, real)
        if probability == 1:
            assert torch.equal(target, generated)
    assert batch["mixed"] == 12 if probability == 1 else 0 < batch["mixed"] < 12
    assert replaced > 0


def test_partner_any_replaces_a_sample_with_any_image_and_the_label_of_this_image(epoch, soft_folder):
    """The label depends on the drawn image alone, and every image is drawn about equally often."""
    known = [expected_row(row) for row in generated_rows(with_targets(augmented()))]
    shown = []
    for number in range(12):
        batch, data = epoch(number, mode="replace", kind="none", partner="any", probability=1.0)
        assert batch["mixed"] == 15
        assert len(data.pool) == 12
        for target in batch["targets"]:
            assert any(torch.equal(target, label) for label in known)
        shown += batch["targets"].argmax(1).tolist()
    share = np.bincount(shown, minlength=CLASSES) / len(shown)
    expected = np.bincount([int(label.argmax()) for label in known], minlength=CLASSES) / 12
    assert np.abs(share - expected).max() < 0.12


def test_partner_own_copies_draws_from_the_images_of_the_row_itself(epoch):
    rows = with_targets(augmented())
    batch, _ = epoch(mode="replace", kind="none", partner="own_copies", probability=1.0)
    own, _ = epoch(mode="replace", kind="none", partner="own", probability=1.0)
    assert torch.equal(batch["targets"], own["targets"])  # there is one copy of each row
    kept = generated_rows(rows)
    twice = Pool(concatenate_datasets([kept, kept]), Columns(), without_self=False, partner="own_copies")
    for index, row_id in enumerate(kept["row_id"][:]):
        drawn = {twice.draw(np.random.default_rng(seed), 0, row_id) for seed in range(40)}
        assert drawn == {index, index + len(twice) // 2}
    assert twice.draw(np.random.default_rng(0), 0, "no such row") is None
    with pytest.raises(UserError, match="no column 'row_id'"):
        Pool(kept.remove_columns("row_id"), Columns(), without_self=False, partner="own_copies")


@pytest.mark.parametrize("kind", ["pixel", "patch", "both"])
@pytest.mark.parametrize("partner", ["own", "any", "class"])
def test_labels_of_mixes_sum_to_1_and_follow_the_share_of_the_real_image(epoch, kind, partner):
    batch, data = epoch(mode="append", kind=kind, partner=partner)
    assert batch["targets"].sum(1).tolist() == pytest.approx([1.0] * len(batch["targets"]), abs=1e-6)
    assert batch["targets"].shape == (len(batch["images"]), CLASSES)
    assert (batch["targets"][15:] > 0).sum(1).max() > 1
    if partner == "class":
        rows = data.train.labels[data.layout.rows[15:]]
        drawn = [data.pool.labels.shown[index] for index in range(len(data.pool))]
        assert set(drawn) == set(rows)


def test_the_pair_of_a_mixer_has_the_label_of_the_counterpart(epoch):
    batch, _ = epoch(mode="replace", kind="none", probability=0.0, with_pairs=True)
    for row, own, pair in zip(with_targets(augmented()), batch["targets"], batch["pair_targets"], strict=True):
        real = probabilities([((row["label"], 1.0),)], CLASSES)[0]
        assert torch.equal(own, real)
        assert torch.equal(pair, expected_row(row) if row["status"] == "kept" else real)


def test_labels_stay_class_indices_if_no_image_with_another_class_is_read(epoch):
    batch, data = epoch(mode="off")
    assert "targets" not in batch
    assert not data.has_soft_labels


def test_layouts_of_single_images_train_with_the_label_of_each_image(tmp_path, train_recipe):
    rows = with_targets(augmented())
    kept = generated_rows(rows)
    kept = kept.add_column("is_generated", [True] * len(kept))
    kept.to_parquet(tmp_path / "train.parquet")
    recipe = train_recipe(data={"path": str(tmp_path), "holdout": 0.0}, mix={"mode": "off"})
    (tmp_path / "test.parquet").write_bytes((tmp_path / "train.parquet").read_bytes())
    data = load_data(recipe.data, recipe.mix)
    samples = train_samples(recipe, data, seed=0)
    targets = samples.__getitems__([(0, index) for index in range(len(samples))])["targets"]
    assert torch.equal(targets, torch.stack([expected_row(row) for row in kept]))


def test_the_transform_of_other_loops_needs_the_number_of_classes():
    rows = with_targets(augmented())
    with pytest.raises(UserError, match=r"Give MixTransform\(classes=N\)"):
        mixing_rows(rows).with_transform(MixTransform(**TINY))[:2]
    mix = MixTransform(**TINY, kind="none", classes=CLASSES)
    mix.set_epoch(0)
    labels = mixing_rows(rows).with_transform(mix)[:]["label"]
    assert torch.equal(labels[15:], torch.stack([expected_row(row) for row in rows if row["status"] == "kept"]))
    with pytest.raises(UserError, match="classes is 2"):
        mixing_rows(rows).with_transform(MixTransform(**TINY, classes=2))[:]
    unmixed = MixTransform(**TINY, probability=0.0)
    assert rows.with_transform(unmixed)[:3]["label"] == rows["label"][:3]


def test_partner_any_gives_other_loops_the_class_of_the_drawn_image():
    rows, pool = (
        augmented(),
        generated_rows(with_targets(augmented())).remove_columns(["target_label", "target_weight"]),
    )
    mix = MixTransform(**TINY, kind="none", partner="any", pool=pool)
    mix.set_epoch(0)
    drawn = [mix.draw(row["row_id"], 0, None, row["label"], 0).pool_index for row in rows]
    assert rows.with_transform(mix)[:]["label"] == [pool["label"][index] for index in drawn]
    with pytest.raises(UserError, match=r"classes=N"):
        rows.with_transform(MixTransform(**TINY, kind="pixel", partner="any", pool=pool))[:]


def test_a_training_with_drawn_classes_and_a_mixer_finishes(soft_folder, train_recipe):
    recipe = train_recipe(
        data={"path": str(soft_folder)},
        mix={"mode": "append", "kind": "both", "partner": "any"},
        mixer={"name": "cutmix"},
        max_steps=2,
    )
    comparison = trials.run(recipe, progress=False)
    assert comparison["images"] == 6
