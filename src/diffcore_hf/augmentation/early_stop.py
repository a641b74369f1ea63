"""Early stop: the rule by which a run ends before all attempts are made, because too many of them are faulty.

Owns the rule and its message. The attempts are counted over the folder: all decided attempts of the plan, whichever run
made them. So the rule depends only on facts and recipe. A run that stopped and is started again stops at once, with
the same message and without a new attempt, until a setting is changed:

- A setting that changes the content of an attempt, such as the precision, needs a new output folder. There,
  nothing is counted yet.
- `max_faulty: null`, or a higher share, continues in the same folder.
- An attempt with the verdict `accept` of a reviewer is kept, so it is no longer faulty. A crashed attempt has
  no image and stays faulty.

A run whose attempts are all made is finished and does not stop early; its summary shows the reasons.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from diffcore_hf.augmentation.material import Material
from diffcore_hf.augmentation.reasons import counts_text, faulty_counts, reason_counts
from diffcore_hf.augmentation.remedies import remedy
from diffcore_hf.method.checks import Check, checks_of

STOP_AFTER = 50
"""Number of attempts that must exist before a run stops early."""


def is_too_faulty(counts: Mapping[str, int], checks: Sequence[Check], share: float | None) -> bool:
    """Returns whether a run with these counts of attempts by reason has to stop.

    Args:
        counts: number of attempts by reason; kept attempts are included.
        checks: the checks of the run.
        share: `max_faulty` of the recipe, in (0, 1]; None: a run never stops early.
    """
    total = sum(counts.values())
    return share is not None and total >= STOP_AFTER and sum(faulty_counts(counts, checks).values()) / total >= share


def stop_message(material: Material) -> str | None:
    """Returns why a run has to stop early, with a remedy, as one line; None if it may go on."""
    counts, checks = reason_counts(material), checks_of(material.recipe.filter.checks)
    if not is_too_faulty(counts, checks, material.recipe.max_faulty):
        return None
    faulty = faulty_counts(counts, checks)
    most_frequent = next(iter(faulty))
    return (
        f"stopped early: {sum(faulty.values()):,} of {sum(counts.values()):,} attempts are faulty "
        f"({counts_text(faulty)}). {most_frequent}: {remedy(material, most_frequent)}. Finished attempts are exported "
        f"to {material.run.folder.path}; add --max_faulty null to continue there in spite of the faults"
    )
