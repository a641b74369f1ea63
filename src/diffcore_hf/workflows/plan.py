"""Outlook: what a run would come to, before it and after a first look.

Owns the text of `plan`, its --fetch and --probe, and the projection after `--limit`. Loads no weights but for --probe.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from diffcore_hf.augmentation.ledger import Ledger
from diffcore_hf.augmentation.plan import Unit
from diffcore_hf.config.augment import Model, Recipe
from diffcore_hf.core import seeding
from diffcore_hf.method.prompts import lint
from diffcore_hf.workflows.augment import Outcome, Prepared

# Bytes a pixel of a photo-like image, measured on 512x512 renderings: JPEG q95 4:4:4, and lossless formats.
BYTES_A_PIXEL = {"jpeg": 0.35, "webp": 1.2, "png": 1.6}
# The default config, the kept images alone and all attempts: three copies of a counterpart in what is published.
PUBLISHED_COPIES = 3
MOST_CLASSES = 200
MOST_WARNINGS = 5


def fetch(recipe: Recipe) -> Iterator[str]:
    """Download and pin the models, just the files that this machine will load; a line for each."""
    from diffcore_hf.models.pipelines import fetch_model
    from diffcore_hf.models.weights_access import fetch_weights

    for resolved in (*fetch_model(recipe.model), fetch_weights(recipe.filter.path, recipe.filter.revision, "tower")):
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
        f"{_span(counts.values())} a class; up to {recipe.max_attempts} attempts each",
        f"references  {len(plan.references):,} real images for statistics and thresholds",
    ]
    if plan.heldout.any():
        lines.append(f"held out    {int(plan.heldout.sum()):,} rows, exported as split validation")
    if (unlabelled := int((source.labels[split] < 0).sum())) > 0:
        lines.append(f"unlabelled  {unlabelled:,} rows, which get no counterpart")
    about = prepared.resolution.model
    lines += [
        f"model       {recipe.model.path} ({about['identity'][:23]}), {about['family']}, {recipe.model.steps} steps, "
        f"{recipe.model.size} pixels, {recipe.model.dtype}",
        f"guidance    {_guidance(recipe.model, about['guidance'])}",
        f"filter      {recipe.filter.path} ({prepared.resolution.filter['identity'][:23]}), policy {_policy(prepared)}",
        f"contexts    {', '.join(repr(context) for context in words.contexts)}",
        f"output      {prepared.folder.path}, peak disk about {_size(disk(prepared))}",
    ]
    renamed = [f"{old} -> {new}" for old, new in zip(source.names, words.names, strict=True) if old != new]
    if renamed:
        lines += _listed(
            f"label names ({len(renamed)} of {len(source.names)} are written otherwise in prompts)", renamed
        )
    units = _first_units(prepared, len(counts))
    lines += _listed("one prompt a class", [unit.prompt for unit in units])
    negatives = {unit.negative_prompt for unit in units}
    lines += ["", "negative prompt" + (" (of the first class)" if len(negatives) > 1 else "")]
    lines.append(f"  {units[0].negative_prompt or '(none)'}")
    lines += [f"warning: {line}" for line in _cut(prepared, units)]
    lines += [f"note: {note}" for note in words.notes]
    return "\n".join(lines)


def _guidance(model: Model, about: dict[str, Any]) -> str:
    """Gamma, and what it is called in the pipeline."""
    if not about["argument"]:
        return f"gamma {model.gamma} is not used: the pipeline takes no scale"
    return f"gamma {model.gamma} = {about['argument']} {float(about['value'])}"


def _listed(title: str, items: Sequence[str]) -> list[str]:
    """All items below a title; of very many the first and a count."""
    lines = ["", title, *(f"  {item}" for item in items[:MOST_CLASSES])]
    return lines + ([f"  ... and {len(items) - MOST_CLASSES:,} more"] if len(items) > MOST_CLASSES else [])


def _first_units(prepared: Prepared, classes: int) -> list[Unit]:
    """The first unit of each class that has one, by class."""
    plan, first = prepared.plan, {}
    for index, label in enumerate(plan.labels.tolist()):
        first.setdefault(label, index)
        if len(first) == classes:
            break
    return [plan.unit(index) for _, index in sorted(first.items())]


def _cut(prepared: Prepared, units: Sequence[Unit]) -> list[str]:
    """Warnings about prompts that the text encoder would cut, a few of each of the two kinds."""
    words = prepared.plan.words
    tokenizer = text_tokenizer(prepared.resolution.recipe.model)
    limit = tokenizer.model_max_length if tokenizer else 77

    def tokenize(text: str) -> Sequence[int]:
        return tokenizer(text, verbose=False)["input_ids"]

    # A class's longest prompt is that of the longest context, but for what columns of the source bring in.
    longest = max(words.contexts, key=lambda text: len(tokenize(text) if tokenizer else text.split()))
    blank = dict.fromkeys(prepared.plan.fields, "")
    prompts = [words.pair(unit.label, longest, blank)[0] for unit in units]
    if prepared.plan.fields:
        prompts += [unit.prompt for unit in units]
    negatives = {text: None for unit in units for text in words.negatives[unit.label] if text}
    return [
        line
        for texts in (prompts, negatives)
        for line in lint(texts, tokenize if tokenizer else None, limit)[:MOST_WARNINGS]
    ]


def text_tokenizer(model: Model) -> Any:
    """The tokenizer of a resolved model's text encoder, or of the one that takes most, where several read the prompt.

    Local and cached files alone are read; None where there are none.
    """
    from transformers import AutoTokenizer

    from diffcore_hf.models import cosxl
    from diffcore_hf.models.weights_access import resolve_weights

    try:
        if model.family_preset == "cosxl":
            where, revision = cosxl.CONFIGURATION, None
        else:
            place = resolve_weights(model.path, model.revision, identify=False)
            where, revision = place.location, place.revision
    except ValueError:
        return None
    found = []
    for folder in ("tokenizer", "tokenizer_2", "tokenizer_3"):
        try:
            found.append(
                AutoTokenizer.from_pretrained(
                    where, subfolder=folder, revision=revision, local_files_only=True, trust_remote_code=False
                )
            )
        except Exception:  # not there, not cached, or of a kind that transformers does not know: words are counted
            continue
    return max(found, key=lambda one: one.model_max_length, default=None)


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
    return len(prepared.plan) * image * (1.5 + 2 * PUBLISHED_COPIES) + 2 * originals


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def probe(prepared: Prepared) -> str:
    """Generate two images, which are thrown away, and say how long they took."""
    import time

    from diffcore_hf.augmentation.stages.generate import Generate

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
    """After a first look: kept rate, time and disk of the full run; nothing where the look was at everything."""
    counts = outcome.summary.counts
    ledger = Ledger(outcome.folder.parts)
    done, made = counts["kept"] + counts["exhausted"] + counts["failed"], ledger.count()
    if not done or not made or not counts["pending"]:
        return []
    attempts = counts["attempts"] / done * counts["planned"]
    each = sum(path.stat().st_size for kind in ledger.rounds() for path in ledger.parts(kind)) / made
    peak = each * (attempts + 2 * PUBLISHED_COPIES * counts["planned"])
    lines = [
        f"first look: {done:,} of {counts['planned']:,} units. The full run, if it goes on like this:",
        f"  kept      about {counts['kept'] / done:.0%} of the units, {counts['attempts'] / done:.2f} attempts each",
        f"  disk      about {_size(peak)} at the peak, originals apart",
    ]
    if outcome.made:
        seconds = outcome.seconds / outcome.made * max(attempts - counts["attempts"], 0)
        lines.insert(2, f"  time      about {_duration(seconds)} more (loading included, so rather less)")
    worst = [f"{name} ({100 * rate:.0f} %)" for name, _, rate, *_ in outcome.summary.by_class[:5] if rate]
    if worst:
        lines.append(f"  most rejected: {', '.join(worst)}")
    lines.append(f"  the same command without --limit goes on in {outcome.folder.path}")
    return lines


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{math.ceil(seconds / 360) / 10:.1f} h"


def _span(counts: Iterable[int]) -> str:
    listed = list(counts)
    low, high = min(listed), max(listed)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
