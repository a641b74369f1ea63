"""Tests of the samples of a strategy: invalid samples are refused, and images of one colour are flagged."""

import numpy as np
import pytest
import torch

from diffcore_hf.augmentation.stages.batches import DeviceBatches
from diffcore_hf.augmentation.stages.samples import SamplesError, checked
from diffcore_hf.models.samples import Samples

REASONS = ("crashed", "unsafe", "invalid", "blurry")


def noise(count=2, channels=3, dtype=torch.uint8):
    return torch.randint(0, 256, (count, channels, 4, 4), generator=torch.Generator().manual_seed(0)).to(dtype)


def test_an_image_of_one_colour_is_invalid_and_other_flags_do_not_change():
    images = noise(4)
    images[:3] = 7
    samples = checked(Samples(images, [None, "unsafe", "blurry: variance 3", None]), 4, "own:Mine", REASONS)
    assert samples.flags == ["invalid", "unsafe", "blurry: variance 3", None]
    assert samples.images is images


def test_an_image_with_one_different_pixel_is_valid():
    images = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    images[0, 0, 3, 3] = 1
    assert checked(Samples(images, [None]), 1, "own:Mine", REASONS).flags == [None]


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (
            Samples(noise(), [None, "leak"]),
            r"returned the flag 'leak', .*Use one of crashed, unsafe, invalid, blurry",
        ),
        (Samples(noise(), [None, True]), r"returned the flag True, which is not a recorded reason"),
        (Samples(noise(), [None]), r"returned 1 flags for 2 units\. Return one flag for each unit"),
        (Samples(noise(1), [None] * 2), r"\(1, 3, 4, 4\) torch\.uint8 for 2 units\. Return one image for each"),
        (Samples(noise(2, 1), [None] * 2), r"\(2, 1, 4, 4\) torch\.uint8\. Return a tensor \(2, 3, H, W\) of uint8"),
        (Samples(noise(dtype=torch.float32), [None] * 2), r"\(2, 3, 4, 4\) torch\.float32\. Return a tensor"),
        (Samples(noise()[0], [None] * 2), r"\(3, 4, 4\) torch\.uint8\. Return a tensor"),
        (Samples(noise()[..., :0], [None] * 2), r"\(2, 3, 4, 0\) .*with at least one pixel"),
        (Samples(np.zeros((2, 3, 4, 4), np.uint8), [None] * 2), r"of the form ndarray\. Return a tensor"),
        (noise(), r"returned Tensor\. Return Samples from sample\(\)"),
    ],
)
def test_samples_that_break_the_interface_are_refused(samples, message):
    with pytest.raises(SamplesError, match=f"^strategy own:Mine .*{message}") as error:
        checked(samples, 2, "own:Mine", REASONS)
    assert "\n" not in str(error.value)


def test_refused_samples_stop_the_run_even_after_a_success():
    class Two:
        batch_size, strict = 2, False

    def work(rows):
        if rows[0]:
            raise SamplesError("wrong flag")
        return [("image", None)] * len(rows)

    results = DeviceBatches(Two()).run(work, 4)
    assert [next(results)[0], next(results)[0]] == [0, 1]
    with pytest.raises(SamplesError, match="wrong flag"):
        next(results)
