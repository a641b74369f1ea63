"""Tests of text-to-image sampling: batches, flags, memory, and truncated prompts."""

from __future__ import annotations

import logging

import pytest
import tiny_models
import torch

from diffcore_hf.config.augment import ModelConfig
from diffcore_hf.models.diffusion import TextToImage
from diffcore_hf.models.model_resolution import resolve_model

PROMPTS = ["a red bird", "a blue bird", "a red bird", "a car", "a red bird", "a blue bird"]
NEGATIVES = ["blurry", "blurry", "blurry", "dark", None, ""]
SEEDS = [11, 12, 13, 14, 2**63 - 1, 16]


def config(folder, **options):
    return ModelConfig(**({"path": str(folder), "steps": 2, "size": 16} | options))


def close(a, b):
    return (a.int() - b.int()).abs().max() <= 1


@pytest.mark.parametrize("name", list(tiny_models.PIPELINES))
def test_batch_size_and_order_do_not_matter(name, pipelines):
    whole = TextToImage(config(pipelines[name]), batch_size=6).sample(PROMPTS, NEGATIVES, SEEDS).images
    assert whole.shape == (6, 3, 16, 16)
    assert whole.dtype == torch.uint8
    single = TextToImage(config(pipelines[name]), batch_size=1).sample(PROMPTS, NEGATIVES, SEEDS).images
    assert close(whole, single)
    backwards = [column[::-1] for column in (PROMPTS, NEGATIVES, SEEDS)]
    assert close(whole, TextToImage(config(pipelines[name]), batch_size=4).sample(*backwards).images.flip(0))
    assert not close(whole[0], whole[2])  # Another seed gives another image.


def test_strict_images_are_equal_bit_for_bit_in_any_batches(pipelines):
    threads = torch.get_num_threads()
    folder = pipelines["SD"]
    whole = TextToImage(config(folder), strict=True).sample(PROMPTS, NEGATIVES, SEEDS).images
    for cut in ([[5, 4, 3, 2, 1, 0]], [[0], [1, 2], [3, 4, 5]], [[2], [0], [5], [1], [4], [3]]):
        model = TextToImage(config(folder), strict=True, batch_size=3)
        for rows in cut:
            part = model.sample(*([column[row] for row in rows] for column in (PROMPTS, NEGATIVES, SEEDS))).images
            assert torch.equal(part, whole[rows])
    assert torch.get_num_threads() == threads
    with pytest.raises(ValueError, match=r"strict is true, but Z-Image pads each prompt to the longest"):
        TextToImage(config(pipelines["Z-Image"]), strict=True).load()


def test_each_distinct_prompt_is_encoded_once(pipelines):
    model = TextToImage(config(pipelines["SDXL"]), batch_size=2)
    model.sample(PROMPTS, NEGATIVES, SEEDS)
    distinct = {
        "a red bird",
        "a blue bird",
        "a car",
        "blurry",
        "dark",
    }  # SDXL replaces a missing negative prompt by zeros.
    assert model.texts_encoded == len(distinct)
    model.sample(PROMPTS, NEGATIVES, SEEDS)
    assert model.texts_encoded == len(distinct)
    assert model.images_drawn == 12


def test_the_cache_of_encoded_prompts_is_bounded(pipelines, monkeypatch):
    monkeypatch.setattr("diffcore_hf.models.diffusion.CACHE_BYTES", 0)
    model = TextToImage(config(pipelines["SD"]), batch_size=3)
    bounded = model.sample(PROMPTS, NEGATIVES, SEEDS).images
    assert model._texts_bytes == 0
    assert close(bounded, TextToImage(config(pipelines["SD"])).sample(PROMPTS, NEGATIVES, SEEDS).images)


def test_gamma_0_needs_no_negative_prompt(pipelines):
    samples = TextToImage(config(pipelines["SD"], gamma=0.0)).sample(["a bird"], [None], [1])
    assert samples.flags == [None]
    assert TextToImage(config(pipelines["SD"])).sample([], [], []).images.shape == (0, 3, 16, 16)


class Suspicious(torch.nn.Module):
    """A safety checker that flags the first image of a batch and makes it black, like the checker of diffusers."""

    def forward(self, images, clip_input):
        images = images.clone()
        images[0] = 0
        return images, [True] + [False] * (len(images) - 1)

    dtype = torch.float32
    device = torch.device("cpu")


def test_flags_mark_unsafe_and_invalid_images(pipelines, monkeypatch):
    model = TextToImage(config(pipelines["SD"]), batch_size=3)
    pipe = model.load()
    pipe.safety_checker, pipe.feature_extractor = Suspicious(), tiny_models.image_processor()
    decode = pipe.vae.decode

    def broken(latents, **options):
        image = decode(latents, **options)[0]
        image[1] = float("nan")
        return (image,)

    pipe.vae.decode = broken
    assert model.sample(PROMPTS[:3], NEGATIVES[:3], SEEDS[:3]).flags == ["unsafe", "invalid", None]
    pipe.safety_checker = None
    pipe.vae.decode = lambda latents, **options: (torch.zeros(len(latents), 3, 16, 16),)
    assert model.sample(PROMPTS[:2], NEGATIVES[:2], SEEDS[:2]).flags == ["invalid", "invalid"]


def test_out_of_memory_halves_the_batch(pipelines, caplog):
    model = TextToImage(config(pipelines["SD"]), batch_size=5)
    pipe = model.load()
    forward = pipe.unet.forward

    def small_card(sample, *arguments, **options):
        if len(sample) > 4:  # guidance doubles the samples, so four samples are two images
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(sample, *arguments, **options)

    pipe.unet.forward = small_card
    images = model.sample(PROMPTS, NEGATIVES, SEEDS).images
    assert model.batch_size == 2
    assert close(images, TextToImage(config(pipelines["SD"])).sample(PROMPTS, NEGATIVES, SEEDS).images)

    def no_card(*arguments, **options):
        raise torch.OutOfMemoryError("CUDA out of memory")

    pipe.unet.forward = no_card
    with pytest.raises(ValueError, match=r"out of memory for one image of 16 pixels. Use --model.offload"):
        model.sample(PROMPTS, NEGATIVES, SEEDS)


def test_resolved_size_is_what_the_pipeline_draws(pipelines):
    for name in ("SD", "SDXL", "SD3"):
        pipe = TextToImage(ModelConfig(path=str(pipelines[name]), steps=1)).load()
        side = pipe.unet.config.sample_size if name != "SD3" else pipe.default_sample_size
        assert resolve_model(ModelConfig(path=str(pipelines[name])))[0].size == side * pipe.vae_scale_factor


class Lines(logging.Handler):
    """Collects the messages that a library logs."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


@pytest.mark.parametrize("guidance", ["eq4", "native"])
def test_a_truncated_text_is_logged_once(guidance, pipelines, caplog):
    import diffusers.utils.logging as of_diffusers
    import transformers.utils.logging as of_transformers

    libraries = (of_diffusers, of_transformers)
    before = [library.get_verbosity() for library in libraries]
    seen = Lines()
    for library in libraries:
        library.set_verbosity_warning()
        library.add_handler(seen)
    try:
        with caplog.at_level(logging.INFO, "diffcore_hf"):
            model = TextToImage(config(pipelines["SD"], steps=1, guidance=guidance), batch_size=2)
            model.load()
            seen.lines.clear()
            for _ in range(2):
                model.sample(["a bird", "a bird " * 9, "a bird " * 9], ["blurry"] * 3, [0, 1, 2])
        assert seen.lines == []
        assert [library.get_verbosity() for library in libraries] == [logging.WARNING] * 2
    finally:
        for library, level in zip(libraries, before, strict=True):
            library.remove_handler(seen)
            library.set_verbosity(level)
    [message] = [record.getMessage() for record in caplog.records if "ignores the last" in record.getMessage()]
    # The text has 9 x 5 letters, a start and an end. The first 16 tokens are used.
    assert message.startswith("the text encoder ignores the last 31 tokens of 'a bird a bird")
