"""Starts the program that trains: `python -m diffcore_hf.training`, or `accelerate launch -m diffcore_hf.training`.

It is the one exception of the import contract, because it imports commands/train.py, a higher layer.
"""

import sys

from diffcore_hf.commands.train import main

if __name__ == "__main__":
    sys.exit(main())
