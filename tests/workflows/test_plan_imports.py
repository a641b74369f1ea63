"""Tests of the imports and the memory of `plan`: it imports no torch."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from small_photos import write_photos

HEAVY = ("torch", "torchvision", "transformers", "diffusers", "timm", "accelerate", "matplotlib")
MODELS = "package:diffcore_hf.miniature/models"
PROGRAM = """
import json, re, sys, time
started = time.perf_counter()
from diffcore_hf.commands.main import main
status = main(sys.argv[2:])
report = {
    "status": status,
    "seconds": time.perf_counter() - started,
    # ru_maxrss would count the process that started this one.
    "megabytes": int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024,
    "modules": sorted(sys.modules),
}
open(sys.argv[1], "w").write(json.dumps(report))
"""


def run_plan(tmp_path, *flags):
    """Return the output of `plan` on 18 photos in a process of its own, and a report about that process."""
    photos = write_photos(tmp_path / "photos", [6, 6, 6])
    arguments = ["plan", str(photos), "--output", str(tmp_path / "out"), "--filter.path", f"{MODELS}/clip", *flags]
    report = tmp_path / "report.json"
    command = [sys.executable, "-c", PROGRAM, str(report), *arguments]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout, json.loads(report.read_text())


@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory of the process in /proc")
@pytest.mark.parametrize(
    "flags",
    [
        (),
        ("--model.scheduler", "EulerDiscreteScheduler"),
        ("--model.guidance", "native"),
        ("--filter.policy", "mean"),
        ("--model.dtype", "float32", "--model.device", "cpu"),
    ],
)
def test_plan_imports_no_torch_and_stays_below_300_megabytes(tmp_path, flags):
    printed, report = run_plan(tmp_path, "--model.path", f"{MODELS}/sd", *flags)
    print(f"plan on 18 photos: {report['seconds']:.1f} s, {report['megabytes']:.0f} MB")
    assert report["status"] == 0
    assert ("18 units" in printed and "SD, " in printed) or "native, " in printed
    assert [name for name in HEAVY if name in report["modules"]] == []
    assert report["megabytes"] < 300
