"""Tests of the picture of a training batch: the images and labels are those of the training."""

from pathlib import Path

import numpy as np
import pytest
import torch
from masked_photos import masked_folder, small_recipe

from diffcore_hf.core.errors import UserError
from diffcore_hf.training.comparison.arms import arms_of
from diffcore_hf.training.data.training_data import load_data
from diffcore_hf.training.engine.devices import make_accelerator
from diffcore_hf.training.engine.first_batch import first_batch
from diffcore_hf.training.engine.loop import Training
from diffcore_hf.training.mixers.names import MIXERS
from diffcore_hf.workflows import batch_pictures
from diffcore_hf.workflows.batch_pictures import picture_path
from diffcore_hf.workflows.preview import preview

SMALL = {"model": {"name": "test_resnet"}, "transform": {"preset": "tiny_preact_1200", "size": 32}, "device": "cpu"}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Returns a dataset with counterparts."""
    return masked_folder(tmp_path_factory.mktemp("batch") / "photos")


def drawn(photos, monkeypatch, *arms, **flags):
    """Returns the sections of the sheet by arm."""
    shown = []
    monkeypatch.setattr(batch_pictures, "batch_sheet", lambda sections, **texts: shown.extend(sections))
    monkeypatch.setattr(batch_pictures, "png_bytes", lambda sheet: b"")
    batch_pictures.training_batch(photos, arms, None, SMALL | flags)
    return {section.name: section for section in shown}


def test_every_arm_has_a_section_with_images_and_labels(photos, monkeypatch):
    vit = {"name": "vit_tiny_patch16_224"}
    others = [name for name in MIXERS if name != "transmix"]
    sections = drawn(photos, monkeypatch, "plain", "genaug", "mix", *others) | drawn(
        photos, monkeypatch, "transmix", model=vit
    )
    assert list(sections) == ["plain", "genaug", "mix", *others, "transmix"]
    for name, section in sections.items():
        assert len(section.tiles) == (12 if name == "transmix" else 6)
        for tile in section.tiles:
            assert tile.pixels.shape == (32, 32, 3)
            if name != "snapmix":
                assert sum(tile.labels.values()) == pytest.approx(1, abs=0.02)
    assert all(len(tile.labels) == 1 for tile in sections["plain"].tiles)
    assert any(len(tile.labels) == 2 for tile in sections["cutmix"].tiles)
    assert sections["manifold_mixup"].note == "the features are mixed inside the network, not the images"


def test_the_images_and_labels_are_those_of_the_first_step(photos, tmp_path, monkeypatch):
    recipe = small_recipe(photos, tmp_path / "out", mix={"mode": "off"}, mixer="cutmix")
    data, accelerator = load_data(recipe.data, recipe.mix), make_accelerator(recipe, tmp_path)
    shown = first_batch(recipe, data, 0, tmp_path / "none", accelerator)
    training = Training(recipe, data, 0, tmp_path / "none", accelerator)
    seen = {}
    network, loss = training.parts.batch_loss._model, training.parts.batch_loss._loss

    def remember(logits, targets):
        seen["targets"] = targets
        return loss(logits, targets)

    network.register_forward_pre_hook(lambda module, inputs: seen.update(images=inputs[0]))
    training.parts.batch_loss._loss = remember
    training.parts.batch_loss(next(iter(training.batches())), 0, 0)
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in training.parts.normalisation)
    assert torch.equal(shown.images, ((seen["images"] * std + mean) * 255).round().clamp(0, 255).to(torch.uint8))
    assert torch.equal(shown.targets, seen["targets"])
    assert not (tmp_path / "none").exists()


def test_a_picture_is_written_beside_the_other_previews(photos, tmp_path):
    recipe = tmp_path / "cutmix.yaml"
    recipe.write_text(f"data: {photos}\nmodel: {{name: test_resnet, pretrained: false}}\nbatch_size: 4\n")
    [path] = preview(photos, batch=["plain", "cutmix"], config=str(recipe), flags={"transform": {"size": 32}})
    assert path == photos / ".diffcore/preview/batch.png"
    first = path.read_bytes()
    assert np.frombuffer(first[16:24], ">u4")[0] == 1200
    preview(photos, batch=["plain", "cutmix"], config=str(recipe), flags={"transform": {"size": 32}})
    assert path.read_bytes() == first


@pytest.mark.parametrize(
    ("arms", "flags", "message"),
    [
        (["cutmax"], {}, "batch has 'cutmax', which is not an arm. Did you mean cutmix?"),
        (["plain", "transmix"], {}, "batch has transmix, but this network .*. Use --batch plain, or another --model"),
        (["plain"], {"data": {"path": "nowhere"}}, "data.path is 'nowhere', which is neither an existing folder"),
    ],
)
def test_an_arm_that_cannot_be_drawn_is_a_one_line_error(photos, arms, flags, message):
    with pytest.raises(UserError, match=message) as error:
        preview(photos, batch=arms, flags=SMALL | flags)
    assert "\n" not in str(error.value)


def test_the_picture_of_a_dataset_on_the_hub_is_in_the_current_folder(photos):
    assert picture_path("org/name") == Path("org-name-batch.png")
    assert picture_path(photos) == photos / ".diffcore/preview/batch.png"


def test_options_of_a_mixer_belong_to_the_only_arm_that_is_a_mixer(photos):
    flags = {**SMALL, "mixer": {"options": {"alpha": 0.2}}}
    arms = arms_of(batch_pictures._recipe(photos, ["plain", "cutmix"], None, flags))
    assert {name: arm.mixer.options for name, arm in arms.items()} == {"plain": None, "cutmix": {"alpha": 0.2}}
    assert arms["plain"].mixer.name is None
    with pytest.raises(UserError, match="no mixer is named"):
        batch_pictures._recipe(photos, ["mixup", "cutmix"], None, flags)


def test_keys_of_a_training_need_a_batch(photos):
    with pytest.raises(UserError, match=r"model.name is a key of a training, .* Add e.g. --batch plain"):
        preview(photos, flags={"model": {"name": "resnet50"}})
