"""Runs the training program so that it writes a checkpoint with each record of its log."""

import sys

from diffcore_hf.commands.train import main
from diffcore_hf.training.engine import loop

if __name__ == "__main__":
    loop.CHECKPOINT_SECONDS = -1.0
    sys.exit(main())
