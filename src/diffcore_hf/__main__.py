"""`python -m diffcore_hf` is `diffcore-hf`."""

import sys

from .cli import main

sys.exit(main())
