"""Tests of runs with contexts from captions: the run makes the captions once and stores them in its folder."""

import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import tiny_models
import tiny_towers
import torch
from datasets import Dataset
from filelock import FileLock
from run_folders import go, manifest, published, rows
from small_photos import picture, write_photos

from diffcore_hf.augmentation import image_captions
from diffcore_hf.augmentation.plan import plan
from diffcore_hf.core import locks
from diffcore_hf.core.errors import UserError
from diffcore_hf.models import pipelines
from diffcore_hf.models.captioner import Captioner
from diffcore_hf.publishing.card import reproduction
from diffcore_hf.workflows import augment
from diffcore_hf.workflows import plan as plan_workflow
from diffcore_hf.workflows.export import export

KEEP_ALL = {"filter.policy": {"name": "all"}, "max_attempts": 1, "limit": 3}
NAMED = "a photo of a bird sitting on a branch"


@pytest.fixture(scope="module")
def captioner(tmp_path_factory):
    return tiny_models.seeded(tiny_towers.save_captioner, tmp_path_factory.mktemp("captioner") / "blip")


@pytest.fixture(scope="module")
def captioned(captioner):
    """Returns the keys of a recipe with contexts from captions of five images."""
    prompts = {"contexts": None, "contexts_from": "captions", "captioner": {"path": str(captioner), "images": 5}}
    return {"prompts": prompts, **KEEP_ALL}


@pytest.fixture(scope="module")
def out(make, captioned, tmp_path_factory):
    """Returns the folder of a finished run."""
    folder = tmp_path_factory.mktemp("captions") / "out"
    go(make(folder, **captioned))
    return folder


def run_json(folder):
    return json.loads((folder / ".diffcore" / "run.json").read_text())


def test_plan_loads_no_model_and_says_that_captions_are_still_to_be_made(
    make, captioned, captioner, tmp_path, monkeypatch
):
    def refused(*arguments, **keywords):
        raise AssertionError("weights were loaded")

    monkeypatch.setattr(Captioner, "load", refused)
    monkeypatch.setattr(pipelines, "load_pipeline", refused)
    monkeypatch.setattr(torch.nn.Module, "to", refused)
    run = augment.prepare(make(tmp_path / "out", **captioned))
    [line] = [line for line in plan_workflow.text(run).splitlines() if line.startswith("contexts ")]
    assert line == (
        f"contexts    from captions of 5 real images by {captioner}, which the first run makes. The prompts below have "
        "no context yet"
    )
    assert not (tmp_path / "out").exists()
    with pytest.raises(
        UserError, match=r"still to be made\. Make them first: diffcore-hf augment .* --limit 1 and --o"
    ):
        plan_workflow.check_contexts_are_made(run)


def test_the_contexts_are_made_once_and_recorded(out, make, captioned, captioner, monkeypatch):
    run = run_json(out)
    contexts = run["resolved"]["prompts"]["contexts"]
    assert contexts and all(len(context.split()) > 1 for context in contexts)
    assert {row["context"] for row in rows(out) if row["status"] == "kept"} <= set(contexts)
    assert "contexts" not in run["attempt"]["prompts"]
    assert run["attempt"]["prompts"]["captioner"]["identity"] == run["identities"]["weights"]["captioner"]
    card = (out / "README.md").read_text()
    assert run["identities"]["weights"]["captioner"] in card
    assert str(captioner) not in card + json.dumps(manifest(out))
    text, placeholders = reproduction.recipe_file(manifest(out))
    assert "YOUR/CAPTIONER" in placeholders
    assert "contexts_from: captions" in text
    monkeypatch.setattr(Captioner, "load", None)
    before = published(out)
    go(make(out, **captioned))
    assert published(out) == before


def test_an_interruption_keeps_the_captions_that_are_made(make, captioned, tmp_path, monkeypatch):
    monkeypatch.setattr("diffcore_hf.augmentation.image_captions.PART", 2)
    calls = []

    def caption(self, image):
        calls.append(image)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return f"{NAMED} number {len(calls)}"

    monkeypatch.setattr(Captioner, "caption", caption)
    with pytest.raises(KeyboardInterrupt):
        go(make(tmp_path / "out", **captioned))
    go(make(tmp_path / "out", **captioned))
    assert len(calls) == 4 + 3  # the two captions of the first part are not made again
    contexts = run_json(tmp_path / "out")["resolved"]["prompts"]["contexts"]
    assert len(contexts) == 5
    assert "bird sitting on a branch number 1" in contexts  # kind general has no noun


def test_two_processes_that_start_together_make_the_captions_once(make, captioned, tmp_path, monkeypatch):
    monkeypatch.setattr("diffcore_hf.augmentation.image_captions.PART", 2)
    calls = []

    def caption(self, image):
        time.sleep(0.02)
        calls.append(image)
        return f"{NAMED} number {len(calls)}"

    monkeypatch.setattr(Captioner, "caption", caption)
    runs = [augment.prepare(make(tmp_path / "out", **captioned)) for _ in range(2)]
    assert augment.start(runs[0])
    with ThreadPoolExecutor(2) as workers:
        list(workers.map(image_captions.make_contexts, runs))
    assert len(calls) == 5
    assert len(run_json(tmp_path / "out")["resolved"]["prompts"]["contexts"]) == 5


def test_captions_do_not_wait_for_a_process_that_stands_still(make, captioned, tmp_path, monkeypatch):
    monkeypatch.setattr(Captioner, "caption", lambda self, image: NAMED)
    monkeypatch.setattr(image_captions, "STILL_SECONDS", 0.05)
    monkeypatch.setattr(locks, "WAIT_SECONDS", 0.02)
    run = augment.prepare(make(tmp_path / "out", **captioned))
    assert augment.start(run)
    with FileLock(run.folder.private / "captions.lock"):
        image_captions.make_contexts(run)
    assert run_json(tmp_path / "out")["resolved"]["prompts"]["contexts"]


def test_a_folder_keeps_its_contexts_when_the_source_grows_and_for_an_export(make, captioned, tmp_path, monkeypatch):
    monkeypatch.setattr(Captioner, "caption", lambda self, image: NAMED)
    photos = write_photos(tmp_path / "photos", [3, 3])
    captioned = captioned | {"source": str(photos), "limit": None}
    go(make(tmp_path / "out", **captioned))
    before = {row["row_id"]: row["prompt"] for row in rows(tmp_path / "out")}
    first = next(photos.iterdir())
    (first / "new.jpg").write_bytes(picture(4, 1))
    monkeypatch.setattr(Captioner, "caption", None)
    outcome = go(make(tmp_path / "out", **captioned))
    assert outcome.new_attempts == 1
    after = {row["row_id"]: row["prompt"] for row in rows(tmp_path / "out")}
    assert {row_id: after[row_id] for row_id in before} == before
    export(tmp_path / "out", tmp_path / "export", {})
    assert [row["prompt"] for row in rows(tmp_path / "export")] == list(after.values())


WRONG = [
    (
        {"captioner": None},
        r"contexts_from is captions, but prompts\.captioner is missing\. Use e\.g\. --prompts\.captio",
    ),
    (
        {"contexts_from": None},
        r"prompts\.captioner is .*, but no captions are made\. Use --prompts\.contexts_from capt",
    ),
    ({"contexts": ["in snow"]}, r"prompts\.contexts and prompts\.contexts_from are both given\. Leave one out"),
    ({"captioner": "{clip}"}, r"is of type clip, which describes no images"),
    ({"captioner": {"path": "x", "images": 0}}, r"prompts\.captioner\.images is 0, not an integer of at least 1"),
    ({"captioner": "no/such"}, r"^no/such: there is no such folder, the Hub cannot be reached, and the captioner is"),
]


@pytest.mark.parametrize(("changed", "message"), WRONG, ids=[message for _, message in WRONG])
def test_wrong_keys_are_refused(changed, message, make, captioned, tiny, tmp_path):
    changed = {name: tiny["clip"] if value == "{clip}" else value for name, value in changed.items()}
    with pytest.raises(UserError, match=message):
        augment.prepare(make(tmp_path / "out", **captioned | {"prompts": captioned["prompts"] | changed}))
    assert not (tmp_path / "out").exists()


def test_the_plan_of_a_dataset_has_no_captions(make, captioned, tmp_path):
    with pytest.raises(UserError, match=r"contexts_from is captions, and only augment makes captions\. Use context"):
        plan(Dataset.from_dict({"image": [], "label": []}), make(tmp_path / "out", **captioned))


def test_captions_without_a_context_are_a_one_line_error(make, captioned, tmp_path, monkeypatch):
    monkeypatch.setattr(Captioner, "caption", lambda self, image: "a photo")
    with pytest.raises(UserError, match=r"the 5 captions by .* have no context, because they describe only the object"):
        go(make(tmp_path / "out", **captioned))


def test_another_captioner_in_the_same_folder_is_refused(out, make, captioned, captioner, tmp_path):
    shutil.copytree(captioner, tmp_path / "blip")
    config = json.loads((tmp_path / "blip" / "config.json").read_text())
    (tmp_path / "blip" / "config.json").write_text(json.dumps(config | {"note": "changed"}))
    prompts = captioned["prompts"] | {"captioner": {"path": str(tmp_path / "blip"), "images": 5}}
    with pytest.raises(UserError, match=r"settings that give other images \(prompts\.captioner\.identity: "):
        augment.prepare(make(out, **captioned | {"prompts": prompts}))
