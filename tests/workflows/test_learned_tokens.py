"""Runs with learned_tokens on photos: plan, augment, card, growth, interruption, errors before weights are loaded."""

import json
import shutil

import pytest
import tiny_models
from run_folders import go, manifest, published, rows
from small_photos import picture, write_photos

from diffcore_hf.core.errors import UserError
from diffcore_hf.models import token_training
from diffcore_hf.models.learned_tokens import LearnedTokens
from diffcore_hf.workflows import augment
from diffcore_hf.workflows import plan as plan_workflow
from diffcore_hf.workflows.export import export
from diffcore_hf.workflows.preview import preview
from diffcore_hf.workflows.verify import verify

OPTIONS = {"steps": 3, "batch": 2}
TOKENS = {"name": "learned_tokens", "options": OPTIONS}
KEEP_ALL = {"filter.policy": {"name": "all"}, "max_attempts": 1, "limit": 4}


@pytest.fixture(scope="module")
def out(make, tmp_path_factory):
    """Returns the folder of a finished run on prompts alone, in which every image is kept."""
    folder = tmp_path_factory.mktemp("tokens") / "out"
    go(make(folder, strategy=TOKENS, **KEEP_ALL))
    return folder


def prepared(folder):
    return list((folder / ".diffcore" / "parts" / "prepared").iterdir())


def test_plan_names_the_options_and_the_cost_of_the_tokens(make, tmp_path, no_weights):
    lines = plan_workflow.text(augment.prepare(make(tmp_path / "out", strategy=TOKENS))).splitlines()
    assert any(
        line.startswith("strategy    learned_tokens (strength None, fit crop, steps 3, batch 2,") for line in lines
    )
    assert (
        "prepared    once: about 12 evaluations of the denoising network for 3 classes, as many as for 3 images"
        in lines
    )
    alone = {"name": "learned_tokens", "options": OPTIONS | {"per": "class"}}
    lines = plan_workflow.text(augment.prepare(make(tmp_path / "out", strategy=alone))).splitlines()
    assert any(line.startswith("prepared    once: about 36 evaluations") for line in lines)


def test_a_run_names_each_class_by_its_token(out):
    [folder] = prepared(out)
    assert sorted(file.name for file in folder.iterdir()) == ["finished.json", "tokens.safetensors"]
    run = json.loads((out / ".diffcore" / "run.json").read_text())
    names = rows(out).features["label"].names
    assert run["preparation"] == {"digest": folder.name, "words": {name: f"<c{k}>" for k, name in enumerate(names)}}
    assert LearnedTokens.read(folder / "tokens.safetensors").words == ("<c0>", "<c1>", "<c2>")
    kept = [row for row in rows(out) if row["status"] == "kept"]
    assert len(kept) == 4
    assert all(f"a <c{row['label']}>" in row["prompt"] for row in kept)
    assert verify(str(out)) == []
    card = (out / "README.md").read_text()
    for words in ("learned_tokens", "steps 3", "textual inversion", "2208.01618"):
        assert words in card
    assert manifest(out)["recipe"]["strategy"]["options"]["per"] == "all"


def test_the_facts_can_be_shown_and_exported(out, tmp_path):
    assert preview(str(out))
    export(out, tmp_path / "export", {"filter": {"policy": {"name": "all"}}})
    assert [row["prompt"] for row in rows(tmp_path / "export")] == [row["prompt"] for row in rows(out)]


def test_a_second_run_learns_nothing(out, make, tmp_path, monkeypatch):
    shutil.copytree(out, tmp_path / "out")
    before = published(tmp_path / "out")
    monkeypatch.setattr(token_training, "learn_tokens", None)
    recipe = make(tmp_path / "out", strategy=TOKENS, **KEEP_ALL)
    assert "prepared    in an earlier run of this folder" in plan_workflow.text(augment.prepare(recipe)).splitlines()
    go(recipe)
    assert published(tmp_path / "out") == before


def test_real_images_are_changed_with_strengths_of_a_list_and_a_lora(make, tmp_path):
    strategy = {"name": "learned_tokens", "options": OPTIONS | {"strength": [0.5, 1.0], "lora": 2}}
    recipe = make(tmp_path / "out", strategy=strategy, **KEEP_ALL)
    go(recipe)
    run = json.loads((tmp_path / "out" / ".diffcore" / "run.json").read_text())
    assert run["strategy"]["preparation"]["inputs"]["options"]["lora"] == 2
    [folder] = prepared(tmp_path / "out")
    assert LearnedTokens.read(folder / "tokens.safetensors").lora
    card = (tmp_path / "out" / "README.md").read_text()
    assert "A LoRA of rank 2 on the attention layers" in card
    assert "2106.09685" in card
    assert set(run["strategy"]["reads"]) == {"prompt", "negative_prompt", "seed", "strength", "source_image"}
    assert sum(row["status"] == "kept" for row in rows(tmp_path / "out")) == 4


def test_a_source_that_grows_keeps_the_tokens_and_the_images(make, tmp_path, monkeypatch):
    photos = write_photos(tmp_path / "photos", [3, 3])
    keys = {"source": str(photos), "strategy": TOKENS, "filter.policy": {"name": "all"}, "max_attempts": 1}
    go(make(tmp_path / "out", **keys))
    before = {row["row_id"]: row for row in rows(tmp_path / "out")}
    (photos / "a new class").mkdir()
    for index in range(2):
        (photos / "a new class" / f"{index}.jpg").write_bytes(picture(4, index))
    monkeypatch.setattr(token_training, "learn_tokens", None)
    recipe = make(tmp_path / "out", **keys)
    note = "note: the references changed, but strategy learned_tokens keeps what it prepared in the first run. Another"
    text = plan_workflow.text(augment.prepare(recipe))
    assert note in text
    assert "was prepared without 'a new class': prompts use the name of the class" in text
    outcome = go(recipe)
    assert any(line.startswith(note.removeprefix("note: ")) for line in outcome.summary.notes)
    after = {row["row_id"]: row for row in rows(tmp_path / "out")}
    assert len(after) == len(before) + 2
    for row_id, row in before.items():
        assert (after[row_id]["generated"], after[row_id]["prompt"]) == (row["generated"], row["prompt"])
    new = [row["prompt"] for row_id, row in after.items() if row_id not in before]
    assert all("a new class" in prompt for prompt in new)
    assert len(prepared(tmp_path / "out")) == 1
    assert verify(str(tmp_path / "out")) == []


def test_classes_with_opaque_names_are_named_by_their_tokens_alone(make, tmp_path):
    photos = write_photos(tmp_path / "photos", [3, 3])
    (photos / "red_fox").rename(photos / "017")
    (photos / "green_frog").rename(photos / "n01440764")
    keys = {"source": str(photos), "strategy": TOKENS, "filter.policy": {"name": "all"}, "max_attempts": 1, "limit": 2}
    with pytest.raises(UserError, match="class '017' is an opaque id"):
        augment.prepare(make(tmp_path / "other", **keys | {"strategy": "text_to_image"}))
    go(make(tmp_path / "out", **keys))
    kept = [row for row in rows(tmp_path / "out") if row["status"] == "kept"]
    assert len(kept) == 2
    assert all(f"a <c{row['label']}>" in row["prompt"] for row in kept)
    assert verify(str(tmp_path / "out")) == []
    (photos / "099").mkdir()
    for index in range(3):
        (photos / "099" / f"{index}.jpg").write_bytes(picture(4, index))
    with pytest.raises(UserError, match=r"class '099' is an opaque id.*--source\.label_names"):
        augment.prepare(make(tmp_path / "out", **keys))
    named = {"path": str(photos), "label_names": {"099": "a sea lion"}}
    augment.prepare(make(tmp_path / "out", **keys | {"source": named}))


def test_an_interrupted_learning_continues_and_gives_the_same_dataset(out, make, tmp_path, monkeypatch):
    monkeypatch.setattr(token_training, "CHECKPOINT_STEPS", 1)
    draw, calls = token_training.draw_step, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return draw(*arguments)

    recipe = make(tmp_path / "out", strategy=TOKENS, **KEEP_ALL)
    monkeypatch.setattr(token_training, "draw_step", interrupted)
    assert go(recipe).interrupted
    [folder] = prepared(tmp_path / "out")
    assert [file.name for file in folder.iterdir()] == ["checkpoint.safetensors"]
    go(recipe)
    assert len(calls) == 4
    assert published(tmp_path / "out") == published(out)


@pytest.mark.parametrize(
    ("counts", "more", "message"),
    [
        ([3, 2], {}, "has 2 references, and a learned token needs 3. Add images, set filter.references to 3 or more"),
        ([3, 3], {"filter.references": 2}, "has 2 references.*\\(2 classes have too few\\)"),
        ([3, 3], {"prompts.template": "a {kind} {filename}"}, "template names|does not name the class"),
        (
            [3, 3],
            {"strategy": {"name": "learned_tokens", "options": {"steps": 0}}},
            "options.steps is 0, not an integer",
        ),
        ([3, 3], {"strategy": {"name": "learned_tokens", "options": {"rate": 0}}}, "options.rate is 0, not a number"),
        (
            [3, 3],
            {"strategy": {"name": "learned_tokens", "options": {"token": "C1"}}},
            "options.token is 'C1', not one",
        ),
        ([3, 3], {"strategy": {"name": "learned_tokens", "options": {"caption": "bird"}}}, "which has no {label}. Use"),
        ([3, 3], {"strategy": {"name": "learned_tokens", "options": {"strength": 0.1}}}, "leaves no denoising step"),
        ([3, 3], {"strategy": {"name": "learned_tokens", "options": {"per": "each"}}}, "is 'each', not one of all, cl"),
        (
            [3, 3],
            {"strategy": {"name": "learned_tokens", "options": {"lora": 0}}},
            "lora is 0, not an integer from",
        ),
        ([3, 3], {"strategy": {"name": "learned_tokens", "options": {"lora_rate": 0.1}}}, "but no LoRA is learned"),
        (
            [3, 3],
            {"strategy": {"name": "learned_tokens", "options": {"lora": 2, "per": "class"}}},
            "with all classes together",
        ),
    ],
)
def test_what_cannot_be_learned_is_refused_before_weights_are_loaded(counts, more, message, make, tmp_path, no_weights):
    photos = write_photos(tmp_path / "photos", counts)
    with pytest.raises(UserError, match=message) as error:
        augment.prepare(make(tmp_path / "out", **({"source": str(photos), "strategy": TOKENS} | more)))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_classes_that_are_left_out_need_no_references(make, tmp_path):
    photos = write_photos(tmp_path / "photos", [3, 2])
    augment.prepare(make(tmp_path / "out", source=str(photos), strategy=TOKENS, **{"select.classes": ["red_fox"]}))


def test_a_token_of_the_models_vocabulary_is_refused_and_the_remedy_works(make, tmp_path):
    pipeline = tiny_models.seeded(tiny_models.sd)
    pipeline.tokenizer.add_tokens(["<c1>"])
    pipeline.text_encoder.resize_token_embeddings(len(pipeline.tokenizer))
    pipeline.save_pretrained(tmp_path / "model")
    keys = {"model.path": str(tmp_path / "model"), "strategy": TOKENS}
    with pytest.raises(UserError, match=r"has the token '<c1>' already.*--strategy\.options\.token cx$"):
        augment.prepare(make(tmp_path / "out", **keys))
    augment.prepare(make(tmp_path / "out", **keys | {"strategy": {**TOKENS, "options": OPTIONS | {"token": "cx"}}}))


@pytest.mark.parametrize("family", ["sd3", "flux"])
def test_a_family_without_tokens_is_refused(family, make, tmp_path, no_weights):
    tiny_models.seeded(getattr(tiny_models, family)).save_pretrained(tmp_path / "model")
    with pytest.raises(UserError, match=r"cannot learn tokens for \w+Pipeline\. Use --strategy\.name text_to_image"):
        augment.prepare(make(tmp_path / "out", strategy=TOKENS, **{"model.path": str(tmp_path / "model")}))
