"""`python -m diffcore_hf` is `diffcore-hf`."""

import sys

from diffcore_hf.cli import main

sys.exit(main())
