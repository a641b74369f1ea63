"""Outlook: what a run would come to, before it and after a first look.

Owns the text of `plan`, its --fetch and --probe, and the projection after `--limit`. Loads no weights but for --probe.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

from .augmentation.parts import Facts, Ledger, round_name
from .core import seeding
from .core.recipe import Recipe
from .jobs import Outcome, Prepared
from .method.prompts import lint

# Bytes a pixel of a photo-like image, measured on 512x512 renderings: JPEG q95 4:4:4, and lossless formats.
BYTES_A_PIXEL = {"jpeg": 0.35, "webp": 1.2, "png": 1.6}
SHOWN_NAMES = 12
SHOWN_PROMPTS = 30


def fetch(recipe: Recipe) -> Iterator[str]:
    """Download and pin the models, just the files that this machine will load; a line for each."""
    from .models.door import fetch as download
    from .models.pipelines import fetch_model

    for resolved in (*fetch_model(recipe.model), download(recipe.filter.path, recipe.filter.revision, "tower")):
        yield f"{resolved.location}: here, {resolved.identity}"


def text(prepared: Prepared) -> str:
    """What would run, for a person to check before anything is paid for."""
    source, plan, recipe = prepared.source, prepared.plan, prepared.resolution.recipe
    split, words = source.config.split, plan.words
    counts = Counter(plan.labels.tolist())
    lines = [
        f"source      {recipe.source.path} ({source.identity}), split {split}: {len(source.rows):,} rows, "
        f"{len(source.names)} classes",
        f"plan        {len(plan):,} units (fraction {recipe.fraction:g}, copies {recipe.copies}), "
        f"{min(counts.values()):,} to {max(counts.values()):,} a class; up to {recipe.max_attempts} attempts each",
        f"references  {len(plan.references):,} real images for statistics and thresholds",
    ]
    if plan.heldout.any():
        lines.append(f"held out    {int(plan.heldout.sum()):,} rows, exported as split validation")
    if (unlabelled := int((source.labels[split] < 0).sum())) > 0:
        lines.append(f"unlabelled  {unlabelled:,} rows, which get no counterpart")
    about = prepared.resolution.model
    guidance = about["guidance"]
    lines += [
        f"model       {recipe.model.path} ({about['identity'][:23]}), {about['family']}, {recipe.model.steps} steps, "
        f"{recipe.model.size} pixels, {recipe.model.dtype}",
        f"guidance    gamma {recipe.model.gamma:g} = {guidance['argument']} {guidance['value']:g}",
        f"filter      {recipe.filter.path} ({prepared.resolution.filter['identity'][:23]}), policy {_policy(prepared)}",
        f"contexts    {', '.join(repr(context) for context in words.contexts)}",
        f"output      {prepared.folder.path}, peak disk about {_size(disk(prepared))}",
    ]
    renamed = [(old, new) for old, new in zip(source.names, words.names, strict=True) if old != new]
    if renamed:
        lines += ["", f"label names ({len(renamed)} of {len(source.names)} are written otherwise in prompts)"]
        lines += [f"  {old} -> {new}" for old, new in renamed[:SHOWN_NAMES]]
        lines += [f"  ... and {len(renamed) - SHOWN_NAMES} more"] if len(renamed) > SHOWN_NAMES else []
    prompts = {}
    for index in range(len(plan)):
        unit = plan.unit(index)
        prompts.setdefault(unit.label, unit)
        if len(prompts) == len(counts):
            break
    lines += ["", "one prompt a class"]
    lines += [f"  {unit.prompt}" for _, unit in sorted(prompts.items())[:SHOWN_PROMPTS]]
    lines += [f"  ... and {len(prompts) - SHOWN_PROMPTS} more"] if len(prompts) > SHOWN_PROMPTS else []
    negatives = {unit.negative_prompt for unit in prompts.values()}
    lines += ["", "negative prompt" + (" (of the first class)" if len(negatives) > 1 else "")]
    lines.append(f"  {next(iter(prompts.values())).negative_prompt or '(none)'}")
    distinct = {words.pair(label, context, dict.fromkeys(plan.fields, ""))[0]
                for label in counts for context in words.contexts}  # fmt: skip
    lines += [f"warning: {line}" for line in lint(distinct)[:5]]
    lines += [f"note: {note}" for note in words.notes]
    return "\n".join(lines)


def _policy(prepared: Prepared) -> str:
    policy = prepared.resolution.known_by("decision")["filter"]["policy"]
    parameters = ", ".join(f"{key} {value}" for key, value in policy.items() if key != "name" and value is not None)
    return policy["name"] + (f" ({parameters})" if parameters else "")


def disk(prepared: Prepared) -> float:
    """Bytes at the peak: parts of every attempt, and an old and a new export while they are swapped."""
    recipe = prepared.resolution.recipe
    side = recipe.model.size if recipe.store_size is None else min(recipe.model.size, recipe.store_size)
    image = side * side * BYTES_A_PIXEL[recipe.image_format]
    originals = sum(sum(sizes) for sizes in prepared.source.sizes.values()) if recipe.include_originals else 0
    # default and generated both hold the counterparts.
    return len(prepared.plan) * image * (1.5 + 2 * 2) + 2 * originals


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def probe(prepared: Prepared) -> str:
    """Generate two images, which are thrown away, and say how long they took."""
    import time

    from .augmentation.stages.generate import Generate

    stage = Generate(prepared.resolution.recipe.model, strict=prepared.resolution.recipe.strict)
    units = [prepared.plan.unit(index) for index in range(min(2, len(prepared.plan)))]
    for unit in units:  # the first loads and warms up, the second is timed
        began = time.monotonic()
        seed = seeding.attempt_seed(prepared.resolution.recipe.seed, unit.row_id, unit.copy, 0)
        stage.generate([unit.prompt], [unit.negative_prompt], [seed])
        seconds = time.monotonic() - began
    hours = seconds * len(prepared.plan) / 3600
    return (
        f"\nprobe: {seconds:.2f} s for one image alone; at most about {hours:.1f} h for one attempt of every unit "
        "(batches are faster)"
    )


def projection(outcome: Outcome) -> list[str]:
    """After a first look: kept rate, time and disk of the full run."""
    counts = outcome.summary.counts
    ledger = Ledger(outcome.folder.parts)
    facts = Facts.read(ledger, ledger.rounds())
    done = counts["kept"] + counts["exhausted"] + counts["failed"]
    if not done or not len(facts):
        return []
    attempts = counts["attempts"] / done * counts["planned"]
    size = sum(path.stat().st_size for kind in ledger.rounds() for path in ledger.parts(kind))
    each = size / len(facts)
    lines = [
        f"first look: {done:,} of {counts['planned']:,} units. The full run, if it goes on like this:",
        f"  kept      about {counts['kept'] / done:.0%} of the units, {counts['attempts'] / done:.2f} attempts each",
        f"  disk      about {_size(each * attempts + 4 * each * counts['planned'])} at the peak, originals apart",
    ]
    if outcome.made:
        seconds = outcome.seconds / outcome.made * max(attempts - counts["attempts"], 0)
        lines.insert(2, f"  time      about {_duration(seconds)} more (loading included, so rather less)")
    worst = [f"{name} ({100 * rate:.0f} %)" for name, _, rate, _ in outcome.summary.by_class[:5] if rate]
    if worst:
        lines.append(f"  most rejected: {', '.join(worst)}")
    lines.append(f"  the same command without --limit goes on in {outcome.folder.path}")
    return lines


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{math.ceil(seconds / 360) / 10:.1f} h"
