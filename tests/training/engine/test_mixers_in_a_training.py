"""Tests of a mixer in a training: its context object, its effects on the loss and the optimiser, and resuming."""

from __future__ import annotations

import functools
import re

import own_mixers
import pytest
import torch
from safetensors.torch import load_file

from diffcore_hf.training.data.training_data import load_data
from diffcore_hf.training.engine import checkpoints, loop
from diffcore_hf.training.engine.devices import make_accelerator

KEYS_OF = {
    "transmix": {"model": {"name": "test_vit", "pretrained": False}, "transform": {"size": 64}},
    "attentive_cutmix": {"mix": {"mode": "off"}},
}
"""Keys of the recipe for mixers that cannot use the network or the generated images of the fixture."""


@pytest.fixture
def training(train_recipe, tmp_path):
    """Return a function that builds a Training from the name of a folder and keys of the recipe."""

    def make(name="one", report=lambda record: None, **keys):
        recipe = train_recipe(**keys)
        data = load_data(recipe.data, recipe.mix)
        accelerator = make_accelerator(recipe, tmp_path)
        return loop.Training(recipe, data, 0, tmp_path / name, accelerator, digest="d", report=report)

    return make


@pytest.fixture
def contexts(monkeypatch):
    """Return a function that returns the contexts that a recording mixer received."""
    monkeypatch.setattr(own_mixers, "CALLS", [])
    return lambda: own_mixers.CALLS


@pytest.mark.parametrize("compiled", [False, True])
def test_a_mixer_gets_the_network_itself_in_evaluation_mode(training, contexts, monkeypatch, compiled):
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    model = {"name": "test_resnet", "pretrained": False, "compile": compiled}
    built = training(mixer="own_mixers:Recorder", model=model, max_steps=2)
    built.run()
    assert len(contexts()) == 2
    assert all(context.model is built.parts.network for context in contexts())
    assert type(built.parts.network).__module__.startswith("timm.")
    assert (built.parts.model is not built.parts.network) == compiled
    assert built.parts.mixer.flags == [{False}, {False}]


def test_the_network_is_back_in_training_mode_for_the_forward_pass(training, contexts):
    built = training(mixer="own_mixers:Recorder", max_steps=1)
    modes = []
    built.parts.network.register_forward_hook(lambda *_: modes.append(built.parts.network.training))
    built.train_step(iter(built.batches()), loop.Window(torch.device("cpu")))
    assert modes == [True]


def test_a_context_has_the_keys_of_its_images_and_the_generator_of_the_step(training, contexts):
    built = training(mixer="own_mixers:Recorder", max_steps=8, mix={"mode": "off"})
    built.run()
    row_ids = built.data.train.row_ids
    keys = [key for context in contexts() for key in context.keys]
    assert len(keys) == 32 and {key.epoch for key in keys} == {0, 1, 2}
    assert all(key.row_id == row_ids[key.layout_index] for key in keys)
    assert sorted(key.layout_index for key in keys[:15]) == list(range(15))
    draws = [context.generator.random() for context in contexts()]
    assert len(set(draws)) == 8


def test_pairs_and_loader_tensors_come_from_the_loader(training, contexts):
    keys = {"mix": {"mode": "replace", "probability": 0.0, "kind": "both"}, "max_steps": 4, "workers": 1}
    built = training(mixer="own_mixers:OfPairs", **keys)
    built.run()
    has_counterpart = built.data.has_counterpart
    for context in contexts():
        assert context.pairs.shape == context.images.shape
        assert context.loader_tensors["layout_index"].tolist() == [key.layout_index for key in context.keys]
        same = [bool(torch.equal(a, b)) for a, b in zip(context.images, context.pairs, strict=True)]
        assert same == [not has_counterpart[key.layout_index] for key in context.keys]
        normalised = context.images.mean((1, 2, 3)) * 0.5 + 0.5
        assert torch.allclose(context.loader_tensors["mean"] / 255, normalised, atol=1e-4)


def test_images_are_the_same_with_and_without_pairs(training):
    keys = {"mix": {"mode": "replace", "probability": 0.0, "kind": "both"}, "transform": {"randaugment": 9}}
    plain = training("a", mixer="own_mixers:Recorder", **keys)
    paired = training("b", mixer="own_mixers:OfPairs", **keys)
    requested = [(0, index) for index in range(8)]
    assert torch.equal(
        plain.samples.__getitems__(requested)["images"], paired.samples.__getitems__(requested)["images"]
    )


def test_a_row_is_mixed_with_its_own_generated_image(training):
    """Every mix lies between the real and the generated image of its row, and keeps the label of the row."""
    mixer = {"name": "mixup", "partner": "own", "options": {"alpha": 0.5}}
    built = training(mixer=mixer, mix={"mode": "replace", "probability": 0.0, "kind": "both"}, max_steps=1)
    batch = next(iter(built.batches()))
    mixed = built.parts.batch_loss.mixed(batch, 0, 0)
    images, pairs = (built.parts.batch_loss._on_device(batch[name]) for name in ("images", "pairs"))
    difference = images - pairs
    share = ((mixed.images - pairs) * difference).sum((1, 2, 3)) / difference.square().sum((1, 2, 3))
    blended = pairs + share.nan_to_num()[:, None, None, None] * difference
    assert torch.allclose(mixed.images, blended, atol=1e-4)
    assert torch.allclose(mixed.targets[range(4), batch["labels"]], torch.ones(4))


def test_a_mixer_that_needs_pairs_raises_an_error_without_them(training):
    with pytest.raises(
        ValueError, match=r"mixes each row with its own generated image, but the recipe loads none. Use "
    ):
        training(mixer="own_mixers:OfPairs", mix={"mode": "off"})


def test_a_mixer_changes_the_forward_pass_and_removes_its_hooks_afterwards(training):
    records = []
    built = training(mixer="own_mixers:Hooked", max_steps=3, report=records.append, evaluate_every=0.1)
    logits = []
    built.parts.network.register_forward_hook(lambda module, inputs, output: logits.append(output.detach()))
    built.train_step(iter(built.batches()), loop.Window(torch.device("cpu")))
    assert torch.equal(logits[0], built.parts.mixer.seen[0] + 1.0)
    assert not built.parts.network.get_classifier()._forward_hooks


def test_a_mixer_may_have_its_own_loss(training):
    records = []
    training(
        mixer={"name": "own_mixers:Hooked", "options": {"own_loss": True}}, max_steps=2, report=records.append
    ).run()
    assert [record["loss"] for record in records if "loss" in record] == [100.0]


def test_a_mixer_with_parameters_is_trained_and_resumes_bit_for_bit(training, tmp_path, monkeypatch):
    keys = {"mixer": "own_mixers:Learned", "max_steps": 9, "evaluate_every": 0.5, "ema": 0.9,
            "optimizer": {"name": "adamw", "lr": 0.01}, "schedule": {"name": "cosine"}}  # fmt: skip
    whole = training("whole", **keys)
    whole.run()
    assert (whole.parts.mixer.gain != 1).all()
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)

    class Killed(Exception):
        pass

    def kill(record):
        if record["step"] >= 7:
            raise Killed

    with pytest.raises(Killed):
        training("cut", kill, **keys).run()
    stored = checkpoints.read(tmp_path / "cut" / "resume.safetensors")
    assert {"mixer.gain", "mixer.average"} <= set(stored.tensors)
    resumed = training("cut", **keys)
    assert resumed.step == stored.step < 9
    resumed.run()
    for name, tensor in whole.parts.mixer.state_dict().items():
        assert torch.equal(tensor, resumed.parts.mixer.state_dict()[name])
    uninterrupted, continued = (load_file(tmp_path / name / "last" / "model.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(uninterrupted[name], continued[name]) for name in uninterrupted)


@pytest.mark.parametrize(
    "mixer",
    [
        {"name": "attentive_cutmix", "options": {"teacher_size": 64, "maps": "row"}},
        {"name": "augmix", "probability": 0.5, "options": {"jsd": True}},
        {"name": "pixmix", "per": "batch", "probability": 0.5},
        {"name": "guidedmixup_sr", "options": {"pairing": "greedy"}},
        {"name": "manifold_mixup", "per": "batch"},
        {"name": "snapmix", "probability": 0.5},
        {"name": "puzzlemix"},
        {"name": "comixup"},
        {"name": "automix"},
        {"name": "samix", "per": "batch"},
        {"name": "guidedmixup_ap", "options": {"pairing": "greedy"}},
        {"name": "transmix", "probability": 0.8},
    ],
    ids=lambda keys: keys["name"],
)
def test_a_training_with_a_mixer_resumes_bit_for_bit(training, tmp_path, monkeypatch, mixer):
    keys = {"mixer": mixer, "max_steps": 5, "evaluate_every": 0.5, **KEYS_OF.get(mixer["name"], {})}
    whole = training("whole", **keys)
    whole.run()
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)

    def kill(record):
        if record["step"] >= 4:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        training("cut", kill, **keys).run()
    resumed = training("cut", **keys)
    assert 0 < resumed.step < 5
    resumed.run()
    uninterrupted, continued = (load_file(tmp_path / name / "last" / "model.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(uninterrupted[name], continued[name]) for name in uninterrupted)


def test_loader_and_mixer_mix_the_same_images(training):
    """The loader and the mixer change the same images, because both draw from the same seed and key."""
    keys = {"mixer": {"name": "pixmix", "probability": 0.5}, "batch_size": 12, "mix": {"mode": "off"}}
    built = training(**keys)
    batch = next(iter(built.batches()))
    views, images = batch["loader_tensors"]["view"], batch["images"]
    unchanged = [bool(torch.equal(view, image)) for view, image in zip(views, images, strict=True)]
    mixed = built.parts.batch_loss.mixed(batch, 0, 0).images
    same = [bool(torch.equal(a, b)) for a, b in zip(mixed, built.parts.batch_loss._on_device(images), strict=True)]
    assert same == unchanged and 0 < sum(same) < 12


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "lookahead_adamw"])
def test_parameters_of_a_mixer_have_their_own_rate_which_follows_the_schedule(training, optimizer):
    records = []
    built = training(
        mixer={"name": "own_mixers:Learned", "options": {"lr": 2.0}}, optimizer={"name": optimizer, "lr": 0.1},
        schedule={"name": "linear"}, max_steps=4, report=records.append, evaluate_every=0.1,
    )  # fmt: skip
    built.run()
    groups = built.parts.plain_optimizer.param_groups
    assert groups[-1]["params"][0] is built.parts.mixer.gain and groups[-1]["weight_decay"] == 0
    assert groups[-1]["lr"] == pytest.approx(20 * groups[0]["lr"])
    assert (built.parts.mixer.gain != 1).all()
    assert max(record["lr"] for record in records if "lr" in record) <= 0.1


def test_a_mixer_that_does_not_work_with_the_network_raises_an_error(training):
    with pytest.raises(ValueError, match="needs a Conv2d classifier. Use e.g. --model.name resnet18"):
        training(mixer={"name": "own_mixers:Learned", "options": {"classifier": "Conv2d"}})


@pytest.mark.parametrize(
    ("mixer", "line"),
    [
        ("mixpu", "mixer.name is 'mixpu', which is not a mixer. Did you mean mixup?"),
        ("xyz", "mixer.name is 'xyz', which is not a mixer. The mixers are mixup, cutmix"),
        ("nowhere:Mixer", "mixer.name is 'nowhere:Mixer', but there is no module 'nowhere'"),
        (
            {"name": "own_mixers:Recorder", "partner": "own"},
            "mixer.partner is 'own', which own_mixers:Recorder does not support. Use --mixer.partner batch, or one of",
        ),
        ("own_mixers:Nothing", "but 'Nothing' in that module is missing"),
        ("own_mixers:CALLS", "is not a subclass of diffcore_hf.training.mixers.base.Mixer. Name a subclass of"),
        (
            {"name": "mixup", "options": {"alpa": 1}},
            "mixer.options.alpa is not an option of mixup. Did you mean alpha?",
        ),
        (
            {"name": "mixup", "options": {"alpha": 0}},
            "mixer.options.alpha is 0, not a number above 0 and at most 1e6. Use e.g. 1.0",
        ),
        (
            {"name": "puzzlemix", "options": {"beta": 1e300}},
            "mixer.options.beta is 1e+300, not a number from 0 to 1e6. Use e.g. 0.5",
        ),
        ({"name": "cutmix", "options": {"corrected": 1}}, "mixer.options.corrected is 1, not true or false"),
    ],
)
def test_a_mixer_that_cannot_be_built_gives_a_one_line_error(training, mixer, line):
    with pytest.raises(ValueError, match=re.escape(line)) as caught:
        training(mixer=mixer)
    assert "\n" not in str(caught.value)


def test_a_mixer_raises_an_error_for_batches_of_one_image(training):
    with pytest.raises(ValueError, match=r"takes 1 image at a time, but mixup mixes the images of a batch. Use e.g. "):
        training(mixer="mixup", batch_size=2, accumulate=2)


@pytest.mark.parametrize(
    "keys",
    [
        {"mixer": {"name": "augmix", "options": {"jsd": True}}},
        {"mixer": "pixmix"},
        {
            "mixer": {"name": "cutmix", "partner": "own"},
            "mix": {"mode": "replace", "probability": 0.0, "kind": "both"},
        },
    ],
    ids=lambda keys: str(keys["mixer"]),
)
def test_batches_of_one_image_are_enough_for_a_mixer_that_does_not_mix_them(training, keys):
    built = training(batch_size=2, accumulate=2, max_steps=2, **KEYS_OF["transmix"], **keys)
    assert built.run()["steps"] == 2


@pytest.mark.parametrize("mixer", [None, "augmix"])
def test_batch_norm_of_one_image_is_refused_for_the_right_reason(training, mixer):
    with pytest.raises(ValueError, match="takes 1 image at a time, but the batch norm of test_resnet needs 2. Use e.g"):
        training(batch_size=2, accumulate=2, mixer={"name": mixer})
    assert training(batch_size=4, accumulate=2, mixer={"name": mixer}, max_steps=1).run()["steps"] == 1
