"""Tests of a worker, which computes parts from keys: the input of its stages, and the content of its parts."""

import pickle

import numpy as np
import pytest
from datasets import Features
from small_photos import photos, picture, write_photos

from diffcore_hf.augmentation.ledger import Ledger
from diffcore_hf.augmentation.plan import make_plan
from diffcore_hf.augmentation.row_list import row_list_identity
from diffcore_hf.augmentation.source.dataset import load_source
from diffcore_hf.augmentation.stages.stage import Stage
from diffcore_hf.augmentation.tasks import AttemptTask, ReferenceTask
from diffcore_hf.augmentation.worker import Worker, unit_columns
from diffcore_hf.core import images, schema, seeding
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.folder import Folder
from diffcore_hf.core.image_marks import ImageMark
from diffcore_hf.generation.base import UNIT_COLUMNS

MARKED = {"attempt_digest": "d" * 32, "about": {"model": {"path": "org/model", "identity": "c" * 40}}}
"""Values of run.json that the worker writes into the mark of each image."""


class Copying(Stage):
    """A stage that returns the real image as the generated one."""

    reads = ("source_image", "prompt")

    @property
    def adds(self):
        facts = schema.attempt_facts()
        return Features({name: facts[name] for name in ("generated_image", "image_sha256", "embedding", "reason")})

    def settings(self):
        return {}

    def run(self, source_image, prompt):
        contents = [cell["bytes"] for cell in source_image]
        return {
            "generated_image": [{"bytes": content, "path": None} for content in contents],
            "image_sha256": [images.sha256(content) for content in contents],
            "embedding": [np.zeros(2, np.float16)] * len(contents),
            "reason": [None] * len(contents),
        }


@pytest.fixture
def worker(recipe, tmp_path):
    """Returns a worker for three photos in columns img and fine_label. Its stage copies the real image."""
    config = recipe(source={"path": "in-memory", "image": "img", "label": "fine_label"})
    ds = photos([2, 1]).rename_columns({"image": "img", "label": "fine_label"})
    source = load_source(config.source, data=ds.add_column("text", ["a", "b", "c"]))
    worker = Worker(source, make_plan(source, config), config, Ledger(tmp_path / "parts"), None)
    worker.__dict__["attempt"] = Copying()
    return worker


def test_a_stage_reads_the_source_image_from_a_column_of_any_name(worker):
    keys = [worker.plan.key(unit) for unit in range(3)]
    part = worker.attempt_part(keys, 1)
    assert part.column_names == list(schema.attempt_facts())
    content = {0: picture(0, 0), 1: picture(0, 1), 2: picture(1, 0)}
    units = [worker.plan.unit(unit) for unit in range(3)]
    assert part["image_sha256"].to_pylist() == [images.sha256(content[unit.row]) for unit in units]
    assert part["seed"].to_pylist() == [seeding.attempt_seed(0, row_id, copy, 1) for row_id, copy in keys]


def test_every_column_that_a_strategy_may_read_has_values(worker):
    columns = unit_columns(worker.source, worker.plan, worker.recipe, [0, 2], 3, list(UNIT_COLUMNS))
    values = dict(zip(UNIT_COLUMNS, columns, strict=True))
    assert all(len(column) == 2 for column in columns)
    assert values["attempt"] == [3, 3]
    assert values["target_label"] == values["label"]


def test_facts_have_the_digest_of_their_inputs_and_their_class_name(worker):
    keys = [worker.plan.key(unit) for unit in range(3)]
    part = worker.attempt_part(keys, 0)
    assert part["inputs"].to_pylist() == [worker.inputs.of_unit(unit) for unit in range(3)]
    assert set(part["class_name"].to_pylist()) == {"red_fox", "green_frog"}
    assert "label" not in part.column_names


def test_a_worker_refuses_a_source_that_changed_after_the_run_had_started(recipe, tmp_path):
    photos = write_photos(tmp_path / "photos", [2, 2])
    config = recipe(source=str(photos), output=str(tmp_path / "out"))
    identity = load_source(config.source).identity
    Folder(tmp_path / "out").write_run({"identities": {"source": identity}, **MARKED})
    worker = Worker.open(str(tmp_path / "out"), config)
    assert len(worker.plan) == 4
    assert worker.mark == ImageMark("org/model", "c" * 40, "d" * 32)
    (photos / "red_fox" / "00.jpg").unlink()
    with pytest.raises(UserError, match="was changed while the run was working. Run the same command again"):
        Worker.open(str(tmp_path / "out"), config)


def test_a_worker_refuses_a_list_of_rows_that_changed_after_the_run_had_started(recipe, tmp_path):
    photos, listed = write_photos(tmp_path / "photos", [2, 2]), tmp_path / "rows.txt"
    source = load_source(recipe(source=str(photos)).source)
    ids = source.row_ids["train"]
    listed.write_text("\n".join(ids[:2]))
    config = recipe(source=str(photos), output=str(tmp_path / "out"), select={"rows": str(listed)})
    identities = {"source": source.identity, "rows": row_list_identity(config.select)}
    Folder(tmp_path / "out").write_run({"identities": identities, **MARKED})
    assert len(Worker.open(str(tmp_path / "out"), config).plan) == 2
    listed.write_text("\n".join(ids[:3]))
    with pytest.raises(UserError, match=r"^select\.rows .* was changed while the run was working\. Run the same"):
        Worker.open(str(tmp_path / "out"), config)


def test_tasks_are_small_and_can_be_pickled():
    for task in (AttemptTask((("train/0", 0), ("train/1", 0)), 2), ReferenceTask(("train/0",))):
        assert pickle.loads(pickle.dumps(task)) == task
        assert len(pickle.dumps(task)) < 500
    assert [len(AttemptTask((("a", 0),), 0)), len(ReferenceTask(()))] == [1, 0]
