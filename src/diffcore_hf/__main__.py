"""`python -m diffcore_hf` is `diffcore-hf`."""

import sys

from diffcore_hf.commands.main import main

sys.exit(main())
