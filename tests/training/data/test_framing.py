"""Tests of framing, which resizes and crops an image for an evaluation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from augmented_photos import augmented
from datasets import Image

from diffcore_hf.config.train import TransformConfig
from diffcore_hf.core.images import decode
from diffcore_hf.training.data import framing


@pytest.fixture(scope="module")
def rows():
    return augmented()


def test_framing_an_evaluation_image_is_deterministic(rows):
    protocol = framing.protocol_of(TransformConfig("fgvc_scratch_224", 32))
    image = torch.from_numpy(np.array(decode(rows.cast_column("image", Image(decode=False))[0]["image"])))
    frames = [framing.evaluation_frame(image.permute(2, 0, 1), protocol) for _ in range(2)]
    assert torch.equal(*frames) and frames[0].shape == (3, 32, 32)
