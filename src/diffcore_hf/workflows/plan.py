"""Describes a run before it starts, and estimates the full run after a run with `--limit`.

Owns the text of `plan`, its options --fetch and --probe, and the estimate. Only --probe loads weights.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

from diffcore_hf.augmentation import preparations
from diffcore_hf.augmentation.disk_space import PUBLISHED_COPIES, DiskSpace, peak, text_of
from diffcore_hf.augmentation.image_captions import captions_are_due
from diffcore_hf.augmentation.ledger import Ledger
from diffcore_hf.augmentation.plan import Unit
from diffcore_hf.augmentation.run import Run
from diffcore_hf.augmentation.source import report_text
from diffcore_hf.augmentation.strategy_weights import REVISION
from diffcore_hf.augmentation.weak_filter import weak_filter_before_the_run
from diffcore_hf.augmentation.worker import unit_columns
from diffcore_hf.config.augment import ModelConfig, Recipe, StrategyConfig
from diffcore_hf.config.digests import NO_MODEL
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.terminal_text import visible
from diffcore_hf.generation.base import make_strategy, targets_of
from diffcore_hf.method.prompts import lint
from diffcore_hf.models.devices import device_of
from diffcore_hf.models.text_tokenizers import text_tokenizer
from diffcore_hf.workflows.augment import RunResult

MAX_CLASSES = 200
MAX_WARNINGS = 5


def fetch(recipe: Recipe) -> Iterator[str]:
    """Download the model files that this machine needs; yield one line per model with its commit."""
    from diffcore_hf.generation.base import strategy_class
    from diffcore_hf.models.pipelines import fetch_model
    from diffcore_hf.models.weights_access import fetch_weights

    model_files = fetch_model(recipe.model) if strategy_class(recipe.strategy.name).uses_model else ()
    options = recipe.strategy.options or {}
    other = [
        fetch_weights(options[name], options.get(REVISION.format(name)), kind, files)
        for name, kind, files in make_strategy(recipe.strategy, recipe.model).other_weights()
    ]
    if (captioner := recipe.prompts.captioner) is not None:
        other.append(fetch_weights(captioner.path, captioner.revision, "captioner"))
    for resolved in (*model_files, *other, fetch_weights(recipe.filter.path, recipe.filter.revision, "tower")):
        yield f"{resolved.location}: downloaded, {resolved.identity}"


def text(run: Run) -> str:
    """Return a description of the run, which the user can check before the first image is generated."""
    source, plan, recipe = run.source, run.plan, run.recipe
    split, texts = source.config.split, plan.prompt_texts
    counts = Counter(plan.shown.tolist())
    weak_filter = weak_filter_before_the_run(run)
    lines = [weak_filter.line(), ""] if weak_filter else []
    lines += [
        f"source      {recipe.source.path} ({source.identity}), split {split}: {len(source.rows):,} rows, "
        f"{len(source.names):,} class{'es' if len(source.names) != 1 else ''}",
        *report_text.lines(run.source_report),
        f"plan        {len(plan):,} units ({_chosen(recipe)}), "
        f"{_span(counts.values())} per class; up to {recipe.max_attempts} attempts each",
        f"references  {len(plan.references):,} real images for statistics and thresholds",
    ]
    if run.changes:
        lines.append(f"changed     {run.changes.text()}")
    if plan.heldout.any():
        lines.append(f"held out    {int(plan.heldout.sum()):,} rows, exported as split validation")
    lines += [
        *_model(run),
        f"filter      {recipe.filter.path} ({run.resolution.filter['identity'][:23]}), policy {_policy(run)}",
        *_strategy(run),
        *_preparation(run),
        f"contexts    {_contexts(run)}",
        f"output      {run.folder.path}, peak disk about {text_of(peak(run))}",
    ]
    try:
        DiskSpace(run).check_start()
    except UserError as error:
        lines.append(f"warning: {error}")
    renamed = [f"{old} -> {new}" for old, new in zip(source.names, texts.names, strict=True) if old != new]
    if renamed:
        lines += _listed(f"label names ({len(renamed)} of {len(source.names)} are different in prompts)", renamed)
    units = _first_units(run, len(counts))
    lines += _listed("one prompt per class", [unit.prompt for unit in units])
    negatives = {unit.negative_prompt for unit in units}
    lines += ["", "negative prompt" + (" (of the first class)" if len(negatives) > 1 else "")]
    lines.append(f"  {units[0].negative_prompt or '(none)'}")
    lines += [f"warning: {line}" for line in _length_warnings(run, units)]
    lines += [f"note: {note}" for note in (*texts.notes, *preparations.notes(run))]
    # Each item is one line, so a line break in it comes from a label or a prompt.
    return "\n".join(map(visible, lines))


def settled(run: Run) -> str:
    """Return the text about the values that `plan --prepare` stored in the folder of a run."""
    model = run.recipe.model
    lines = [f"{run.folder.path} is prepared. Copy it to each machine, or use it on a shared disk"]
    if run.resolution.model["family"] != NO_MODEL:
        device = device_of(model.device).kind
        lines.append(
            f"settled     model.dtype {model.dtype} (chosen for the device {device} of this machine), "
            f"model.size {model.size}, revision {model.revision}"
        )
        if device == "cpu":
            lines.append(
                "warning: this machine has no GPU. If the workers have GPUs, prepare a new folder with --model.dtype "
                "bfloat16"
            )
    return "\n".join(map(visible, lines))


def check_contexts_are_made(run: Run) -> None:
    """Raise UserError if contexts from captions are still to be made, because each machine would make its own."""
    if captions_are_due(run):
        raise UserError(
            f"the contexts of {run.folder.path} come from captions that are still to be made. Make them first: "
            f"diffcore-hf augment with the same recipe, --limit 1 and --output {run.folder.path}"
        )


def _contexts(run: Run) -> str:
    """Return the contexts, or the statement that they are still to be made from captions."""
    captioner = run.recipe.prompts.captioner
    if captioner is not None and captions_are_due(run):
        count = min(captioner.images, len(run.plan.references))
        return (
            f"from captions of {count:,} real images by {captioner.path}, which the first run makes. The prompts below "
            "have no context yet"
        )
    return ", ".join(repr(context) for context in run.plan.prompt_texts.contexts)


def _chosen(recipe: Recipe) -> str:
    """Return the keys of the recipe that choose the units, with their values."""
    select = recipe.select
    chosen = [f"fraction {recipe.fraction:g}"]
    chosen.append(f"copies {recipe.copies}" if select.per_class is None else f"{select.per_class:,} per class")
    if select.classes is not None:
        chosen.append(f"{len(set(select.classes)):,} selected classes")
    if select.rows is not None:
        chosen.append(f"rows in {select.rows}")
    if select.hardest is not None:
        chosen.append(f"highest {select.hardest} first")
    if recipe.limit is not None:
        chosen.append(f"limit {recipe.limit:,}")
    return ", ".join(chosen)


def _model(run: Run) -> list[str]:
    """Return the lines about the model and its guidance; no lines for a strategy without a model."""
    model, about = run.recipe.model, run.resolution.model
    if about["family"] == NO_MODEL:
        return []
    return [
        f"model       {model.path} ({about['identity'][:23]}), {about['family']}, {model.steps} steps, "
        f"{model.size} pixels, {model.dtype}",
        f"guidance    {_guidance(model, about['guidance'])}",
    ]


def _strategy(run: Run) -> list[str]:
    """Return the line about the strategy; no line for the default strategy."""
    recipe = run.recipe
    strategy, targets = recipe.strategy, targets_of(recipe.strategy)
    if strategy.name == StrategyConfig().name and not strategy.options and targets == "own":
        return []
    values = [f"{name} {value}" for name, value in (strategy.options or {}).items()]
    if targets != "own":
        values += [f"targets {targets}", f"label weight strength ** {strategy.gamma_label:g}"]
    weights = [
        f"weights     {option} {(strategy.options or {})[option]} ({record['identity'][:23]})"
        for option, record in run.resolution.model.get("weights", {}).items()
        if option in (strategy.options or {})
    ]
    return [f"strategy    {strategy.name}" + (f" ({', '.join(values)})" if values else ""), *weights, *_cost(run)]


def _cost(run: Run) -> list[str]:
    """Return the line about the cost of an image; no line if the strategy does not state its cost."""
    recipe, model = run.recipe, run.resolution.model
    if model["family"] == NO_MODEL:
        return []
    count = make_strategy(recipe.strategy, recipe.model, strict=recipe.strict).evaluations(model)
    if count is None:
        return []
    usual = make_strategy(StrategyConfig(), recipe.model).evaluations(model)
    compared = f", {count / usual:.2f} times those of text_to_image" if usual else ""
    return [f"cost        {count:g} evaluations of the denoising network for an image{compared}"]


def _preparation(run: Run) -> list[str]:
    """Return the line about the preparation and its cost; no line if the strategy has none."""
    strategy = make_strategy(run.recipe.strategy, run.recipe.model, strict=run.recipe.strict)
    if strategy.preparation() is None:
        return []
    if run.preparation is not None:
        return ["prepared    in an earlier run of this folder"]
    labels = run.source.labels[run.source.config.split]
    classes = len(set(labels[run.plan.references].tolist()))
    count, each = strategy.preparation_evaluations(classes), strategy.evaluations(run.resolution.model)
    if count is None:
        return ["prepared    once, before the first image"]
    compared = f", as many as for {count / each:,.0f} images" if each else ""
    return [
        f"prepared    once: about {count:,.0f} evaluations of the denoising network for {classes:,} classes{compared}"
    ]


def _guidance(model: ModelConfig, about: dict[str, Any]) -> str:
    """Return the text about gamma and the argument of the pipeline that it sets."""
    if not about["argument"]:
        return f"gamma {model.gamma} is not used: the pipeline has no guidance scale"
    return f"gamma {model.gamma} = {about['argument']} {float(about['value'])}"


def _listed(title: str, items: Sequence[str]) -> list[str]:
    """Return a title, at most MAX_CLASSES items, and the number of the remaining items."""
    lines = ["", title, *(f"  {item}" for item in items[:MAX_CLASSES])]
    return lines + ([f"  ... and {len(items) - MAX_CLASSES:,} more"] if len(items) > MAX_CLASSES else [])


def _first_units(run: Run, classes: int) -> list[Unit]:
    """Return the first unit of each class that has a unit, in the order of the classes."""
    plan = run.plan
    first: dict[int, int] = {}
    for index, label in enumerate(plan.shown.tolist()):
        first.setdefault(label, index)
        if len(first) == classes:
            break
    return [plan.unit(index) for _, index in sorted(first.items())]


def _length_warnings(run: Run, units: Sequence[Unit]) -> list[str]:
    """Return warnings about prompts that are too long for the text encoder, at most MAX_WARNINGS of each kind."""
    if run.resolution.model["family"] == NO_MODEL:
        return []
    texts = run.plan.prompt_texts
    tokenizer = text_tokenizer(run.recipe.model)
    limit = tokenizer.limit if tokenizer else 77

    # The longest prompt of a class has the longest context. Placeholders for source columns may add more text.
    longest = max(texts.contexts, key=lambda text: len(tokenizer.tokens(text) if tokenizer else text.split()))
    blank = dict.fromkeys(run.plan.fields, "")
    prompts = [texts.prompt_pair(unit.target_label, longest, blank)[0] for unit in units]
    if run.plan.fields:
        prompts += [unit.prompt for unit in units]
    negatives = [text for text in chain.from_iterable(texts.negatives[unit.target_label] for unit in units) if text]
    warnings: list[str] = []
    for group in (prompts, negatives):
        warnings += lint(group, tokenizer.tokens if tokenizer else None, limit)[:MAX_WARNINGS]
    return warnings


def _policy(run: Run) -> str:
    policy = run.resolution.scope_fields("decision")["filter"]["policy"]
    parameters = ", ".join(f"{key} {value}" for key, value in policy.items() if key != "name" and value is not None)
    return policy["name"] + (f" ({parameters})" if parameters else "")


def probe(run: Run) -> str:
    """Generate two images without storing them, and return a text with the time for one image."""
    from diffcore_hf.augmentation.stages.generate import Generate

    recipe = run.recipe
    stage = Generate(recipe.model, strategy=recipe.strategy, strict=recipe.strict)
    if stage.strategy.preparation() is not None:
        return (
            f"\nprobe: not possible, because strategy {recipe.strategy.name} must first be prepared on the references"
        )
    for unit in range(min(2, len(run.plan))):  # the first image includes loading the weights, so the second is timed
        columns = unit_columns(run.source, run.plan, recipe, [unit], 0, stage.reads)
        started = time.monotonic()
        stage.generate(*columns)
        seconds = time.monotonic() - started
    hours = seconds * len(run.plan) / 3600
    return (
        f"\nprobe: {seconds:.2f} s for one image; at most about {hours:.1f} h for one attempt of every unit "
        "(batches are faster)"
    )


def projection(result: RunResult) -> list[str]:
    """Return an estimate of kept rate, time and disk of the full run; no lines if no unit is pending."""
    counts = result.summary.counts
    ledger = Ledger(result.folder.parts)
    done, stored = counts["kept"] + counts["exhausted"] + counts["failed"], ledger.count()
    if not done or not stored or not counts["pending"]:
        return []
    attempts = counts["attempts"] / done * counts["planned"]
    parts = chain.from_iterable(ledger.parts(kind) for kind in ledger.rounds())
    each = sum(path.stat().st_size for path in parts) / stored
    kept = 100 * counts["kept"] / done
    peak_bytes = each * (attempts + (2 * PUBLISHED_COPIES + 1) * counts["planned"])
    lines = [
        f"so far: {done:,} of {counts['planned']:,} units. Estimate for the full run:",
        f"  kept      about {kept:.0f} % of the units, {counts['attempts'] / done:.2f} attempts each",
        f"  disk      about {text_of(peak_bytes)} at the peak, without the originals",
    ]
    if result.new_attempts:
        seconds = result.seconds / result.new_attempts * max(attempts - counts["attempts"], 0)
        lines.insert(2, f"  time      about {_duration(seconds)} more (an upper estimate, because it includes loading)")
    worst = [f"{name} ({100 * rate:.0f} %)" for name, _, rate, *_ in result.summary.by_class[:5] if rate]
    if worst:
        lines.append(f"  most rejected: {', '.join(worst)}")
    lines.append(f"  the same command without --limit continues in {result.folder.path}")
    return lines


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{math.ceil(seconds / 360) / 10:.1f} h"


def _span(counts: Iterable[int]) -> str:
    listed = list(counts)
    low, high = min(listed), max(listed)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
