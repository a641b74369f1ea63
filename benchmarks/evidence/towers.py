"""The CLIP that is trained on all forty species. The measurements with the name `seen` of the series `judge` use it.

Owns the folder of this CLIP. A script of the miniature world trains it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.evidence.worlds import locked

SCRIPT = Path(__file__).parents[2] / "recipes" / "miniature" / "train_clip.py"
SECONDS = 1200
"""Estimate of the training time on one core."""


def seen_clip(work: Path) -> Path:
    """Returns the folder of the CLIP. If the folder does not exist, the CLIP is trained first."""
    folder = work / "clip-seen"
    with locked(folder):
        if not folder.is_dir():
            command = [sys.executable, str(SCRIPT), "--species", "seen", "--output", str(folder)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return folder


def measure(work: Path) -> dict[str, Any]:
    """Returns the record of the training of the CLIP."""
    return json.loads((seen_clip(work) / "training.json").read_text(encoding="utf-8"))
