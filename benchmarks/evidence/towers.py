"""Towers: the CLIP that was trained on all forty species, for the judge cells `seen`.

Owns its folder. The training is the miniature's own script.
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
"""Estimate of its training time on one core."""


def seen_clip(work: Path) -> Path:
    """Returns the folder of the CLIP; trains it if the folder does not exist."""
    folder = work / "clip-seen"
    with locked(folder):
        if not folder.is_dir():
            command = [sys.executable, str(SCRIPT), "--species", "seen", "--output", str(folder)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return folder


def measure(work: Path) -> dict[str, Any]:
    """Returns the record of its training."""
    return json.loads((seen_clip(work) / "training.json").read_text(encoding="utf-8"))
