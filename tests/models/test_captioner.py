"""The captioner: a caption depends on its image alone, and other models are refused before weights are loaded."""

import numpy as np
import pytest
import tiny_models
import tiny_towers
from PIL import Image

from diffcore_hf.config.augment import CaptionerConfig
from diffcore_hf.core.errors import UserError
from diffcore_hf.models.captioner import Captioner
from diffcore_hf.models.captioner_resolution import resolve_captioner
from diffcore_hf.models.library_classes import is_captioner


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_models.seeded(tiny_towers.save_captioner, tmp_path_factory.mktemp("captioner") / "blip")


def test_a_caption_has_words_and_is_the_same_in_any_order(folder):
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8)) for _ in range(3)]
    captioner = Captioner(CaptionerConfig(str(folder), tokens=6), device="cpu")
    captions = [captioner.caption(image) for image in images]
    assert all(1 < len(caption.split()) <= 6 for caption in captions)
    assert [captioner.caption(image) for image in reversed(images)] == captions[::-1]


@pytest.mark.parametrize(
    ("model_type", "known"),
    [("blip", True), ("git", True), ("vision-encoder-decoder", True), ("clip", False), ("bert", False), ("", False)],
)
def test_captioners_are_found_without_an_import_of_transformers(model_type, known):
    assert is_captioner(model_type) is known


def test_other_models_are_refused(folder, tiny):
    assert resolve_captioner(CaptionerConfig(str(folder))).identity.startswith("sha256:")
    with pytest.raises(UserError, match=r"is of type clip, which describes no images\. Give prompts\.captioner an im"):
        resolve_captioner(CaptionerConfig(tiny["clip"]))
