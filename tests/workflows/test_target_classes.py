"""Tests of a run whose images show drawn classes: labels, rejections and columns follow the target class."""

import json
from types import MappingProxyType

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Value, load_dataset
from small_photos import CLASSES, photos, picture

from diffcore_hf import join_originals
from diffcore_hf.augmentation.decisions import Decider
from diffcore_hf.core.errors import UserError
from diffcore_hf.generation.base import Samples, Strategy
from diffcore_hf.training.data.image_labels import probabilities, read_image_labels, soft_label
from diffcore_hf.workflows import augment, export, verify

COLOURS = ((40, 80, 200), (50, 180, 60), (200, 60, 40))
NAMES = sorted(CLASSES[:3])


class Coloured(Strategy):
    """Draws noise in the colour of the target class."""

    uses_model = False
    reads = ("target_label", "strength", "seed")
    targets = "any"
    defaults = MappingProxyType({"strength": [0.5, 1.0]})

    def sample(self, batch):
        images = []
        for label, seed in zip(batch["target_label"], batch["seed"], strict=True):
            noise = np.random.default_rng(seed).integers(-20, 20, (16, 16, 3))
            images.append(np.clip(np.array(COLOURS[label]) + noise, 0, 255))
        assert set(batch["strength"]) <= {0.5, 1.0}
        return Samples(torch.from_numpy(np.stack(images).astype(np.uint8)).permute(0, 3, 1, 2), [None] * len(images))


def keys_of(folder, source, keys, **more):
    """Returns the keys of a recipe whose strategy draws the classes."""
    base = {"source": str(source), "output": str(folder), "strategy": {"name": f"{__name__}:Coloured"}, "copies": 3}
    return base | {"filter": keys["filter"] | {"policy": "all"}, "max_attempts": 1} | more


@pytest.fixture(scope="module")
def out(folder_of_photos, keys, tmp_path_factory):
    """Returns the folder of a finished run with three copies of ten photos."""
    folder = tmp_path_factory.mktemp("targets") / "out"
    augment.augment(**keys_of(folder, folder_of_photos, keys), progress=False)
    return folder


def rows(folder, name="default", **options):
    """Returns the rows of a dataset configuration."""
    return load_dataset(str(folder), name, split="train", cache_dir=str(folder.parent / "cache"), **options)


def expected(attempt, gamma=1.0):
    """Returns target class and weight of an attempt. Both are None if the attempt shows the class of its row."""
    return (
        (attempt["target_label"], attempt["strength"] ** gamma) if attempt["target_label"] is not None else (None,) * 2
    )


def test_the_published_columns_state_the_class_and_its_weight(out):
    attempts = {(row["row_id"], row["copy"]): row for row in rows(out, "attempts")}
    assert len(attempts) == 30
    assert {row["strength"] for row in attempts.values()} == {0.5, 1.0}
    assert any(row["target_label"] is None for row in attempts.values())
    default, generated = rows(out), rows(out, "generated")
    for table in (default, generated):
        assert table.features["target_label"] == ClassLabel(names=NAMES)
        assert table.features["target_weight"] == Value("float32")
    for row in generated:
        attempt = attempts[row["row_id"], row["copy"]]
        assert (row["target_label"], row["target_weight"]) == expected(attempt)
        assert row["target_label"] != row["label"] == attempt["label"]
        shown = row["label"] if row["target_label"] is None else row["target_label"]
        assert np.abs(np.asarray(row["image"], float).mean((0, 1)) - COLOURS[shown]).max() < 10
        assert NAMES[shown].replace("_", " ") in attempt["prompt"]
    for row in default:
        assert (row["target_label"], row["target_weight"]) == expected(attempts[row["row_id"], 0])


def test_attempts_are_counted_for_the_class_that_the_image_has_to_show(out):
    attempts = rows(out, "attempts")
    shown = [row["label"] if row["target_label"] is None else row["target_label"] for row in attempts]
    classes = rows(out, "classes")
    assert classes["kept"][:] == classes["attempts"][:] == [shown.count(label) for label in range(3)]
    assert classes["images"][:] == [3, 3, 4]


def test_a_class_is_given_up_by_the_class_that_its_images_show(out):
    material = export.read_decided(out)
    decider = Decider.read(material.run)
    assert decider.units.labels.tolist() == material.plan.shown.tolist()
    assert decider.units.labels.tolist() != material.plan.labels.tolist()


def test_the_filter_compares_an_image_with_the_real_images_of_the_class_that_it_shows(out, tmp_path):
    """The colours are those of the classes, so an image is rejected if it is compared with the wrong class."""
    layer = {"filter": {"policy": {"name": "rank", "by": "class_mean", "floor": "off"}}}
    export.export(out, tmp_path / "ranked", layer)
    ranked = rows(tmp_path / "ranked", "attempts")
    of_others = [row for row in ranked if row["target_label"] is not None]
    assert len(of_others) > 10
    assert np.mean([row["class_rank"] == 1 for row in of_others]) > 0.6
    assert verify.verify(str(tmp_path / "ranked")) == []


def test_another_gamma_generates_no_image(out, tmp_path, keys, folder_of_photos):
    export.export(out, tmp_path / "gamma", {"strategy": {"gamma_label": 2.0}})
    for row in rows(tmp_path / "gamma", "attempts"):
        assert (row["target_label"], row["target_weight"]) == expected(row, 2.0)
    manifests = [json.loads((folder / "diffcore.json").read_text()) for folder in (out, tmp_path / "gamma")]
    assert manifests[0]["attempt_digest"] == manifests[1]["attempt_digest"]
    assert manifests[0]["recipe_digest"] != manifests[1]["recipe_digest"]
    assert "gamma_label" not in manifests[0]["recipe"]["strategy"]
    changed = keys_of(out, folder_of_photos, keys)
    changed["strategy"] = changed["strategy"] | {"targets": "other"}
    with pytest.raises(UserError, match="strategy.targets: .*any.* -> .*other"):
        augment.augment(**changed, progress=False)


@pytest.mark.parametrize("layout", ["columns", "rows", "mixed"])
def test_every_layout_has_the_labels_of_its_images(out, tmp_path, layout):
    export.export(out, tmp_path / layout, {}, layout)
    assert verify.verify(str(tmp_path / layout)) == []
    attempts = {(row["row_id"], row["copy"]): row for row in rows(out, "attempts")}
    for row in rows(tmp_path / layout):
        label, weight = row["target_label"], row["target_weight"]
        if layout == "rows":
            of_row = {expected(attempts[row["row_id"], copy]) for copy in range(3)}
            assert (label, weight) in (of_row if row["is_generated"] else {(None, None)})
        if layout == "mixed":
            first = expected(attempts[row["row_id"], 0])
            assert label == (first[0] if row["is_mixed"] else None)
            if label is not None:
                assert weight == pytest.approx(first[1] * (1 - row["real_share"]), abs=1e-6)


@pytest.mark.parametrize(("column", "value"), [("target_label", 0), ("target_weight", 0.9)])
@pytest.mark.parametrize("name", ["generated", "data", "attempts"])
def test_verify_reports_a_changed_label(out, tmp_path, name, column, value):
    import pyarrow as pa
    import pyarrow.parquet as pq

    from diffcore_hf.publishing.audit.dataset import audit
    from diffcore_hf.publishing.audit.shards import Shards

    def read(path, columns):
        table = pq.read_table(out / path, columns=list(columns))
        if path.startswith(f"{name}/") and column in columns:
            index = next(i for i, row in enumerate(table["target_label"].to_pylist()) if row not in (None, value))
            values = table[column].to_pylist()
            values[index] = value
            table = table.set_column(
                list(columns).index(column), column, pa.array(values, table.schema.field(column).type)
            )
        return [table]

    manifest = json.loads((out / "diffcore.json").read_text())
    shards = Shards(manifest, read, lambda path: pq.read_schema(out / path).names, images=False)
    assert any("label" in line or "target class" in line for line in audit(shards))


WRONG_LABELS = {
    "the class of the row alone": lambda row, shown, strength: {row: 1},
    "the drawn class alone": lambda row, shown, strength: {shown: 1},
    "the weights are exchanged": lambda row, shown, strength: {row: strength**0.5, shown: 1 - strength**0.5},
    "the exponent is applied twice": lambda row, shown, strength: {row: 1 - strength**0.25, shown: strength**0.25},
    "the exponent is left out": lambda row, shown, strength: {row: 1 - strength, shown: strength},
    "one strength for all images": lambda row, shown, strength: {row: 1 - 0.5**0.5, shown: 0.5**0.5},
    "equal classes have the weight of one of them": lambda row, shown, strength: {row: 1 - strength**0.5},
    "the next class": lambda row, shown, strength: {row: 1 - strength**0.5, (shown + 1) % 3: strength**0.5},
    "indices of sorted names": lambda row, shown, strength: {
        NAMES.index(CLASSES[row]): 1 - strength**0.5,
        NAMES.index(CLASSES[shown]): strength**0.5,
    },
}
"""Wrong formulas that other programs use for the label of such an image: class -> weight, for exponent 0.5."""


@pytest.fixture(scope="module")
def trained(keys, tmp_path_factory):
    """Returns (class of the row, class that the pixels show, strength, label for a training) of each kept image.

    The class names of the source are not sorted.
    """
    folder = tmp_path_factory.mktemp("labels") / "out"
    base = {key: value for key, value in keys_of(folder, "", keys).items() if key != "source"}
    base["strategy"] = base["strategy"] | {"gamma_label": 0.5}
    augment.augment(photos([4, 3, 3]), **base, progress=False)
    generated = rows(folder, "generated")
    strengths = {(row["row_id"], row["copy"]): row["strength"] for row in rows(folder, "attempts")}
    labels = read_image_labels(generated, np.array(generated["label"][:]), list(CLASSES[:3]))
    colours = [np.asarray(image, float).mean((0, 1)) for image in generated["image"][:]]
    shown = [int(np.abs(np.array(COLOURS) - colour).sum(1).argmin()) for colour in colours]
    drawn = [strengths[row["row_id"], row["copy"]] for row in generated]
    label_rows = probabilities([labels[index] for index in range(len(generated))], 3)
    return list(zip(generated["label"][:], shown, drawn, label_rows.tolist(), strict=True))


def vector(weights):
    """Returns weights of classes as a list of three numbers."""
    return [weights.get(label, 0) for label in range(3)]


def test_the_label_of_a_training_follows_the_formula_for_each_image(trained):
    for row, shown, strength, label in trained:
        expected = np.array(vector({row: 1 - strength**0.5})) + vector({shown: strength**0.5})
        assert label == pytest.approx(expected.tolist(), abs=1e-6)
        assert sum(label) == pytest.approx(1)
    assert {row == shown for row, shown, _, _ in trained} == {True, False}
    assert {strength for _, _, strength, _ in trained} == {0.5, 1.0}


@pytest.mark.parametrize("fault", WRONG_LABELS)
def test_a_training_does_not_have_the_wrong_labels_of_other_programs(trained, fault):
    wrong = [vector(WRONG_LABELS[fault](row, shown, strength)) for row, shown, strength, _ in trained]
    labels = [label for _, _, _, label in trained]
    assert any(label != pytest.approx(other, abs=1e-3) for label, other in zip(labels, wrong, strict=True))


NAMES_WITH_SEPARATORS = ("a", "a-b", "a_b", "012.a-b", "a 0.7", "b-a")


def test_labels_do_not_depend_on_how_classes_are_named(tmp_path, keys):
    """Names of files contain names of classes, separators and numbers, but no label is read from such a name."""
    source = tmp_path / "photos"
    for label, name in enumerate(NAMES_WITH_SEPARATORS):
        (source / name).mkdir(parents=True)
        for number in range(2):
            (source / name / f"{NAMES_WITH_SEPARATORS[-label]}-0.5-{number}.jpg").write_bytes(picture(label, number))
    strategy = {"name": f"{__name__}:Numbered"}
    augment.augment(**keys_of(tmp_path / "out", source, keys, strategy=strategy, copies=2), progress=False)
    names = rows(tmp_path / "out").features["label"].names
    assert set(names) == set(NAMES_WITH_SEPARATORS)
    for row in rows(tmp_path / "out", "generated"):
        shown = row["label"] if row["target_label"] is None else row["target_label"]
        assert abs(np.asarray(row["image"], float).mean() - 40 * shown) < 4
        probabilities = soft_label(row["label"], row["target_label"], row["target_weight"])
        assert sum(weight for _, weight in probabilities) == pytest.approx(1)
        assert row["target_label"] != row["label"]


class Numbered(Coloured):
    """Draws a grey that is 40 times the index of the target class."""

    def sample(self, batch):
        greys = torch.tensor(batch["target_label"], dtype=torch.float32)[:, None, None, None] * 40
        noise = torch.stack(
            [torch.rand((3, 16, 16), generator=torch.Generator().manual_seed(s)) for s in batch["seed"]]
        )
        return Samples((greys + 4 * noise).to(torch.uint8), [None] * len(greys))


def test_a_dataset_without_originals_gets_them_back_and_keeps_its_labels(out, folder_of_photos, tmp_path):
    export.export(out, tmp_path / "bare", {"include_originals": False})
    assert verify.verify(str(tmp_path / "bare")) == []
    joined = join_originals(str(tmp_path / "bare"), source=str(folder_of_photos))["train"]
    labels = [(row["target_label"], row["target_weight"]) for row in rows(out)]
    assert list(zip(joined["target_label"][:], joined["target_weight"][:], strict=True)) == labels
    assert None not in joined["image"][:]


def test_a_source_in_memory_is_exported_again_without_the_columns_of_the_labels(tmp_path, keys):
    base = {key: value for key, value in keys_of(tmp_path / "out", "", keys).items() if key != "source"}
    augment.augment(photos([3, 3]), **base, progress=False)
    export.export(tmp_path / "out", tmp_path / "again", {})
    assert rows(tmp_path / "again").column_names == rows(tmp_path / "out").column_names


def test_a_source_with_a_column_of_the_same_name_needs_a_prefix(tmp_path, keys):
    base = {key: value for key, value in keys_of(tmp_path / "out", "", keys).items() if key != "source"}
    source = photos([3, 3]).add_column("target_label", ["x"] * 6)
    with pytest.raises(UserError, match=r"already has a column 'target_label'.*--columns.prefix dc_"):
        augment.augment(source, **base, progress=False)
    augment.augment(source, **base, columns={"prefix": "dc_"}, progress=False)
    assert {"target_label", "dc_target_label"} <= set(rows(tmp_path / "out").column_names)
