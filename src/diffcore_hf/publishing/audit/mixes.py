"""Mixes: checks the numbers of a mixed image in layout `mixed`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffcore_hf.publishing.audit.attempts import TOLERANCE


def mix_is_possible(row: Mapping[str, Any]) -> bool:
    """Return whether kind, lambda and real share of a row are possible.

    In a pixel-wise mix the real share is lambda (Eq. 6). In a patch-wise mix it may differ, because the patch may be
    clipped (Eq. 7).
    """
    if not row["is_mixed"]:
        return row["kind"] is None and row["lambda"] is None and row["real_share"] == 1
    kind, lam, share = row["kind"], row["lambda"], row["real_share"]
    if kind not in ("pixel", "patch") or lam is None or share is None or not 0 <= lam <= 1:
        return False
    return abs(share - lam) <= TOLERANCE if kind == "pixel" else 0 <= share <= 1
