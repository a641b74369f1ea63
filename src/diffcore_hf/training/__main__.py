"""Starts the program that trains: `python -m diffcore_hf.training`, or `accelerate launch -m diffcore_hf.training`.

It imports commands/train.py, which is a higher layer. This is the only exception to the import contract.
"""

import sys

from diffcore_hf.commands.train import main

if __name__ == "__main__":
    sys.exit(main())
