"""Tests of the device and the precision of a model, with and without an import of torch."""

from __future__ import annotations

import ctypes

import pytest
import torch

from diffcore_hf.core.errors import UserError
from diffcore_hf.models import devices, runtime
from diffcore_hf.models.devices import Device, device_of, precision_for

CPU, OLD_GPU, NEW_GPU, MAC = Device("cpu"), Device("cuda"), Device("cuda", bfloat16=True), Device("mps")


@pytest.fixture(autouse=True)
def forget():
    devices._cuda_gpu.cache_clear()
    yield
    devices._cuda_gpu.cache_clear()


@pytest.mark.parametrize(
    ("dtype", "device", "expected"),
    [
        ("auto", CPU, "float32"),
        ("auto", OLD_GPU, "float16"),
        ("auto", NEW_GPU, "bfloat16"),
        ("auto", MAC, "float16"),
        ("bfloat16", CPU, "bfloat16"),
        ("bfloat16", NEW_GPU, "bfloat16"),
        ("float16", NEW_GPU, "float16"),
        ("bfloat16", OLD_GPU, "Use --model.dtype float16"),
        ("float16", CPU, "Use --model.dtype float32"),
    ],
)
def test_the_precision_fits_the_device(dtype, device, expected):
    if not expected.startswith("Use"):
        assert precision_for(dtype, device) == expected
        return
    with pytest.raises(UserError, match=expected) as error:
        precision_for(dtype, device)
    remedy = str(error.value).rpartition(" ")[2]
    assert precision_for(remedy, device) == remedy


@pytest.mark.parametrize("name", ["auto", "cpu"])
def test_the_device_found_without_torch_equals_the_device_of_torch(name):
    answer = devices._device_without_torch(name)
    assert answer in (None, runtime.device_facts(runtime.pick_device(name)))
    assert device_of(name) == runtime.device_facts(runtime.pick_device(name))


@pytest.mark.parametrize("name", ["cuda", "cuda:0"])
def test_a_missing_gpu_is_refused(name):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert devices._device_without_torch(name) is None
    with pytest.raises(UserError, match="PyTorch sees no GPU here. Use --model.device auto"):
        device_of(name)
    with pytest.raises(UserError, match="PyTorch sees no GPU here. Use --device auto"):
        runtime.pick_device(name, "device")


class Driver:
    """Stand-in for the CUDA driver of a machine with `count` GPUs."""

    def __init__(self, count=1, major=9, version=13000, status=0):
        self.count, self.major, self.version, self.status = count, major, version, status

    def cuInit(self, flags):
        return self.status

    def cuDriverGetVersion(self, out):
        return self._set(out, self.version)

    def cuDeviceGetCount(self, out):
        return self._set(out, self.count)

    def cuDeviceGet(self, out, number):
        return self._set(out, number)

    def cuDeviceGetAttribute(self, out, attribute, device):
        return self._set(out, self.major)

    def _set(self, out, value):
        out._obj.value = value
        return 0


@pytest.mark.parametrize(
    ("driver", "expected"),
    [
        (Driver(), NEW_GPU),
        (Driver(major=7), OLD_GPU),
        (Driver(version=12040), None),  # a driver that is too old for the installed torch
        (Driver(count=0), None),
        (Driver(status=100), None),
        (None, CPU),
    ],
    ids=["new", "old", "old driver", "no GPU", "fault", "no driver"],
)
def test_the_values_of_the_cuda_driver_give_the_device(driver, expected, monkeypatch):
    def load(name):
        if driver is None:
            raise OSError("no such library")
        return driver

    monkeypatch.setattr(ctypes, "CDLL", load)
    assert devices._gpu_of_driver(13) == expected
