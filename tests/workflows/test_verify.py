"""Tests of `verify`: a changed dataset has faults, even if its manifest and card are made to fit the change."""

import json
import random
import shutil
import subprocess
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from benchmarks.tampering import OPERATIONS, change_rows, flip_bit, published_files, seal
from benchmarks.verifying import Copy, outcome
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.folder import Folder
from diffcore_hf.core.manifest import checked_manifest
from diffcore_hf.core.run_record import hashed_json
from diffcore_hf.core.schema import CONFIGS
from diffcore_hf.publishing.audit.report import Verification
from diffcore_hf.workflows import made_again, publication
from diffcore_hf.workflows.describe import folder_shards
from diffcore_hf.workflows.export import export
from diffcore_hf.workflows.train import write_worth
from diffcore_hf.workflows.verify import verified

ARM = {"name": "plain", "top1": 0.5, "difference": 0.0, "half_interval": None, "seen": None, "steps": 9}
NO_VALUE_FOLLOWS = ("text_embedding",)
"""Columns whose changes cannot be found, because no published value follows from them with the policy used here."""


@pytest.fixture(scope="module")
def dataset(done, tmp_path_factory):
    """Returns a copy of the published files of the finished run. A test changes it inside `trial()`."""
    return Copy(done.folder.path, tmp_path_factory.mktemp("published"))


def comparison(manifest_hash):
    arms = [ARM, ARM | {"name": "mix", "top1": 0.6, "difference": 0.1}]
    data = {"path": "birds", "hash": manifest_hash, "commit": None}
    return {"data": data, "arms": arms, "seeds": [0], "split": "train", "images": 9, "model": "r", "batch_size": 8}


def test_a_dataset_as_published_has_neither_faults_nor_notes(done):
    assert verified(str(done.folder.path)) == Verification()


def test_flipped_bits_are_found(dataset):
    draw = random.Random(3)
    files = published_files(dataset.folder)
    for path in [draw.choice(files) for _ in range(12)] + [dataset.folder / "README.md"] * 4:
        bit = draw.randrange(8 * path.stat().st_size)
        with dataset.trial() as folder:
            flip_bit(path, bit)
            assert outcome(folder) != "nothing", (path, bit)


@pytest.mark.parametrize("config", CONFIGS)
def test_changed_rows_of_a_dataset_that_was_sealed_anew_are_found(dataset, config):
    draw = random.Random(config)
    for operation in OPERATIONS:
        with dataset.trial() as folder:
            change = change_rows(folder, config, operation, draw)
            seal(folder)
            found = outcome(folder)
            assert found == "fault" or change is None or change.column in NO_VALUE_FOLLOWS, change


def test_a_shard_that_was_written_again_with_equal_rows_has_no_fault(dataset):
    with dataset.trial() as folder:
        [shard] = (folder / "attempts").iterdir()
        pq.write_table(pq.read_table(shard), shard)
        assert outcome(folder) == "fault"
        seal(folder)
        assert verified(str(folder)) == Verification()


@pytest.mark.parametrize(
    "policy",
    [
        {"name": "text_softmax"},
        {"name": "fixed", "t": 0.1},
        *({"name": "rank", "by": by} for by in ("classifier", "text", "context_free")),
    ],
)
def test_scores_and_bounds_of_each_policy_are_recomputed(done, tmp_path, policy):
    export(done.folder.path, tmp_path / "out", {"filter": {"policy": policy}})
    out = tmp_path / "out"
    assert verified(str(out)) == Verification()
    change_rows(out, "references", "edit", _Always("embedding"))
    seal(out)
    assert any("embedding" in fault or "references" in fault for fault in verified(str(out)).faults)


class _Always(random.Random):
    """Chooses the given column if it can be chosen, and otherwise the first value."""

    def __init__(self, column):
        super().__init__(0)
        self._column = column

    def choice(self, values):
        return self._column if self._column in values else values[0]


def test_compare_json_is_compared_with_its_hash_and_with_the_card(copy):
    manifest_hash = json.loads((copy / "diffcore.json").read_text())["hash"]
    write_worth(copy, comparison(manifest_hash))
    assert verified(str(copy)) == Verification()
    stored = (copy / "compare.json").read_bytes()
    (copy / "compare.json").write_bytes(stored.replace(b'"images": 9', b'"images": 8'))
    assert any("does not have the hash of its own content" in fault for fault in verified(str(copy)).faults)
    (copy / "compare.json").write_bytes(hashed_json(comparison(manifest_hash) | {"images": 8}))
    assert [fault[:15] for fault in verified(str(copy)).faults] == ["README.md: line"]
    (copy / "compare.json").unlink()
    assert [fault[:15] for fault in verified(str(copy)).faults] == ["README.md: line"]


def test_a_result_of_another_dataset_is_a_note(copy):
    (copy / "compare.json").write_bytes(hashed_json(comparison("0" * 64)))
    result = verified(str(copy))
    assert result.faults == [] and result.notes[0].startswith("compare.json was measured on another version")


@pytest.mark.parametrize("name", ["README.md", "compare.json"])
def test_a_folder_or_a_link_in_the_place_of_a_small_file_is_a_fault(copy, name):
    (copy / name).unlink(missing_ok=True)
    (copy / name).mkdir()
    assert [fault for fault in verified(str(copy)).faults if fault.startswith(name)]
    shutil.rmtree(copy / name)
    (copy / name).symlink_to("/dev/zero")
    assert [fault for fault in verified(str(copy)).faults if fault.startswith(name)]


@pytest.fixture(scope="module")
def signed(done, tmp_path_factory):
    """Returns a signed export, and the file of its signers."""
    folder = tmp_path_factory.mktemp("signed")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", folder / "key"], check=True)
    (folder / "signers").write_text(f"me@example.org {(folder / 'key.pub').read_text()}")
    export(done.folder.path, folder / "out", {}, sign=str(folder / "key"))
    return folder / "out", str(folder / "signers")


def test_a_signed_dataset_is_verified_with_its_signer(signed):
    out, signers = signed
    assert verified(str(out), signers) == Verification()
    assert verified(str(out)).notes == [
        "diffcore.json.sig was not checked. Use --signer FILE, where FILE lists the signers"
    ]


def test_a_signed_dataset_that_was_sealed_anew_is_found(signed, tmp_path):
    out, signers = signed
    copy = Copy(out, tmp_path / "out")
    for name in ("default", "classes"):
        with copy.trial() as folder:
            change_rows(folder, name, "edit", random.Random(1))
            seal(folder)
            assert verified(str(folder), signers).faults[0].startswith("diffcore.json is not the file that me@")
    with copy.trial() as folder:
        (folder / "diffcore.json.sig").unlink()
        assert verified(str(folder), signers).faults == ["diffcore.json has no signature diffcore.json.sig"]


@pytest.mark.parametrize("kind", ["link", "huge", "folder"])
def test_a_hostile_signature_is_a_fault(signed, tmp_path, kind):
    out, signers = signed
    shutil.copytree(out, tmp_path / "out")
    file = tmp_path / "out" / "diffcore.json.sig"
    content = file.read_bytes()
    file.unlink()
    if kind == "link":
        (tmp_path / "elsewhere").write_bytes(content)
        file.symlink_to(tmp_path / "elsewhere")
    elif kind == "huge":
        file.write_bytes(content * 1000)
    else:
        file.mkdir()
    faults = verified(str(tmp_path / "out"), signers).faults
    assert len(faults) == 1 and "diffcore.json" in faults[0]


def test_a_changed_export_has_no_old_signature(signed, done, tmp_path):
    out, _ = signed
    shutil.copytree(out, tmp_path / "out")
    export(done.folder.path, tmp_path / "out", {})
    assert (tmp_path / "out" / "diffcore.json.sig").is_file()
    export(done.folder.path, tmp_path / "out", {"fraction": 0.5})
    assert not (tmp_path / "out" / "diffcore.json.sig").exists()


def test_a_failed_export_keeps_the_signature_of_the_old_one(signed, done, tmp_path, monkeypatch):
    shutil.copytree(signed[0], tmp_path / "out")

    def fail(*_):
        raise UserError("the disk is full")

    monkeypatch.setattr(publication, "replace_export", fail)
    with pytest.raises(UserError, match="the disk is full"):
        export(done.folder.path, tmp_path / "out", {"fraction": 0.5})
    assert verified(str(tmp_path / "out"), signed[1]) == Verification()


def test_models_are_not_loaded_for_a_dataset_with_faults(copy):
    next((copy / "classes").iterdir()).unlink()
    result = verified(str(copy), rescore=1)
    assert result.faults
    assert result.notes == ["no image was embedded or generated again, because the dataset has faults"]


def test_only_the_values_of_a_card_with_other_texts_are_checked(copy, monkeypatch):
    note = "README.md: another version of diffcore-hf wrote the card, so only its values are checked"
    monkeypatch.setattr("diffcore_hf.workflows.verify.text_digest", lambda: "other")
    assert verified(str(copy)) == Verification(notes=[note])


def test_images_are_embedded_and_generated_again(done):
    assert verified(str(done.folder.path), rescore=3, regenerate=3) == Verification()


def test_another_embedding_or_image_is_a_fault(copy):
    tables = folder_shards(copy, checked_manifest(Folder(copy).manifest(), str(copy)))
    shards = replace(tables, images=True)
    one, two = made_again.sampled(shards, 2)
    first, second = replace(one, key=two.key), replace(two, key=one.key)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(made_again, "sampled", lambda *_: [first, second])
        faults = made_again.regenerated(Folder(copy), shards, 2)
        assert len(faults) == 2
        assert all("differs from the image that was generated again" in fault for fault in faults)
        other = replace(first, embedding=-first.embedding)
        patch.setattr(made_again, "sampled", lambda *_: [other])
        [fault] = made_again.rescored(Folder(copy), shards, 1)
        assert "has another embedding: its cosine to the stored one is -" in fault


@pytest.mark.parametrize("options", [{"rescore": 0}, {"regenerate": -1}])
def test_a_number_below_one_is_one_line(done, options):
    with pytest.raises(UserError, match="Use a number above 0"):
        verified(str(done.folder.path), **options)


def test_an_export_is_generated_again_only_in_the_folder_of_its_run(signed):
    with pytest.raises(UserError, match="is an export. Name the folder that it was exported from"):
        verified(str(signed[0]), regenerate=1)


@pytest.mark.parametrize("key", ["source", "layout", "recipe"])
def test_a_lone_surrogate_in_the_manifest_is_one_line(copy, key):
    path = copy / "diffcore.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: "\ud800"}))
    with pytest.raises(UserError, match="has a text that is not valid Unicode") as error:
        verified(str(copy))
    assert "\n" not in str(error.value)
