"""Closeness: the version of the comparison of images, and the score from which two images show the same picture.

Owns the bound, which was calibrated on photographs (benchmarks/leaks.py).
"""

from __future__ import annotations

METHOD = "print-1"
"""Name of the method, which is stored with each score. Raise the number if scores change."""
BOUND = 0.9
"""Two images with at least this score show the same picture."""
