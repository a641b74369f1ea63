"""Dataset: audits each configuration, and checks the counts in diffcore.json."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from diffcore_hf.core.errors import VALUE_FAULTS, innermost_cause
from diffcore_hf.core.manifest import Manifest
from diffcore_hf.method.policies import FittedPolicy
from diffcore_hf.publishing.audit.attempts import AttemptTally, audit_attempts
from diffcore_hf.publishing.audit.card_record import audit_card_record
from diffcore_hf.publishing.audit.classes import ClassTable, audit_classes, read_classes
from diffcore_hf.publishing.audit.findings import Findings
from diffcore_hf.publishing.audit.labels import LabelColumn
from diffcore_hf.publishing.audit.prompts import expected_prompts
from diffcore_hf.publishing.audit.recorded_recipe import audit_recipe
from diffcore_hf.publishing.audit.references import ReferenceTable, read_references
from diffcore_hf.publishing.audit.rows import RowChecks, audit_default, audit_generated
from diffcore_hf.publishing.audit.shards import Shards
from diffcore_hf.publishing.audit.statuses import Statuses, count_faults
from diffcore_hf.publishing.audit.verdicts import VerdictCheck, check_fit

FitAgain = Callable[[Manifest, ReferenceTable, ClassTable, str], FittedPolicy | None]
"""Function that fits the policy of a dataset to its references; None if this is not possible."""


def audit(shards: Shards, fit_again: FitAgain | None = None) -> list[str]:
    """Return one line for each kind of fault; [] if the dataset is consistent.

    Args:
        shards: the published tables.
        fit_again: function that fits the policy; None: scores and bounds are not recomputed.
    """
    findings, manifest = Findings(), shards.manifest
    classes = read_classes(shards, findings)
    references = read_references(shards, classes.names, findings)
    prompts = expected_prompts(manifest, classes.prompt_names)
    policy = _fitted(shards, references, classes, findings, fit_again)
    verdicts = None if policy is None else VerdictCheck(policy, reviewed=bool(manifest["recipe"].get("review")))
    tally = audit_attempts(shards, references, prompts, findings, verdicts)
    audit_classes(shards, classes, references, tally, findings)
    statuses = Statuses(tally, references, classes.given_up, manifest["recipe"].get("max_attempts", 1))
    labels = LabelColumn(classes.names, references.labels)
    checks = RowChecks(tally, references, prompts, statuses, labels, findings)
    audit_default(shards, checks)
    audit_generated(shards, checks)
    labels.report(findings)
    _audit_counts(shards, classes, checks)
    _audit_planned(shards, classes, checks)
    audit_recipe(manifest, findings)
    audit_card_record(manifest, classes, tally, findings)
    if policy is not None:
        check_fit(policy, manifest, classes, findings)
    return findings.lines()


def _fitted(
    shards: Shards, references: ReferenceTable, classes: ClassTable, findings: Findings, fit_again: FitAgain | None
) -> FittedPolicy | None:
    """Return the policy, fitted again; None if this is not possible. A failed fit is a fault of the references."""
    if fit_again is None:
        return None
    try:
        return fit_again(shards.manifest, references, classes, shards.augmented_split)
    except VALUE_FAULTS as error:
        findings.add("references: the filter cannot be fitted to them", innermost_cause(error))
        return None


def _audit_counts(shards: Shards, classes: ClassTable, checks: RowChecks) -> None:
    """Check that the counts of diffcore.json agree with the rows."""
    counts, references = shards.manifest["counts"], checks.references
    own = references.by_split.get(shards.augmented_split, ())
    by_status = counts["kept"] + counts["exhausted"] + counts["failed"] + counts["pending"]
    planned = sum(row["planned"] for row in classes.rows)
    pairs = (
        ("attempts", counts["attempts"], sum(checks.tally.attempts.values()), "the configuration `attempts` has"),
        ("kept", counts["kept"], len(checks.tally.kept), "the configuration `attempts` has"),
        ("planned units", counts["planned"], planned, "the configuration `classes` has"),
        ("rows", counts["rows"], len(own), "the configuration `references` has"),
        (
            "unlabelled rows",
            counts["unlabelled"],
            sum(references.labels[row] < 0 for row in own),
            "the configuration `references` has",
        ),
        ("planned units", counts["planned"], by_status, "the sum over its statuses is"),
    )
    for noun, stated, counted, source in pairs:
        if stated != counted:
            checks.findings.add(f"diffcore.json counts {stated} {noun}", f"{source} {counted}")


def _audit_planned(shards: Shards, classes: ClassTable, checks: RowChecks) -> None:
    """Check the numbers of planned units by class and by status.

    Other layouts are not checked, because only layout `columns` shows which rows are planned. A dataset whose
    recipe has `select.per_class` is not checked either, because the number of units of a row is then not known.
    """
    recipe, counts = shards.manifest["recipe"], shards.manifest["counts"]
    if shards.manifest.get("layout", "columns") != "columns" or (recipe.get("select") or {}).get("per_class"):
        return
    copies = recipe.get("copies", 1)
    planned = Counter(checks.references.labels.get(row_id, -1) for row_id in checks.planned)
    for row in classes.rows if not shards.target_columns else ():
        if row["planned"] != copies * planned[row["label"]]:
            checks.findings.add(
                "classes: the number of planned units differs from that in the configuration `default`", row["name"]
            )
    if counts["planned"] != copies * len(checks.planned):
        place = f"the configuration `default` has {copies * len(checks.planned)}"
        checks.findings.add(f"diffcore.json counts {counts['planned']} planned units", place)
    statuses = checks.statuses.count(checks.planned, copies)
    if statuses is not None:
        for kind, where in count_faults(statuses, counts):
            checks.findings.add(kind, where)


__all__ = ["AttemptTally", "ReferenceTable", "audit"]
