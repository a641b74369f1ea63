"""Runtime: device and precision of a model, fixed conditions for `strict`, and quiet libraries.

Owns everything that depends on the machine and not on a particular model. Each context manager restores the global
settings that it changes.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from typing import Literal, TypeVar

import torch

from diffcore_hf.core.errors import UserError
from diffcore_hf.models.devices import Device, Precision, precision_for

CUDA = torch.device("cuda")
STRICT_BATCH = 16
STRICT_THREADS = 1
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

Item = TypeVar("Item")


def pick_device(device: str = "auto", key: str = "model.device") -> torch.device:
    """Returns the named device. `auto` means the first available one of cuda, mps and cpu.

    If a program such as torchrun started several processes on this machine, each process gets another GPU. The
    environment variable LOCAL_RANK numbers these processes.

    Args:
        device: name of a device.
        key: key of the recipe that names the device, for the error message.

    Raises:
        UserError: there is no such device.
    """
    if device != "auto":
        try:
            chosen = torch.device(device)
        except RuntimeError:
            raise UserError(f"{key} is {device!r}; use auto, cpu, mps, cuda or cuda:<number>") from None
        if chosen.type == "cuda" and not torch.cuda.is_available():
            raise UserError(f"{key} is {device!r}, but PyTorch sees no GPU here. Use --{key} auto")
        return chosen
    if torch.cuda.is_available():
        local_rank = os.environ.get("LOCAL_RANK", "")
        return torch.device("cuda", int(local_rank) % torch.cuda.device_count()) if local_rank.isdigit() else CUDA
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def device_facts(device: torch.device) -> Device:
    """Returns the kind of a device and what a precision depends on."""
    has_bfloat16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return Device(device.type, bfloat16=has_bfloat16)


def resolve_dtype(dtype: Literal["auto"] | Precision, device: torch.device) -> Precision:
    """Returns the precision of a model on a device; see `devices.precision_for`."""
    return precision_for(dtype, device_facts(device))


@contextlib.contextmanager
def fixed_conditions(strict: bool) -> Iterator[None]:
    """Uses one thread and deterministic convolutions inside the block if `strict` is true."""
    if not strict:
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(STRICT_THREADS)
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_num_threads(threads)


@contextlib.contextmanager
def quiet_loading() -> Iterator[None]:
    """Turns off the progress bars of diffusers, transformers and huggingface_hub, and restores them afterwards."""
    import diffusers.utils.logging as diffusers_logging
    import transformers.utils.logging as transformers_logging
    from huggingface_hub.utils import (  # type: ignore[attr-defined]  # public, but re-exported without __all__
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    hub_was_on = not are_progress_bars_disabled()
    libraries = [library for library in (diffusers_logging, transformers_logging) if library.is_progress_bar_enabled()]
    for library in libraries:
        library.disable_progress_bar()
    if hub_was_on:
        disable_progress_bars()
    try:
        yield
    finally:
        for library in libraries:
            library.enable_progress_bar()
        (enable_progress_bars if hub_was_on else disable_progress_bars)()


@contextlib.contextmanager
def quiet_warnings() -> Iterator[None]:
    """Turns off the warnings of diffusers and transformers, such as those about long prompts, and restores them."""
    import diffusers.utils.logging as diffusers_logging
    import transformers.utils.logging as transformers_logging

    levels = [(library, library.get_verbosity()) for library in (diffusers_logging, transformers_logging)]
    for library, level in levels:
        library.set_verbosity(max(level, logging.ERROR))
    try:
        yield
    finally:
        for library, level in levels:
            library.set_verbosity(level)


def pad(items: list[Item], size: int) -> list[Item]:
    """Returns a list of length `size`: the items, then copies of the last item."""
    return items + [items[-1]] * (size - len(items))
