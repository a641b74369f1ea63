"""Tests of image-to-image sampling: the formula of SDEdit, the random draws, Eq. 4, and independence of batches."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_models
import torch
from denoising_steps import recorded_steps
from PIL import Image

from diffcore_hf.config.augment import ModelConfig
from diffcore_hf.core.errors import UserError
from diffcore_hf.models import library_classes, model_resolution
from diffcore_hf.models.diffusion import TextToImage
from diffcore_hf.models.image_to_image import ImageToImage, square

PROMPTS = ["a red bird", "a blue bird", "a car", "a red bird"]
NEGATIVES = ["blurry", None, "dark", "blurry"]
SEEDS = [11, 12, 13, 14]
FAMILIES = list(tiny_models.PIPELINES)


def config(folder, **options):
    return ModelConfig(**({"path": str(folder), "steps": 8, "size": 16} | options))


def photos(count: int = 4, size: tuple[int, int] = (20, 16)) -> list[Image.Image]:
    """Returns photos of smooth colours."""
    x, y = np.meshgrid(np.linspace(0, 1, size[0]), np.linspace(0, 1, size[1]))
    planes = [np.stack([x, y, np.full_like(x, row / count)], axis=-1) for row in range(count)]
    return [Image.fromarray((plane * 255).astype(np.uint8)) for plane in planes]


def close(a, b):
    return (a.int() - b.int()).abs().max() <= 1


@pytest.mark.parametrize("name", FAMILIES)
def test_batch_size_and_order_do_not_matter(name, pipelines):
    columns = [PROMPTS, NEGATIVES, SEEDS, [0.5] * 4, photos()]
    whole = ImageToImage(config(pipelines[name]), batch_size=4).sample(*columns).images
    assert whole.shape == (4, 3, 16, 16)
    assert close(whole, ImageToImage(config(pipelines[name]), batch_size=1).sample(*columns).images)
    backwards = [column[::-1] for column in columns]
    assert close(whole, ImageToImage(config(pipelines[name]), batch_size=3).sample(*backwards).images.flip(0))
    again = [column[0] for column in columns]
    again[2] = 99
    other = ImageToImage(config(pipelines[name])).sample(*([value] for value in again)).images
    assert not close(whole[:1], other)


@pytest.mark.parametrize("name", ["SD", "SDXL"])
def test_strict_images_are_equal_bit_for_bit_in_any_batches(name, pipelines):
    columns = [PROMPTS, NEGATIVES, SEEDS, [0.5, 0.25, 0.5, 0.75], photos()]
    whole = ImageToImage(config(pipelines[name]), strict=True).sample(*columns).images
    model = ImageToImage(config(pipelines[name]), strict=True)
    for rows in ([0], [3, 1], [2], [3, 2, 1, 0]):
        assert torch.equal(model.sample(*([column[row] for row in rows] for column in columns)).images, whole[rows])


@pytest.mark.parametrize("name", ["SD", "SDXL"])
@pytest.mark.parametrize(("strength", "calls"), [(0.29, 2), (0.5, 4), (0.74, 5), (1.0, 8)])
def test_the_network_is_evaluated_once_for_each_step(name, strength, calls, pipelines):
    model = ImageToImage(config(pipelines[name]))
    counted = []
    model.load().unet.register_forward_hook(lambda *_: counted.append(1))
    model.sample(PROMPTS[:1], NEGATIVES[:1], SEEDS[:1], [strength], photos(1))
    assert len(counted) == calls == int(8 * strength)


@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in ("SD", "SDXL")])
def test_the_families_of_flow_models_round_the_steps_up(name, pipelines):
    model = ImageToImage(config(pipelines[name]))
    counted = []
    model.load().transformer.register_forward_hook(lambda *_: counted.append(1))
    for strength, calls in ((0.29, 3), (0.5, 4)):
        counted.clear()
        model.sample(PROMPTS[:1], [None], SEEDS[:1], [strength], photos(1))
        assert len(counted) in (calls, 2 * calls)  # some families evaluate the two prompts of Eq. 4 one by one


def test_a_higher_strength_starts_from_less_of_the_image_and_strength_1_from_a_small_share(pipelines):
    model = ImageToImage(config(pipelines["SD"]))
    pipe = model.load()
    steps = recorded_steps(pipe)
    shares, starts = [], []
    for strength in (0.125, 0.25, 0.5, 0.75, 1.0):
        steps.clear()
        model.sample(PROMPTS[:1], [None], [7], [strength], photos(1))
        shares.append(float(pipe.scheduler.alphas_cumprod[steps[0].t].sqrt()))
        starts.append(steps[0].latents.flatten())
    assert shares == sorted(shares, reverse=True)
    # Unlike in text_to_image, the start has a small share of the image even at strength 1.
    assert 0.01 < shares[-1] < 0.2
    likeness = [float(torch.cosine_similarity(start, starts[-1], 0)) for start in starts]
    assert likeness == sorted(likeness)


@pytest.mark.parametrize("name", ["SD", "SDXL"])
def test_the_first_latents_follow_the_formula_and_the_vae_draws_before_the_noise(name, pipelines):
    model = ImageToImage(config(pipelines[name]))
    pipe = model.load()
    seen = recorded_steps(pipe)
    [photo] = photos(1)
    model.sample(PROMPTS[:1], NEGATIVES[:1], [7], [0.5], [photo])
    _, t, start = seen[0]
    generator = torch.Generator("cpu").manual_seed(7)
    pixels = torch.from_numpy(np.array(square(photo, 16))).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad():
        sample = pipe.vae.encode(pixels).latent_dist.sample(generator) * pipe.vae.config.scaling_factor
    noise = torch.randn(sample.shape, generator=generator)
    kept = pipe.scheduler.alphas_cumprod[t].sqrt()
    by_hand = kept * sample + (1 - kept.square()).sqrt() * noise
    assert torch.allclose(start, by_hand, atol=1e-5)
    assert t == pipe.scheduler.timesteps[4]


def test_one_step_is_equation_4_with_a_negative_prompt(pipelines):
    gamma = 2.0
    model = ImageToImage(config(pipelines["SD"], steps=2, gamma=gamma))
    pipe = model.load()
    steps = recorded_steps(pipe)
    model.sample(["a red bird"], ["blurry"], [7], [0.5], photos(1))
    last = steps[-1]

    @torch.no_grad()
    def eps(text):
        embeds, _ = pipe.encode_prompt([text], "cpu", 1, False)
        return pipe.unet(last.latents, last.t, encoder_hidden_states=embeds).sample

    by_hand = (1 + gamma) * eps("a red bird") - gamma * eps("blurry")
    assert torch.allclose(last.prediction, by_hand, atol=1e-5)
    assert not torch.allclose(last.prediction, eps("a red bird"), atol=1e-4)


def test_the_pipeline_has_the_weights_of_text_to_image(pipelines):
    for name in ("SD", "SDXL"):
        pipe = ImageToImage(config(pipelines[name])).load()
        text = TextToImage(config(pipelines[name])).load()
        assert type(pipe).__name__ == type(text).__name__.replace("Pipeline", "Img2ImgPipeline")
        for part, module in text.components.items():
            if isinstance(module, torch.nn.Module):
                ours = pipe.components[part].state_dict()
                assert all(torch.equal(ours[key], value) for key, value in module.state_dict().items())
        assert getattr(pipe, "watermark", None) is None


def test_a_strength_without_a_step_is_refused_before_sampling(pipelines):
    with pytest.raises(ValueError, match=r"strength 0\.1 of 8 steps leaves no denoising step"):
        ImageToImage(config(pipelines["SD"])).sample(PROMPTS[:1], [None], [1], [0.1], photos(1))


@pytest.mark.parametrize(
    ("size", "fit", "corner"),
    [((40, 20), "crop", (64, 0)), ((40, 20), "stretch", (0, 0)), ((20, 20), "crop", (0, 0))],
)
def test_a_real_image_becomes_square(size, fit, corner):
    """The red channel grows from left to right, so the first pixel shows where the square begins."""
    [photo] = photos(1, size)
    image = square(photo, 16, fit)
    assert image.size == (16, 16)
    assert abs(image.getpixel((0, 0))[0] - corner[0]) <= 6
    assert image.getpixel((0, 0))[1] <= 6


def test_the_pipeline_class_is_found_without_an_import_of_diffusers():
    found = library_classes.image_to_image_classes()
    assert found == model_resolution._image_to_image_classes()
    assert found["StableDiffusionPipeline"] == "StableDiffusionImg2ImgPipeline"


@pytest.mark.parametrize("pipeline", ["PixArtAlphaPipeline", "FluxKontextPipeline", "NoSuchPipeline"])
def test_a_pipeline_family_without_a_strength_is_refused(pipeline):
    with pytest.raises(UserError, match=rf"^org/x: diffusers .* has no image-to-image pipeline for {pipeline}\. Use"):
        model_resolution.image_to_image_class(pipeline, "org/x")
