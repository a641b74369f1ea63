"""`python -m diffcore_hf.training` is the program that trains; `accelerate launch -m` needs a module to run.

The one exception of the import contract: it calls commands/train.py, which lies above this package.
"""

import sys

from diffcore_hf.commands.train import main

if __name__ == "__main__":
    sys.exit(main())
