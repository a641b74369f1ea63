"""Image to image with the small real model: a low strength keeps the species, a higher one keeps less of the image."""

import numpy as np
import pytest

from diffcore_hf.config.augment import ModelConfig
from diffcore_hf.miniature.oracle import MODELS, Oracle
from diffcore_hf.miniature.renderer import render
from diffcore_hf.miniature.scenery import CONTEXTS
from diffcore_hf.miniature.species import DATASET_SPECIES
from diffcore_hf.miniature.world import PROMPTED_CONTEXTS

COUNT = 16
STRENGTHS = (0.2, 0.4, 0.6, 0.8)


@pytest.fixture(scope="module")
def generated():
    """Returns real images of 16 species, and the images that are generated from them for each strength."""
    from diffcore_hf.models.image_to_image import ImageToImage

    rng = np.random.default_rng(3)
    real = [render(species, CONTEXTS[rng.integers(10)], rng) for species in DATASET_SPECIES[:COUNT]]
    contexts = [PROMPTED_CONTEXTS[row % len(PROMPTED_CONTEXTS)] for row in range(COUNT)]
    prompts = [
        f"a photo of a {species.name}, a bird, {context}"
        for species, context in zip(DATASET_SPECIES, contexts, strict=False)
    ]
    model = ImageToImage(ModelConfig(path=str(MODELS / "sd"), steps=10, device="cpu"), batch_size=COUNT)
    columns = prompts, ["blurry, deformed, low quality"] * COUNT, list(range(COUNT))
    images = {strength: model.sample(*columns, [strength] * COUNT, real).images for strength in STRENGTHS}
    return real, {strength: pixels.permute(0, 2, 3, 1).numpy() for strength, pixels in images.items()}


@pytest.mark.slow
def test_a_low_strength_keeps_the_species(generated):
    from PIL import Image

    _, images = generated
    species, _ = Oracle.load().classify([Image.fromarray(pixels) for pixels in images[0.2]])
    assert np.mean(species == [species.id for species in DATASET_SPECIES[:COUNT]]) >= 0.9


@pytest.mark.slow
def test_a_higher_strength_keeps_less_of_the_image(generated):
    real, images = generated
    pixels = np.stack([np.asarray(image, float) for image in real])
    errors = [np.mean((images[strength] - pixels) ** 2) for strength in STRENGTHS]
    ratios = [10 * np.log10(255**2 / error) for error in errors]
    assert ratios == sorted(ratios, reverse=True)
    assert ratios[0] - ratios[-1] > 3
