"""Tests of exceptions of the model libraries, which become a one-line error unless the machine caused them."""

from __future__ import annotations

import errno

import pytest
import torch

from diffcore_hf.core.errors import UserError
from diffcore_hf.models.library_errors import library_errors


def test_the_error_has_problem_innermost_cause_and_remedy():
    chained = RuntimeError("raised while handling another error")
    chained.__cause__ = KeyError("unet")
    with pytest.raises(UserError) as error, library_errors("org/model cannot be loaded", "Give another model"):
        raise chained
    assert str(error.value) == "org/model cannot be loaded: the key 'unet' is missing. Give another model"


@pytest.mark.parametrize(
    "fault",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        OSError(errno.ENOSPC, "No space left on device"),
        UserError("a message of this package"),
        KeyboardInterrupt(),
    ],
)
def test_errors_of_the_machine_and_the_user_are_raised_unchanged(fault):
    with pytest.raises(type(fault)) as error, library_errors("problem", "remedy"):
        raise fault
    assert error.value is fault
