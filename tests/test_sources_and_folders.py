"""Tests of changed sources and folders, such as another version, another order of columns, or a cleaned run."""

from __future__ import annotations

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Value
from small_photos import photos

from diffcore_hf.augmentation.source import dataset as sources
from diffcore_hf.config.augment import SourceConfig
from diffcore_hf.core import loading
from diffcore_hf.core.folder import Folder
from diffcore_hf.workflows import augment as augment_workflow
from diffcore_hf.workflows import export as export_workflow

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def run(recipe, tmp_path):
    """Returns a function that runs on eight photos in memory, with some keys changed, into the folder `out`."""

    def go(**keys):
        made = recipe(**{"output": str(tmp_path / "out"), "source.path": sources.IN_MEMORY, **keys})
        return augment_workflow.run(made, photos([4, 4]), progress=False)

    return go


def test_a_run_does_not_overwrite_a_cleaned_folder(run, tmp_path):
    finished = run()
    Folder(tmp_path / "out").clean()
    before = (tmp_path / "out/diffcore.json").read_bytes()
    with pytest.raises(ValueError, match="was cleaned"):
        run()
    assert (tmp_path / "out/diffcore.json").read_bytes() == before
    assert finished.summary.counts["rows"] == 8


def test_an_export_without_the_facts_of_its_references_raises_an_error(run, tmp_path):
    run(**{"filter.references": 2, "fraction": 0.25})
    with pytest.raises(ValueError, match="draws 4 real images for which .* has no embedding"):
        export_workflow.export(tmp_path / "out", tmp_path / "more", {"filter": {"references": 4}})
    assert not (tmp_path / "more").exists()


@pytest.mark.parametrize("name", ["row_id", "copy", "similarity", "is_generated"])
def test_a_label_column_must_not_have_the_name_of_an_added_column(name):
    ds = photos([2, 2]).rename_column("label", name)
    with pytest.raises(
        ValueError,
        match=f"{name}.*(the dataset configuration `generated` uses|the name of a column that is added)",
    ):
        sources.load_source(SourceConfig(sources.IN_MEMORY, label=name), data=ds)


def test_splits_may_have_columns_in_another_order_but_not_with_other_types():
    train = photos([2, 2])
    test = train.select_columns(["label", "image"])
    loaded = sources.load_source(SourceConfig(sources.IN_MEMORY), data=DatasetDict(train=train, test=test))
    assert loaded.splits["test"].column_names == ["image", "label"]
    other = train.cast_column("label", Value("int64"))
    with pytest.raises(ValueError, match=r"column 'label' holds .* in split 'test'"):
        sources.load_source(SourceConfig(sources.IN_MEMORY), data=DatasetDict(train=train, test=other))


def test_a_dataset_in_memory_replaces_the_source_of_a_shipped_recipe():
    named, rows = augment_workflow.as_recipe(photos([2, 2]), "cub", {})
    assert (named.source.path, rows is not None) == (sources.IN_MEMORY, True)
    assert augment_workflow.as_recipe(photos([2, 2]), "cub", {"source": "org/mine"})[0].source.path == "org/mine"


def test_the_licence_of_a_folder_is_read_from_its_card(tmp_path):
    photos([2, 2]).to_parquet(tmp_path / "train.parquet")
    (tmp_path / "README.md").write_text("---\nlicense: cc0-1.0\n---\n\nPhotos.\n")
    assert sources.load_source(SourceConfig(str(tmp_path))).licence == "cc0-1.0"


def test_a_hub_source_is_pinned_to_its_commit(tmp_path, monkeypatch):
    """The recipe contains the commit. In offline mode the branch is resolved to the same commit."""
    import huggingface_hub
    from huggingface_hub import constants

    class Info:
        sha = COMMIT

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *_, **__: Info)
    assert loading.commit_of("org/birds", None, section="source") == COMMIT
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert loading.commit_of("org/birds", None, section="source") == COMMIT
    assert loading.commit_of("org/birds", COMMIT, section="source") == COMMIT


def test_a_cached_dataset_at_another_commit_is_not_used(monkeypatch):
    """If the Hub fails, `datasets` uses any cached version. The hash of its builder is the commit of that version."""
    import datasets

    class Builder:
        hash = "f" * 40

    monkeypatch.setattr(datasets, "load_dataset_builder", lambda *_, **__: Builder)
    with pytest.raises(ValueError, match=f"the cache contains commit {'f' * 40}, not {COMMIT}"):
        sources.load_source(SourceConfig("org/birds", revision=COMMIT))


def test_a_source_with_an_empty_split_is_augmented(run, recipe, tmp_path):
    ds = DatasetDict(train=photos([3, 3]), test=photos([3, 3]).select([]))
    made = recipe(**{"output": str(tmp_path / "two"), "source.path": sources.IN_MEMORY})
    assert augment_workflow.run(made, ds, progress=False).summary.counts["rows"] == 6


def test_class_names_keep_the_order_of_the_label_feature():
    ds = Dataset.from_dict({"image": photos([1, 1])["image"], "label": [1, 0]}).cast_column(
        "label", ClassLabel(names=["zebra", "ant"])
    )
    assert sources.load_source(SourceConfig(sources.IN_MEMORY), data=ds).names == ("zebra", "ant")


def test_a_folder_with_a_card_is_read_without_the_cache_of_datasets(tmp_path):
    """The cache of `datasets` identifies such a folder only by names, not by its path or its content."""
    card = "---\nconfigs:\n- config_name: default\n  data_files: train.parquet\n---\n"
    seen = []
    for place, counts in (("a", [2, 2]), ("b", [3, 2]), ("a", [2, 4])):
        folder = tmp_path / place / "birds"
        folder.mkdir(parents=True, exist_ok=True)
        photos(counts).to_parquet(folder / "train.parquet")
        (folder / "README.md").write_text(card)
        seen.append(len(sources.load_source(SourceConfig(str(folder))).rows))
    assert seen == [4, 5, 6]
