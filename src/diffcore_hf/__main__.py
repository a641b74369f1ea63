"""`python -m diffcore_hf` runs the program `diffcore-hf`."""

import sys

from diffcore_hf.commands.main import main

sys.exit(main())
