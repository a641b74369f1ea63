"""Devices: the kind of device that `model.device` selects on this machine. torch is imported only if necessary.

Owns the choice of the device and the precision before a model is loaded. The torch.device objects are made in
runtime.py.
"""

from __future__ import annotations

import ctypes
import functools
import re
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from diffcore_hf.core.errors import UserError

Precision = Literal["float32", "bfloat16", "float16"]

_DRIVER_FUNCTION_OF_MAJOR = 75
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR of the CUDA driver."""
_MAJOR_WITH_BFLOAT16 = 8


@dataclass(frozen=True)
class Device:
    """The kind of a device, and the property on which the precision depends."""

    kind: str
    """cpu, cuda, mps, ..."""
    bfloat16: bool = False
    """Whether a CUDA GPU computes in bfloat16 without emulation."""


def device_of(name: str) -> Device:
    """Return the device that `model.device` means on this machine.

    Raises:
        UserError: this machine has no such device.
    """
    device = None if "torch" in sys.modules else _device_without_torch(name)
    return _device_of_torch(name) if device is None else device


def precision_for(dtype: Literal["auto"] | Precision, device: Device) -> Precision:
    """Return the precision; `auto` is float32 on a CPU, bfloat16 on a GPU that supports it, and otherwise float16.

    Raises:
        UserError: this device cannot compute in the given precision.
    """
    if dtype == "auto":
        if device.kind == "cpu":
            return "float32"
        return "bfloat16" if device.bfloat16 else "float16"
    if dtype == "bfloat16" and device.kind == "cuda" and not device.bfloat16:
        raise UserError("model.dtype is bfloat16, which this GPU does not support. Use --model.dtype float16")
    if dtype == "float16" and device.kind == "cpu":
        raise UserError("model.dtype is float16, which diffusion models cannot use on a CPU. Use --model.dtype float32")
    return dtype


def _device_of_torch(name: str) -> Device:
    from diffcore_hf.models.runtime import device_facts, pick_device

    return device_facts(pick_device(name))


def _device_without_torch(name: str) -> Device | None:
    """Return the device; None if it cannot be determined without torch."""
    if name == "cpu":
        return Device("cpu")
    gpu = _cuda_gpu()
    if gpu is None or not re.fullmatch(r"auto|cuda(:\d+)?", name):
        return None
    if gpu.kind == "cuda":
        return gpu
    return gpu if name == "auto" else None


@functools.cache
def _cuda_gpu() -> Device | None:
    """Return the first CUDA GPU as the installed torch sees it, or the CPU if there is none; None if it is unclear."""
    if sys.platform != "linux":
        return None
    spec = find_spec("torch")
    try:
        version = (Path(spec.origin).parent / "version.py").read_text() if spec and spec.origin else ""
    except OSError:
        return None
    built_for = dict(re.findall(r"^(cuda|hip)\b.*= *(\S+)$", version, re.MULTILINE))
    if set(built_for) != {"cuda", "hip"} or built_for["hip"] != "None":
        return None
    if built_for["cuda"] == "None":
        return Device("cpu")
    toolkit = re.match(r"'(\d+)\.", built_for["cuda"])
    return _gpu_of_driver(int(toolkit.group(1))) if toolkit else None


def _gpu_of_driver(toolkit: int) -> Device | None:
    """Return the first GPU of the CUDA driver, or the CPU if there is none; None if a call of the driver fails."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:  # no driver is installed
        return Device("cpu")
    version, count, device, major = (ctypes.c_int() for _ in range(4))
    calls = (
        lambda: driver.cuDriverGetVersion(ctypes.byref(version)),
        lambda: driver.cuInit(0),
        lambda: driver.cuDeviceGetCount(ctypes.byref(count)),
        lambda: driver.cuDeviceGet(ctypes.byref(device), 0),
        lambda: driver.cuDeviceGetAttribute(ctypes.byref(major), _DRIVER_FUNCTION_OF_MAJOR, device),
    )
    if any(call() != 0 for call in calls) or count.value < 1 or version.value // 1000 < toolkit:
        return None
    return Device("cuda", bfloat16=major.value >= _MAJOR_WITH_BFLOAT16)
