"""Towers: the CLIP of the kinder cells, which was trained on all forty species.

Owns that it is there; the training is the miniature's own script.
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
"""About how long its training takes on one core."""


def seen_clip(work: Path) -> Path:
    """The folder of the CLIP, trained where it is not there."""
    folder = work / "clip-seen"
    with locked(folder):
        if not folder.is_dir():
            command = [sys.executable, str(SCRIPT), "--species", "seen", "--output", str(folder)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return folder


def measure(work: Path) -> dict[str, Any]:
    """How it was trained."""
    return json.loads((seen_clip(work) / "training.json").read_text(encoding="utf-8"))
