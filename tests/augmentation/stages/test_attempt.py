"""Tests of the stage `Attempt`, which generates images and records facts about them."""

from __future__ import annotations

import dataclasses
import threading

import numpy as np
import pytest
import torch

from diffcore_hf.augmentation.stages import batches
from diffcore_hf.augmentation.stages.attempt import Attempt
from diffcore_hf.augmentation.stages.reference import Reference
from diffcore_hf.augmentation.stages.score import Score
from diffcore_hf.core import images, schema

PROMPTS = [f"a bird number {'abcdef'[n % 6]}" for n in range(10)]
NEGATIVES = ["blurry"] * 10
SEEDS = list(range(10))


def part(stage, rows=range(10)):
    return stage(*([column[row] for row in rows] for column in (PROMPTS, NEGATIVES, SEEDS)))


def break_on(stage, *texts):
    """Makes the model raise an error if one of `prompts` is in a batch."""
    family = stage.strategy.model
    family.load()
    arguments = family._encoded_arguments

    def poisoned(table, prompts, negatives):
        for prompt in prompts:
            if prompt in texts:
                raise RuntimeError(f"cannot draw\n{prompt}" + "!" * 300)
        return arguments(table, prompts, negatives)

    family._encoded_arguments = poisoned
    return stage


def test_the_stage_adds_facts_with_the_features_of_the_schema(planned, recipe):
    stage = Attempt(dataclasses.replace(recipe, image_format="png", batch_size=3))
    ds = stage.map(planned, batch_size=len(planned), keep_in_memory=True, remove_columns=planned.column_names)
    assert list(ds.features) == ["generated_image", "image_sha256", "embedding", "reason"]
    assert all(ds.features[name] == schema.attempt_facts()[name] for name in ds.features)
    cells = ds.cast_column("generated_image", type(ds.features["generated_image"])(decode=False))["generated_image"][:]
    assert [images.sha256(cell["bytes"]) for cell in cells] == ds["image_sha256"][:]
    embeddings = np.array(ds["embedding"][:], np.float32)
    assert np.allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-3)
    assert ds["reason"][:] == [None] * 4
    # the tower embeds the pixels that PNG stores
    pixels = [torch.from_numpy(images.to_array(images.decode(cell))).permute(2, 0, 1) for cell in cells]
    assert np.allclose(stage.scoring.tower.embed(pixels).half().float().numpy(), embeddings, atol=1e-3)


def test_progress_is_reported_after_each_batch_on_the_device(recipe):
    progress = []
    stage = Attempt(dataclasses.replace(recipe, batch_size=4), on_progress=progress.append)
    facts = part(stage)
    assert progress == [4, 4, 2]
    assert stage.strategy.model.texts_encoded == 7  # the texts are six prompts and one negative prompt
    one = part(Attempt(dataclasses.replace(recipe, batch_size=1)))
    assert np.allclose(facts["embedding"], one["embedding"], atol=2e-3)


def test_facts_of_strict_runs_are_equal_bit_for_bit(recipe):
    strict = dataclasses.replace(recipe, strict=True)
    whole = part(Attempt(strict))
    for cut in ([range(10)], [range(3), range(3, 10)], [[9, 0], [8, 1, 7], [2, 6, 3, 5, 4]]):
        stage = Attempt(dataclasses.replace(strict, batch_size=5))
        for rows in cut:
            facts = part(stage, rows)
            assert facts["image_sha256"] == [whole["image_sha256"][row] for row in rows]
            assert all((a == whole["embedding"][row]).all() for a, row in zip(facts["embedding"], rows, strict=True))


def test_images_are_encoded_in_other_threads_while_the_model_draws(recipe, monkeypatch):
    names = set()
    encode = images.encode
    monkeypatch.setattr(images, "encode", lambda *a: (names.add(threading.current_thread().name), encode(*a))[1])
    part(Attempt(recipe))
    assert threading.main_thread().name not in names


def test_one_bad_prompt_loses_only_its_own_image(recipe):
    stage = break_on(Attempt(dataclasses.replace(recipe, batch_size=4)), PROMPTS[1])
    progress = []
    stage.on_progress = progress.append
    facts = part(stage)
    assert progress == [4, 4, 2]
    bad = [row for row, prompt in enumerate(PROMPTS) if prompt == PROMPTS[1]]
    assert bad == [1, 7]
    for row in range(10):
        if row in bad:
            assert facts["reason"][row].startswith("crashed: RuntimeError: cannot draw a bird")
            assert len(facts["reason"][row]) <= 200
            assert "\n" not in facts["reason"][row]
            assert facts["generated_image"][row] is facts["embedding"][row] is facts["image_sha256"][row] is None
        else:
            assert facts["reason"][row] is None
            assert facts["generated_image"][row]["bytes"]


def test_a_broken_model_stops_the_run_and_records_no_facts(recipe):
    stage = break_on(Attempt(dataclasses.replace(recipe, batch_size=4)), *PROMPTS)
    with pytest.raises(ValueError, match=r"every image fails: RuntimeError: cannot draw a bird") as error:
        part(stage)
    assert "\n" not in str(error.value)
    for size in (1, 3):  # three batches of one image, then one batch of three
        stage = break_on(Attempt(dataclasses.replace(recipe, batch_size=size)), *PROMPTS)
        with pytest.raises(ValueError, match="every image fails"):
            part(stage, range(3))


def test_a_bad_first_prompt_in_batches_of_one_does_not_stop_the_run(recipe):
    stage = break_on(Attempt(dataclasses.replace(recipe, batch_size=1)), PROMPTS[0])
    assert [reason is None for reason in part(stage, range(3))["reason"]] == [False, True, True]


def test_a_prompt_that_fails_after_a_success_is_recorded_as_a_fact(recipe):
    stage = Attempt(dataclasses.replace(recipe, batch_size=4))
    part(stage, range(2))
    assert all(reason.startswith("crashed") for reason in part(break_on(stage, *PROMPTS), range(4))["reason"])


def test_a_lost_device_stops_the_run(recipe):
    stage = Attempt(recipe)
    part(stage, range(2))

    def lost(*arguments):
        raise RuntimeError("CUDA error: device-side assert triggered")

    stage.strategy.model._encoded_arguments = lost
    with pytest.raises(ValueError, match="the GPU failed"):
        part(stage, range(2))


@pytest.mark.parametrize("where", ["drawing", "scoring"])
def test_too_little_memory_for_one_image_stops_the_run(where, recipe):
    stage = Attempt(recipe)
    part(stage, range(2))

    def no_card(*arguments, **options):
        raise torch.OutOfMemoryError("CUDA out of memory")

    if where == "drawing":
        stage.strategy.model.load().unet.forward = no_card
    else:
        stage.scoring.tower.embed_prepared = no_card
    with pytest.raises(ValueError, match="out of memory for one image"):
        part(stage, range(2))


def test_flagged_images_have_a_reason_and_no_embedding(recipe):
    stage = Attempt(dataclasses.replace(recipe, batch_size=2))
    decode = stage.strategy.model.load().vae.decode

    def black(latents, **options):
        image = decode(latents, **options)[0]
        image[0] = 0.0
        return (image,)

    stage.strategy.model.load().vae.decode = black
    facts = part(stage, range(4))
    assert facts["reason"] == ["invalid", None, "invalid", None]
    assert [row is None for row in facts["embedding"]] == [True, False, True, False]
    assert all(cell["bytes"] for cell in facts["generated_image"])


def test_out_of_memory_halves_the_batch_and_the_run_continues(recipe):
    stage = Attempt(dataclasses.replace(recipe, batch_size=4))
    unet = stage.strategy.model.load().unet
    forward = unet.forward

    def small_card(sample, *arguments, **options):
        if len(sample) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(sample, *arguments, **options)

    unet.forward = small_card
    progress = []
    stage.on_progress = progress.append
    assert part(stage)["reason"] == [None] * 10
    assert stage.strategy.model.batch_size == 2
    assert sum(progress) == 10


def test_a_keyboard_interrupt_is_not_caught(recipe):
    stage = Attempt(recipe)

    def interrupt(*arguments):
        raise KeyboardInterrupt

    stage.strategy.model.load()
    stage.strategy.model._encoded_arguments = interrupt
    with pytest.raises(KeyboardInterrupt):
        part(stage)


@pytest.mark.parametrize(
    ("rows", "length"), [([None, ("x" * 500)], 180), ([ValueError("a\nb")], len("ValueError: a b"))]
)
def test_wrong_arguments_give_a_one_line_error(rows, length):
    error = rows[-1] if isinstance(rows[-1], Exception) else RuntimeError(rows[-1])
    assert len(batches.describe(error)) == length


@pytest.mark.parametrize("where", ["drawing", "scoring"])
@pytest.mark.parametrize(
    ("error", "message"),
    [(ValueError("its weights are incomplete"), r"^its weights are incomplete$"),
     (torch.OutOfMemoryError("CUDA out of memory"), r"out of memory for the weights of .*Use --model.offload")],
)  # fmt: skip
def test_a_model_that_cannot_be_loaded_raises_its_error_once(where, error, message, recipe, monkeypatch, caplog):
    calls = []

    def load(self):
        calls.append(1)
        raise error

    name = "diffusion.TextToImage" if where == "drawing" else "towers.ImageTower"
    monkeypatch.setattr(f"diffcore_hf.models.{name}.load", load)
    with pytest.raises(ValueError, match=message):
        part(Attempt(recipe))
    assert len(calls) == 1
    assert "crashed" not in caplog.text
    assert "trying its images alone" not in caplog.text


def test_the_version_of_a_stage_contains_the_versions_of_its_parts():
    assert Attempt.VERSION.split("+")[1:] == [Score.VERSION]
    assert Reference.VERSION.split("+")[1:] == [Score.VERSION]
