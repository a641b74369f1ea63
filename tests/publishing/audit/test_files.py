"""Tests of the checks of files: links, files that no manifest lists, and impossible paths in a manifest."""

import pytest
from card_facts import example_manifest

from diffcore_hf.publishing.audit.files import folder_files, listed_faults


@pytest.fixture
def folder(tmp_path):
    """Returns a folder with the files of the example manifest."""
    for entry in example_manifest()["files"]:
        (tmp_path / entry["path"]).parent.mkdir(exist_ok=True)
        (tmp_path / entry["path"]).write_bytes(b"x")
    (tmp_path / "README.md").write_text("card")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "fault", "note"),
    [
        ("data/train-other.parquet", "data/train-other.parquet is not in diffcore.json", None),
        ("generated/deep/x.csv", "generated/deep/x.csv is not in diffcore.json", None),
        ("data/.DS_Store", None, "data/.DS_Store is not a file of diffcore-hf"),
        ("assets/mine.png", None, "assets/mine.png is not a file of diffcore-hf"),
        ("birds.py", None, "birds.py is not a file of diffcore-hf"),
        ("LICENSE", None, None),
        (".diffcore/run.json", None, None),
        (".git/config", None, None),
    ],
)
def test_files_that_no_manifest_lists(folder, name, fault, note):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b"x")
    result = folder_files(folder, example_manifest())
    for found, expected in ((result.faults, fault), (result.notes, note)):
        assert len(found) == (expected is not None) and all(line.startswith(expected) for line in found)


@pytest.mark.parametrize("name", ["README.md", "data", "assets/contact_sheet.png", "compare.json", "diffcore.json"])
def test_a_link_is_a_fault(folder, tmp_path_factory, name):
    target = tmp_path_factory.mktemp("outside") / "target"
    if (folder / name).exists():
        (folder / name).rename(target)
    else:
        target.write_text("{}")
    (folder / name).symlink_to(target)
    assert folder_files(folder, example_manifest()).faults == [f"{name} is a link. Replace it by the file"]


def test_a_snapshot_in_the_cache_of_the_hub_links_to_its_own_files(folder, tmp_path_factory):
    repository = tmp_path_factory.mktemp("cache") / "datasets--org--birds"
    (repository / "blobs").mkdir(parents=True)
    (repository / "snapshots").mkdir()
    card = folder / "README.md"
    card.rename(repository / "blobs" / "abc")
    card.symlink_to("../../blobs/abc")
    snapshot = folder.rename(repository / "snapshots" / ("a" * 40))
    assert folder_files(snapshot, example_manifest()).faults == []
    (snapshot / "compare.json").symlink_to(repository.parent / "elsewhere")
    assert folder_files(snapshot, example_manifest()).faults == ["compare.json is a link. Replace it by the file"]


@pytest.mark.parametrize(
    "path", ["../x.parquet", "/etc/passwd", "data/../README.md", "data", "other/x", "data/a/b", ""]
)
def test_a_path_outside_the_folders_of_a_dataset_is_a_fault(path):
    manifest = example_manifest()
    manifest["files"].append({"path": path, "size": 1, "sha256": "0" * 64})
    assert f"diffcore.json names {path!r}, which is not the path of a file in a dataset" in listed_faults(manifest)


def test_each_shard_is_listed_once_and_in_one_configuration():
    manifest = example_manifest()
    assert listed_faults(manifest) == []
    shard, *_ = manifest["files"]
    manifest["files"].remove(shard)
    assert listed_faults(manifest) == [f"diffcore.json names the shard {shard['path']} without its hash"]
    manifest["files"] += [shard, shard]
    assert listed_faults(manifest) == [f"diffcore.json names {shard['path']} 2 times"]
    manifest["files"].remove(shard)
    manifest["configs"]["default"]["train"] = []
    assert listed_faults(manifest) == [f"diffcore.json lists {shard['path']}, which no configuration uses"]
