"""Tests of learned_tokens with the real small models: images of a learned token show its species."""

import numpy as np
import pytest
import torch
from PIL import Image

from diffcore_hf.config.augment import ModelConfig
from diffcore_hf.miniature.oracle import MODELS, Oracle
from diffcore_hf.miniature.renderer import render
from diffcore_hf.miniature.scenery import CONTEXTS
from diffcore_hf.miniature.species import DATASET_SPECIES
from diffcore_hf.models.diffusion import TextToImage
from diffcore_hf.models.learned_tokens import LearnedTokens, add_tokens
from diffcore_hf.models.token_steps import TokenSettings
from diffcore_hf.models.token_training import learn_tokens

SPECIES = [DATASET_SPECIES[index] for index in (0, 6, 12)]
IMAGES = 6


@pytest.mark.slow
def test_a_learned_token_draws_its_species_and_a_random_token_does_not(tmp_path):
    config = ModelConfig(path=str(MODELS / "sd"), steps=12, gamma=2.0, dtype="float32", device="cpu")
    rng = np.random.default_rng(1)
    references = [
        {
            "row_id": f"train/{label}-{number}",
            "label": label,
            "class_name": species.name,
            "word": f"<c{label}>",
            "source_image": render(species, CONTEXTS[int(rng.integers(10))], rng),
        }
        for label, species in enumerate(SPECIES)
        for number in range(16)
    ]
    # The training starts from the embedding of the word bird, so the species is learned from the images alone.
    tokens = learn_tokens(
        TextToImage(config),
        references,
        TokenSettings(steps=200, batch=8, rate=0.01, seed=0, alone=False),
        caption="a photo of a {label}, a bird",
        initial="bird",
        fit="crop",
        folder=tmp_path,
    )
    model = TextToImage(config)
    matrix = model.load().text_encoder.get_input_embeddings().weight
    noise = torch.randn(3, matrix.shape[1], generator=torch.Generator().manual_seed(0))
    add_tokens(model.load(), tokens)
    add_tokens(model.load(), LearnedTokens(("<r0>", "<r1>", "<r2>"), {"text_encoder": noise * matrix.std().item()}))
    oracle = Oracle.load()

    def right(words):
        """Returns the share of images for which the oracle names the species."""
        prompts = [f"a photo of a {word}, a bird" for word in words for _ in range(IMAGES)]
        images = model.sample(prompts, ["blurry, deformed, low quality"] * len(prompts), range(len(prompts))).images
        pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
        shown, _ = oracle.classify(pictures)
        return np.mean(shown == np.repeat([species.id for species in SPECIES], IMAGES))

    # Measured: 18 of 18 images show the species if the prompt has its name, and 17 of 18 if it has the learned token.
    by_token = right(tokens.words)
    assert by_token >= right([species.name for species in SPECIES]) / 2
    assert right(["<r0>", "<r1>", "<r2>"]) < by_token / 2
