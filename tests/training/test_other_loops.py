"""Tests of training without the loop of this package: the transformers Trainer, a plain loop, and timm's reader."""

from __future__ import annotations

import pytest
import torch
from augmented_photos import augmented

from diffcore_hf import MixTransform, mixing_rows


def test_the_transformers_trainer_trains_on_mixing_rows(tmp_path):
    from transformers import Trainer, TrainingArguments, ViTConfig, ViTForImageClassification

    rows = augmented()
    mix = MixTransform(32, transform="tiny_preact_1200")
    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=32,
        patch_size=8,
        num_labels=3,
    )
    torch.manual_seed(0)
    model = ViTForImageClassification(config)
    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        per_device_train_batch_size=4,
        max_steps=4,
        remove_unused_columns=False,
        report_to=[],
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
        learning_rate=0.01,
    )
    plain = MixTransform(32, transform="tiny_preact_1200", probability=0)
    trainer = Trainer(
        model, arguments, train_dataset=mixing_rows(rows).with_transform(mix), eval_dataset=rows.with_transform(plain)
    )
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    result = trainer.train()
    assert result.global_step == 4 and result.training_loss > 0
    assert any(not torch.equal(weight, before[name]) for name, weight in model.named_parameters())
    assert trainer.evaluate()["eval_loss"] > 0


def test_a_plain_loop_trains_on_mixing_rows():
    rows = augmented()
    mix = MixTransform(32, transform="tiny_preact_1200")
    loader = torch.utils.data.DataLoader(mixing_rows(rows).with_transform(mix), batch_size=8, shuffle=True)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 3))
    for epoch in range(2):
        mix.set_epoch(epoch)
        for batch in loader:
            torch.nn.functional.cross_entropy(model(batch["pixel_values"]), batch["label"]).backward()
    assert model[1].weight.grad.abs().sum() > 0


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory, keys):
    """Run `augment` on a few photos with tiny models, and return the output folder."""
    from small_photos import photos

    from diffcore_hf import augment

    out = tmp_path_factory.mktemp("run") / "out"
    policy = {"filter": {**keys["filter"], "policy": {"name": "all"}}}
    augment(photos([4, 4]), output=str(out), progress=False, **{**keys, **policy})
    return out


def test_timm_reads_the_dataset_configuration_generated(run_folder):
    from timm.data import create_dataset

    rows = create_dataset("hfds/" + str(run_folder / "generated"), root=None, split="train")
    assert len(rows) == 8
    image, label = rows[0]
    assert image.mode == "RGB" and label in (0, 1)


def test_mix_transform_reads_column_names_from_the_output_folder(run_folder):
    mix = MixTransform(32, transform="tiny_preact_1200", data=str(run_folder), partner="own")
    mix.set_epoch(0)
    from datasets import load_dataset

    rows = load_dataset(str(run_folder), split="train")
    assert mixing_rows(rows).with_transform(mix)[:]["pixel_values"].shape == (16, 3, 32, 32)
