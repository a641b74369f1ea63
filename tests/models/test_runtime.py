"""Tests of the choice of a device in a process that another program started."""

import pytest
import torch

from diffcore_hf.models.runtime import pick_device


@pytest.mark.parametrize(
    "local_rank, device",
    [(None, "cuda"), ("0", "cuda:0"), ("3", "cuda:3"), ("5", "cuda:1"), ("", "cuda"), ("x", "cuda")],
    ids=["alone", "first", "last", "more processes than GPUs", "empty", "not a number"],
)
def test_the_local_rank_of_a_process_selects_its_gpu(monkeypatch, local_rank, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if local_rank is not None:
        monkeypatch.setenv("LOCAL_RANK", local_rank)
    assert pick_device() == torch.device(device)
    assert pick_device("cuda:2") == torch.device("cuda:2")
    assert pick_device("cpu") == torch.device("cpu")
