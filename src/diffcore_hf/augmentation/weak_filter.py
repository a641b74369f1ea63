"""Weak filter: the message about a filter that does not separate the classes, with the remedies.

Owns the text and the choice of the remedies that apply to a run. Does not own the rule by which a filter is weak
(method/policies/separation.py).
"""

from __future__ import annotations

import shlex
from typing import NamedTuple

import numpy as np

from diffcore_hf.augmentation.decisions import Decider
from diffcore_hf.augmentation.part_files import REFERENCES
from diffcore_hf.augmentation.run import Run
from diffcore_hf.config.policy import policy_parameters
from diffcore_hf.core.terminal_text import visible
from diffcore_hf.method.arrays import Bools
from diffcore_hf.method.policies import FittedPolicy
from diffcore_hf.method.policies.separation import Separation

SHOWN_CLASSES = 3
"""Number of classes that the line names."""
USUAL_ALPHA = 0.1
"""The default of `filter.policy.alpha`. A smaller value accepts more images."""
SEPARABLE = 0.5
"""Balanced accuracy above which the embeddings separate the classes, so that another policy can help."""


class WeakFilter(NamedTuple):
    """The message about a filter that does not separate the classes."""

    finding: str
    """The classes, what the filter accepts and its balanced accuracy. The card shows it too."""
    remedy: str
    """What a user can do. It names the output folder, so no card shows it."""

    def line(self) -> str:
        """Returns finding and remedy as one line."""
        return f"{self.finding} {self.remedy}"


def weak_filter(run: Run, policy: FittedPolicy) -> WeakFilter | None:
    """Returns the message about a weak policy; None if the policy separates the classes or does not compare images."""
    separation = policy.separation()
    if separation is None or not separation.weak.any():
        return None
    finding = f"weak filter: it does not separate {_classes(run, separation)}, because it accepts {separation.accepts}."
    if separation.accuracy is not None:
        finding += (
            f" Its balanced accuracy on left-out real images is {100 * separation.accuracy:.1f} %, "
            f"and {100 / separation.classes:.1f} % would be chance."
        )
    if _has_too_few_images(run, separation):
        alpha = policy_parameters(run.recipe.filter.policy)["alpha"]
        finding += f" {separation.images} left-out real images are too few for alpha {alpha:g}."
    return WeakFilter(finding, f"Use {', or '.join(_remedies(run, separation))}")


def weak_filter_before_the_run(run: Run) -> WeakFilter | None:
    """Returns the message for `plan`; None if the real images of the run are not embedded yet."""
    if not run.ledger.parts(REFERENCES):
        return None
    decider = Decider.without_attempts(run)
    return weak_filter(run, decider.policy) if decider.has_references() else None


def _classes(run: Run, separation: Separation) -> str:
    """Returns the weak classes as text: `the classes`, or their number and the names of the first classes."""
    names, weak = run.plan.prompt_texts.names, separation.weak
    if np.count_nonzero(weak) == separation.classes:
        return "the classes"
    shown = [visible(names[label]) for label in np.flatnonzero(weak)[:SHOWN_CLASSES]]
    more = ", ..." if np.count_nonzero(weak) > len(shown) else ""
    return f"{np.count_nonzero(weak)} of {len(names)} classes ({', '.join(shown)}{more})"


def _remedies(run: Run, separation: Separation) -> list[str]:
    """Returns the remedies that can change something in this run, as the ends of a sentence."""
    policy = run.recipe.filter.policy
    parameters = policy_parameters(policy)
    verdicts = "your own verdicts (--review FILE)"
    if policy.name == "fixed":
        return ["a higher bound (--filter.policy.t)", "policy rank (--filter.policy.name rank)", verdicts]
    tower = f"another image tower (--filter.path, with --output {shlex.quote(f'{run.folder.path}-2')})"
    if policy.name == "text_softmax":
        return ["policy rank (--filter.policy.name rank)", tower, verdicts]
    if parameters.get("by") == "text":
        return ["another ranking (--filter.policy.by context_free)", tower, verdicts]
    remedies = [tower, _more_images(run, separation.weak)]
    if _has_too_few_images(run, separation):
        remedies.reverse()
    if parameters.get("alpha", USUAL_ALPHA) < USUAL_ALPHA:
        remedies.append(f"--filter.policy.alpha {USUAL_ALPHA}, which accepts fewer images")
    if policy.name != "rank" and (separation.accuracy or 0) >= SEPARABLE:
        remedies.append("policy rank (--filter.policy.name rank)")
    return [*remedies, verdicts]


def _has_too_few_images(run: Run, separation: Separation) -> bool:
    """Returns whether the n left-out images are too few for a bound, which needs (n + 1) alpha >= 1 (conformal.py)."""
    alpha = policy_parameters(run.recipe.filter.policy).get("alpha")
    return alpha is not None and (separation.images + 1) * alpha < 1


def _more_images(run: Run, weak: Bools) -> str:
    """Returns the remedy of more references. The flag helps only if the source has images that were not drawn."""
    labels = run.source.labels[run.source.config.split]
    drawn = np.bincount(labels[run.plan.references], minlength=len(weak))
    available = np.bincount(labels[run.plan.order], minlength=len(weak))
    if (available > drawn)[weak].any():
        return f"more references (--filter.references {2 * run.recipe.filter.references})"
    return "more real images of these classes"
