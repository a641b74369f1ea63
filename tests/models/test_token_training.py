"""Tests of the training of tokens: the formula of a step, the rows that change, interruptions, and collisions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tiny_models
import torch
from PIL import Image
from safetensors.torch import save

from diffcore_hf.config.augment import ModelConfig
from diffcore_hf.core.errors import UserError
from diffcore_hf.models import token_training
from diffcore_hf.models.learned_tokens import LearnedTokens, add_tokens, mean_rows, text_parts
from diffcore_hf.models.token_steps import TokenSettings, draw_step, noised, target
from diffcore_hf.models.token_training import CHECKPOINT, TokenImages, TokenTraining, encoded_images, learn_tokens

SETTINGS = TokenSettings(steps=6, batch=2, rate=0.01, seed=3, alone=False)
LORA = replace(SETTINGS, lora_rank=2, lora_rate=0.01)
ALONE = TokenSettings(steps=3, batch=2, rate=0.01, seed=3, alone=True)
FAMILIES = {"SD": tiny_models.sd, "SDXL": tiny_models.sdxl}


class Model:
    """A loaded model with a new tiny pipeline."""

    side, strict = 16, True
    config = ModelConfig(path="tiny")

    def __init__(self, family: str = "SD"):
        self.pipeline = tiny_models.seeded(FAMILIES[family])

    def load(self):
        return self.pipeline


def references(counts=(3, 3)):
    """Returns references of some classes, which differ by a colour."""
    rng = np.random.default_rng(0)
    return [
        {
            "row_id": f"train/{label}{index}",
            "label": label,
            "class_name": f"bird {label}",
            "word": f"<c{label}>",
            "source_image": Image.fromarray(rng.integers(0, 80, (16, 16, 3), np.uint8) + np.uint8(80 * label)),
        }
        for label, count in enumerate(counts)
        for index in range(count)
    ]


def learned(folder, settings=SETTINGS, family="SD", counts=(3, 3)):
    folder.mkdir(exist_ok=True)
    words = {"caption": "a photo of a {label}", "initial": "bird", "fit": "crop"}
    return learn_tokens(Model(family), references(counts), settings, folder=folder, **words)


def state(pipeline):
    """Returns copies of all weights of the pipeline by name."""
    modules = {name: part for name, part in pipeline.components.items() if isinstance(part, torch.nn.Module)}
    return {
        f"{name}.{key}": value.clone() for name, part in modules.items() for key, value in part.state_dict().items()
    }


@pytest.mark.parametrize(("prediction", "expected"), [("epsilon", 2.0), ("v_prediction", 0.6 * 2.0 - 0.8 * 5.0)])
def test_noise_and_target_follow_the_formulas(prediction, expected):
    latents, noise, alphas = torch.full((1, 1, 1, 1), 5.0), torch.full((1, 1, 1, 1), 2.0), torch.tensor([0.36])
    assert noised(latents, noise, alphas).item() == pytest.approx(0.6 * 5 + 0.8 * 2)
    assert target(latents, noise, alphas, prediction).item() == pytest.approx(expected)


def test_the_draws_of_a_step_depend_on_seed_training_and_step_alone():
    images = torch.arange(10, 15)

    def draw(training=0, step=4, **changed):
        settings = TokenSettings(**{"steps": 9, "batch": 2, "rate": 1.0, "seed": 0, "alone": False} | changed)
        return draw_step(settings, training, step, images, (4, 8, 8), 1000)

    first = draw()
    again = draw(steps=100, rate=0.5)
    assert torch.equal(first.noise, again.noise) and torch.equal(first.times, again.times)
    for other in (draw(seed=1), draw(training=1), draw(step=5)):
        assert not torch.equal(first.noise, other.noise)
        assert not torch.equal(first.latent_noise, other.latent_noise)
    assert not torch.equal(first.noise, first.latent_noise)
    epochs = torch.cat([draw(step=step).images for step in range(10)])
    for epoch in range(4):
        assert sorted(epochs[5 * epoch : 5 * epoch + 5].tolist()) == images.tolist()
    assert {int(t) // 500 for step in range(20) for t in draw(step=step).times} == {0, 1}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_of_a_step_is_the_formula(family, tmp_path):
    pipeline = Model(family).load()
    rows = {part.name: mean_rows(part, ["bird"]) for part in text_parts(pipeline)}
    means, deviations = encoded_images(
        pipeline, [torch.from_numpy(np.array(r["source_image"])).permute(2, 0, 1) for r in references((3,))]
    )
    images = TokenImages(means, deviations, torch.zeros(3, dtype=torch.int64))
    training = TokenTraining(pipeline, LearnedTokens(("<c0>",), rows), ["a <c0>"], images, SETTINGS, tmp_path)
    members = torch.arange(3)
    loss = training._loss(0, 0, members, [0], training.rows)
    draw = draw_step(SETTINGS, 0, 0, members, means.shape[1:], 1000)
    chosen = draw.images
    latents = (
        means[chosen].float() + deviations[chosen].float() * draw.latent_noise
    ) * pipeline.vae.config.scaling_factor
    alphas = pipeline.scheduler.alphas_cumprod[draw.times].view(-1, 1, 1, 1)
    arguments = {}
    with torch.no_grad():
        if family == "SDXL":
            prompt, _, pooled, _ = pipeline.encode_prompt(["a <c0>"] * 2, do_classifier_free_guidance=False)
            ids = torch.tensor([[16.0, 16, 0, 0, 16, 16]] * 2)
            arguments["added_cond_kwargs"] = {"text_embeds": pooled, "time_ids": ids}
        else:
            prompt, _ = pipeline.encode_prompt(["a <c0>"] * 2, "cpu", 1, False)
        noisy = alphas.sqrt() * latents + (1 - alphas).sqrt() * draw.noise
        predicted = pipeline.unet(noisy, draw.times, encoder_hidden_states=prompt, **arguments).sample
    assert float(loss) == pytest.approx(float((predicted - draw.noise).square().mean()), rel=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_exactly_the_new_rows_change(family, tmp_path):
    tokens = learned(tmp_path / family, family=family)
    assert tokens.words == ("<c0>", "<c1>")
    pipeline = Model(family).load()
    initial = {part.name: mean_rows(part, ["bird"])[0] for part in text_parts(pipeline)}
    before = state(pipeline)
    add_tokens(pipeline, tokens)
    after = state(pipeline)
    matrices = [key for key in after if "token_embedding" in key]
    assert len(matrices) == len(text_parts(pipeline)) == len(tokens.rows)
    assert all(torch.equal(before[key], after[key]) for key in before if key not in matrices)
    for key, (name, rows) in zip(matrices, tokens.rows.items(), strict=True):
        assert after[key].shape[0] == before[key].shape[0] + 2
        assert torch.equal(after[key][:-2], before[key])
        assert torch.equal(after[key][-2:], rows)
        assert not torch.equal(rows[0], rows[1])
        assert all((row - initial[name]).abs().max() > 0.01 for row in rows)


def test_the_training_changes_no_weight_of_the_model(tmp_path):
    model = Model()
    before = state(model.pipeline)
    words = {"caption": "{label}", "initial": "bird", "fit": "crop"}
    learn_tokens(model, references(), SETTINGS, folder=tmp_path, **words)
    after = state(model.pipeline)
    assert all(torch.equal(before[key], after[key][: len(before[key])]) for key in before if before[key].ndim)


class Stopped(Exception):
    """Raised in the place of an interruption."""


@pytest.mark.parametrize(
    ("settings", "calls"),
    [(SETTINGS, 1), (SETTINGS, 4), (SETTINGS, 6), (ALONE, 1), (ALONE, 4), (ALONE, 6), (LORA, 4)],
    ids=["all-1", "all-4", "all-6", "class-1", "class-4", "class-6", "lora-4"],
)
def test_an_interrupted_training_gives_the_same_bits(settings, calls, tmp_path, monkeypatch):
    whole = learned(tmp_path / "whole", settings)
    monkeypatch.setattr(token_training, "CHECKPOINT_STEPS", 2)
    made = []

    def stopping(*arguments):
        made.append(1)
        if len(made) == calls:
            raise Stopped
        return draw_step(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(token_training, "draw_step", stopping)
        with pytest.raises(Stopped):
            learned(tmp_path / "parts", settings)
    names = [file.name for file in (tmp_path / "parts").iterdir()]
    assert names == ([CHECKPOINT] if calls > 2 else [])
    steps = []
    monkeypatch.setattr(token_training, "draw_step", lambda *arguments: steps.append(1) or draw_step(*arguments))
    resumed = learned(tmp_path / "parts", settings)
    assert all(torch.equal(whole.rows[name], resumed.rows[name]) for name in whole.rows)
    assert whole.lora.keys() == resumed.lora.keys()
    assert all(torch.equal(whole.lora[name], resumed.lora[name]) for name in whole.lora)
    assert len(steps) <= 6 - (calls - 1) + 2
    assert not list((tmp_path / "parts").iterdir())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_lora_is_learned_beside_the_tokens_and_read_again(family, tmp_path):
    tokens = learned(tmp_path, LORA, family)
    tokens.save(tmp_path / "tokens.safetensors")
    read = LearnedTokens.read(tmp_path / "tokens.safetensors")
    assert read.rows.keys() == tokens.rows.keys()
    layers = {name.rsplit(".lora_", 1)[0].split("transformer_blocks.0.")[-1] for name in read.lora}
    assert {f"attn{number}.{layer}" for number in (1, 2) for layer in ("to_q", "to_k", "to_v", "to_out.0")} <= layers
    assert all((tensor != 0).any() for name, tensor in read.lora.items() if "lora_B" in name)
    pipeline = Model(family).load()
    before = state(pipeline)
    add_tokens(pipeline, read)
    after = {name.replace(".base_layer.", "."): value for name, value in state(pipeline).items()}
    assert all(torch.equal(before[name], after[name]) for name in before if "token_embedding" not in name)


def test_the_output_with_a_lora_is_that_of_the_added_matrices(tmp_path):
    """A layer gives W x + B A x. A LoRA whose B is zero changes nothing."""
    tokens = learned(tmp_path, LORA)
    pipeline = Model().load()
    layer = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    plain = pipeline.unet.get_submodule(layer)
    inputs = torch.randn(1, 3, plain.in_features, generator=torch.Generator().manual_seed(0))
    base = plain(inputs)
    add_tokens(pipeline, tokens)
    low, high = (tokens.lora[f"unet.{layer}.lora_{part}.weight"] for part in "AB")
    changed = pipeline.unet.get_submodule(layer)(inputs)
    assert torch.allclose(changed, base + inputs @ low.T @ high.T, atol=1e-6)
    assert not torch.allclose(changed, base, atol=1e-6)
    zeros = {name: torch.zeros_like(tensor) if "lora_B" in name else tensor for name, tensor in tokens.lora.items()}
    pipeline = Model().load()
    add_tokens(pipeline, LearnedTokens(("<c0>",), {"text_encoder": torch.zeros(1, 32)}, zeros))
    assert torch.equal(pipeline.unet.get_submodule(layer)(inputs), base)


def test_a_lora_joins_the_adapters_of_the_recipe(tmp_path):
    """Both adapters are active, each with its scale."""
    tokens = learned(tmp_path, LORA)
    pipeline = Model().load()
    pipeline.load_lora_weights({name: tensor.clone() for name, tensor in tokens.lora.items()}, adapter_name="adapter_0")
    pipeline.set_adapters(["adapter_0"], [0.5])
    add_tokens(pipeline, tokens, [0.5])
    assert pipeline.unet.active_adapters() == ["adapter_0", "learned"]
    layer = pipeline.unet.get_submodule("mid_block.attentions.0.transformer_blocks.0.attn1.to_q")
    assert layer.scaling == {"adapter_0": 0.5, "learned": 1.0}


def test_a_class_that_is_learned_alone_does_not_depend_on_the_others(tmp_path):
    two = learned(tmp_path / "two", ALONE)
    one = learned(tmp_path / "one", ALONE, counts=(3,))
    assert torch.equal(two.rows["text_encoder"][:1], one.rows["text_encoder"])


def test_a_file_of_tokens_is_safetensors_and_is_read_again(tmp_path):
    tokens = LearnedTokens(("<c0>", "<c1>"), {"text_encoder": torch.arange(8.0).view(2, 4)})
    tokens.save(tmp_path / "tokens.safetensors")
    assert (tmp_path / "tokens.safetensors").read_bytes()[8:9] == b"{"
    read = LearnedTokens.read(tmp_path / "tokens.safetensors")
    assert read.words == tokens.words
    assert torch.equal(read.rows["text_encoder"], tokens.rows["text_encoder"])


def test_a_token_has_its_row_in_any_order_of_the_tokens():
    def embedding(order):
        pipeline = Model().load()
        rows = torch.stack([torch.full((32,), float(number)) for number in order])
        add_tokens(pipeline, LearnedTokens(tuple(f"<c{number}>" for number in order), {"text_encoder": rows}))
        return pipeline.encode_prompt(["a <c1> bird"], "cpu", 1, False)[0]

    assert torch.equal(embedding([0, 1, 2]), embedding([2, 0, 1]))


def test_each_token_learns_from_the_images_of_its_class_in_any_order_of_the_references(tmp_path, monkeypatch):
    """The classes 0 and 2 are present, so index and label differ."""
    given = [reference for reference in references((2, 2, 2)) if reference["label"] != 1]
    made = {}

    def stopping(pipeline, initial, prompts, images, *more):
        made[len(made)] = (initial, prompts, images)
        raise Stopped

    monkeypatch.setattr(token_training, "TokenTraining", stopping)
    words = {"caption": "a {label}", "initial": "{label}", "fit": "crop"}
    for order in ([0, 1, 2, 3], [3, 0, 2, 1]):
        with pytest.raises(Stopped):
            learn_tokens(Model(), [given[row] for row in order], SETTINGS, folder=tmp_path, **words)
    [(initial, prompts, images), (other_initial, other_prompts, other_images)] = made.values()
    assert initial.words == other_initial.words == ("<c0>", "<c2>")
    assert prompts == other_prompts == ["a <c0>", "a <c2>"]
    pipeline = Model().load()
    [part] = text_parts(pipeline)
    assert torch.equal(initial.rows[part.name], mean_rows(part, ["bird 0", "bird 2"]))
    assert torch.equal(initial.rows[part.name], other_initial.rows[part.name])
    assert images.tokens.tolist() == [0, 0, 1, 1]
    assert other_images.tokens.tolist() == [1, 0, 1, 0]
    assert torch.equal(other_images.means, images.means[[3, 0, 2, 1]])


def test_a_token_of_the_vocabulary_is_refused():
    pipeline = Model().load()
    pipeline.tokenizer.add_tokens(["<c1>"])
    rows = {"text_encoder": torch.zeros(2, 32)}
    with pytest.raises(UserError, match=r"has the token '<c1>' already.*--strategy\.options\.token cx$"):
        add_tokens(pipeline, LearnedTokens(("<c0>", "<c1>"), rows))


def test_a_loss_that_is_not_finite_names_a_smaller_rate(tmp_path, monkeypatch):
    monkeypatch.setattr(token_training, "target", lambda *arguments: torch.full((2, 4, 8, 8), float("nan")))
    with pytest.raises(UserError, match=r"became nan in step 0\. Use --strategy\.options\.rate 0\.001$"):
        learned(tmp_path / "out")


def test_tokens_that_become_nan_give_a_one_line_error_and_no_checkpoint(tmp_path, monkeypatch):
    grad = torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *given: [each * float("nan") for each in grad(*given)])
    with pytest.raises(
        UserError, match=r"tokens became NaN or infinite in step 0\. Use --strategy\.options\.rate 0\.001$"
    ):
        learned(tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_damaged_checkpoint_gives_a_one_line_error_whose_remedy_works(tmp_path):
    good = save({"progress": torch.tensor([0, 0]), "text_encoder.rows": torch.zeros(2, 3)})
    for content in (b"", b"no tensors", good[:20], good):
        (tmp_path / CHECKPOINT).write_bytes(content)
        with pytest.raises(UserError, match=r"is damaged \(.*\)\. Delete it to learn the tokens") as error:
            learned(tmp_path)
        assert "\n" not in str(error.value)
    (tmp_path / CHECKPOINT).unlink()
    assert len(learned(tmp_path).words) == 2
