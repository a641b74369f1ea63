"""Checks the result of trainings in compare.json: computes its means, differences and intervals again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import mean, stdev
from typing import Any

from diffcore_hf.core.errors import VALUE_FAULTS
from diffcore_hf.core.manifest import Manifest
from diffcore_hf.core.terminal_text import visible
from diffcore_hf.training.comparison.statistics import paired_difference

_TOLERANCE = 1e-9
"""Absolute tolerance for figures that are computed from the same numbers in the same way."""


def comparison_faults(comparison: Mapping[str, Any], manifest: Manifest) -> list[str]:
    """Return the figures of a comparison that do not follow from the scores of its seeds, or from the dataset.

    Args:
        comparison: content of compare.json with a valid form.
        manifest: content of diffcore.json of its dataset.
    """
    faults = []
    try:
        base = comparison["arms"][0].get("by_seed")
        for arm in comparison["arms"]:
            # A file of an earlier version has no scores of seeds.
            faults += _arm_faults(arm, base, len(comparison["seeds"])) if arm.get("by_seed") and base else []
    except VALUE_FAULTS:
        return ["compare.json: the scores of the seeds are not valid"]
    rows = {entry["path"]: entry.get("rows", 0) for entry in manifest["files"]}
    shards = manifest["configs"].get("default", {}).get(comparison["split"])
    if shards is not None and comparison["images"] > sum(rows.get(path, 0) for path in shards):
        faults.append(f"compare.json: {comparison['images']:,} images are more than split {comparison['split']} has")
    return faults


def _arm_faults(arm: Mapping[str, Any], base: list[float], seeds: int) -> list[str]:
    """Return the figures of an arm that do not follow from the scores of its seeds."""
    scores = arm["by_seed"]
    name = visible(str(arm["name"]))
    if len(scores) != seeds:
        return [f"compare.json: arm {name} has {len(scores)} scores for {seeds} seeds"]
    difference = paired_difference(scores, base)
    expected = {
        "top1": mean(scores),
        "sd": stdev(scores) if seeds > 1 else None,
        "difference": difference.mean,
        "half_interval": difference.half,
        "seen": difference.seen,
    }
    return [
        f"compare.json: {key} of arm {name} does not follow from the scores of its seeds"
        for key, value in expected.items()
        if key in arm and not _equal(arm[key], value)
    ]


def _equal(found: Any, expected: float | bool | None) -> bool:
    if found is None or expected is None or isinstance(expected, bool):
        return found is expected
    return math.isclose(found, expected, rel_tol=0, abs_tol=_TOLERANCE)
