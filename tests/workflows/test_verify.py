"""Tests of `verify`: changes of a published dataset, as published, and with a manifest and card made to fit."""

import json
import random
import shutil

import pyarrow.parquet as pq
import pytest

from benchmarks.tampering import OPERATIONS, change_rows, flip_bit, published_files, seal
from benchmarks.verifying import Copy, outcome
from diffcore_hf.core.run_record import hashed_json
from diffcore_hf.core.schema import CONFIGS
from diffcore_hf.publishing.audit.report import Verification
from diffcore_hf.workflows.export import export
from diffcore_hf.workflows.train import write_worth
from diffcore_hf.workflows.verify import verified

ARM = {"name": "plain", "top1": 0.5, "difference": 0.0, "half_interval": None, "seen": None, "steps": 9}
NO_VALUE_FOLLOWS = ("text_embedding",)
"""Columns whose values no other published value follows from, with the policy of these tests."""


@pytest.fixture(scope="module")
def dataset(done, tmp_path_factory):
    """Returns a copy of the published files of the finished run, which a trial can change."""
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
    """Chooses one column, and otherwise the first value."""

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
def test_a_small_file_that_is_no_file_is_a_fault(copy, name):
    (copy / name).unlink(missing_ok=True)
    (copy / name).mkdir()
    assert [fault for fault in verified(str(copy)).faults if fault.startswith(name)]
    shutil.rmtree(copy / name)
    (copy / name).symlink_to("/dev/zero")
    assert [fault for fault in verified(str(copy)).faults if fault.startswith(name)]
