"""The dataset card: README.md of the output folder, a pure function of the facts of a run.

Owns the card's metadata and the values that its template shows. The text is in hub_cards/dataset_card.md.jinja.

To add a section to the card, write it in hub_cards/dataset_card.md.jinja. Add each new value to `view`. If the value
needs a fact that is not recorded yet, add a field to `CardFacts`, and record it in diffcore.json (recorded.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from diffcore_hf.config.digests import NO_MODEL
from diffcore_hf.core.manifest import ClassRow, Comparison
from diffcore_hf.core.schema import CONFIGS, STATUSES
from diffcore_hf.method import checks
from diffcore_hf.publishing.card import code_blocks, policy_words, reproduction, strategy_words, worth
from diffcore_hf.publishing.card.header import header
from diffcore_hf.publishing.card.licences import hub_licence, licences_of_result, restrictions
from diffcore_hf.publishing.card.template import fill_template
from diffcore_hf.publishing.card.text import Markdown, fenced

CONTACT_SHEET, HISTOGRAM = "assets/contact_sheet.png", "assets/similarity.png"
CLOSEST_PAIRS = "assets/closest_pairs.png"
"""The sheet of the generated images that are closest to another image; only a run with `filter.compare` has it."""
CLAIM = "<!-- originals -->"
"""Marks where `with_claim` puts the publisher's statement."""
_MAX_CLASSES, _MAX_NAMES, _MAX_EXAMPLES, _MAX_NEGATIVES = 15, 40, 6, 3
_UNBALANCED_FACTOR = 3
_NO_CONTEXT = "(no context)"
_SIZES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B", "1B<n<10B")
_SPLITS = ("train", "validation", "test")
_SECTION_KEYS = ("path", "identity", "licence", "family", "guidance", "processor")
_BOUNDS = {
    "rank": "worst rank that still passes",
    "random": "share that is drawn",
    "text_softmax": "bound on the probability",
}
"""Policy -> heading of the column `bound` in the table of classes."""


@dataclass(frozen=True)
class CardFacts:
    """All facts that a card shows."""

    manifest: Mapping[str, Any]
    """The content of diffcore.json."""
    summary: Mapping[str, Any]
    """The summary of the run, with the keys rejected_generated, rejected_real, by_context, by_class (most rejected
    first), given_up, rejections, mean_similarity, source_findings and notes."""
    reasons: Mapping[str, str] | None = None
    """Every value of column `reason` with its meaning; None: the reasons come from the checks of the recipe."""
    example_prompts: Sequence[tuple[str, str]] = ()
    """Examples of prompts as pairs (class, prompt)."""
    negative_prompts: Sequence[str] = ()
    """The distinct negative prompts. The card shows the first prompts and the number of the remaining prompts."""
    columns_prefix: str = ""
    """The prefix of each added column."""
    comparison: Comparison | None = None
    """Content of compare.json, if trainings on exactly this dataset wrote it; else None."""
    description: Sequence[tuple[str, str, str]] = ()
    """Figures of the kept images as (name, value, expected value). The expected value is the value for kept images
    that do not differ from real images."""
    description_note: str = ""
    """Sentence about the sample of the images that these figures use; "": they use all images."""
    dataset_info: Sequence[Mapping[str, Any]] = ()
    """Features, number of rows and bytes of each configuration, for the Hub's viewer and load_dataset."""


def render_card(facts: CardFacts) -> str:
    """Return the card: YAML metadata, then Markdown. Equal facts give equal text, and no request is sent."""
    from huggingface_hub import DatasetCardData

    values = DatasetCardData(**metadata(facts)).to_dict()
    return f"---\n{header(values)}\n---\n\n{fill_template('dataset_card.md.jinja', view(facts))}"


def metadata(facts: CardFacts) -> dict[str, Any]:
    """Return the card's metadata. They list every shard, so that a file of another version is never loaded."""
    manifest = facts.manifest
    source = manifest["resolved"]["source"]
    data: dict[str, Any] = {
        "license": hub_licence(licences_of_result(manifest)),
        "task_categories": ["image-classification"],
        "size_categories": [size_category(_rows(manifest, "default") or manifest["counts"]["rows"])],
    }
    if reproduction.is_hub(source):
        data["source_datasets"] = [f"extended|{source['path']}"]
    data["tags"] = ["synthetic", "image", "diffcore"]
    if facts.dataset_info:
        data["dataset_info"] = [dict(info) for info in facts.dataset_info]
    data["configs"] = [
        {"config_name": name, "data_files": [{"split": split, "path": files} for split, files in splits.items()]}
        for name, splits in configs_in_order(manifest["configs"])
    ]
    return data


def view(facts: CardFacts) -> dict[str, Any]:
    """Return the values of the template. They are escaped later, when they are inserted."""
    manifest = facts.manifest
    originals = manifest.get("originals", True)
    source = dict.fromkeys(_SECTION_KEYS) | manifest["resolved"]["source"]
    recipe = _with_defaults(manifest["recipe"], reproduction.DEFAULTS)
    recipe_yaml, placeholders = reproduction.recipe_file(manifest, facts.columns_prefix, originals)
    return {
        "title": title(source),
        "prefix": facts.columns_prefix,
        "originals": originals,
        "layout": manifest.get("layout", "columns"),
        "split": recipe["source"]["split"],
        "worth": worth.marked(worth.sentence(facts.comparison)),
        "source": source,
        "hub_source": reproduction.is_hub(source),
        "recipe": recipe,
        "strategy": strategy_words.describe(recipe),
        "policy": policy_words.describe(recipe["filter"]["policy"]),
        "reasons": facts.reasons or checks.reasons(checks.checks_of(recipe["filter"].get("checks", ()))),
        "statuses": STATUSES,
        "drawn_classes": draws_classes(manifest),
        "licences": licences_of_result(manifest),
        "restrictions": restrictions(manifest),
        "claim": Markdown(CLAIM),
        "recipe_yaml": fenced(recipe_yaml, "yaml"),
        "placeholders": placeholders,
        "attempt_digest": manifest["attempt_digest"],
        "recipe_digest": manifest["recipe_digest"],
        **_files_view(facts, recipe["source"]["split"], originals),
        **_counts_view(facts, recipe),
        **_prompts_view(facts, recipe),
    }


def draws_classes(manifest: Mapping[str, Any]) -> bool:
    """Return whether the images show drawn classes, so that their labels have several classes."""
    strategy = manifest["recipe"].get("strategy") or {}
    return strategy.get("targets") in ("other", "any")


def _files_view(facts: CardFacts, split: str, originals: bool) -> dict[str, Any]:
    """Return the values about the published files: pictures, configurations, and the code that loads them."""
    manifest = facts.manifest
    configs = configs_in_order(manifest["configs"])
    published = {entry["path"] for entry in manifest["files"]}
    layout = manifest.get("layout", "columns")
    return {
        "contact_sheet": CONTACT_SHEET if CONTACT_SHEET in published else None,
        "histogram": HISTOGRAM if HISTOGRAM in published else None,
        "closest_pairs": CLOSEST_PAIRS if CLOSEST_PAIRS in published else None,
        "snippet": code_blocks.loading_code(
            split, facts.columns_prefix, layout, manifest["configs"], drawn_classes=draws_classes(manifest)
        ),
        "training": code_blocks.training_code(
            split, manifest, originals, classes=_rows(manifest, "classes") if draws_classes(manifest) else None
        ),
        "other_splits": [name for name in dict(configs).get("default", {}) if name != split],
        "description": list(facts.description),
        "description_note": facts.description_note,
        "shards": [(name, _rows(manifest, name), list(splits)) for name, splits in configs],
    }


def _counts_view(facts: CardFacts, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of the section Counts."""
    counts, summary = facts.manifest["counts"], facts.summary
    by_class = [ClassRow(*row) for row in summary["by_class"]]
    unbalanced = _unbalanced(by_class)
    return {
        "counts": [(name, counts.get(name, 0), STATUSES[name]) for name in ("kept", "exhausted", "failed", "pending")],
        "rows": counts["rows"],
        "planned": counts["planned"],
        "attempts": counts["attempts"],
        "pending": counts.get("pending", 0),
        "heldout": counts.get("heldout", 0),
        "summary": summary,
        "given_up": list(summary["given_up"])[:_MAX_NAMES],
        "more_given_up": max(0, len(summary["given_up"]) - _MAX_NAMES),
        "by_context": [(_context(name), attempts, share) for name, attempts, share in summary["by_context"]],
        "by_class": by_class[:_MAX_CLASSES],
        "more_classes": max(0, len(by_class) - _MAX_CLASSES),
        "bound": _BOUNDS.get(recipe["filter"]["policy"]["name"], "bound on the similarity"),
        "unbalanced": unbalanced[:_MAX_NAMES],
        "more_unbalanced": max(0, len(unbalanced) - _MAX_NAMES),
    }


def _prompts_view(facts: CardFacts, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values about models, contexts and prompts."""
    resolved = facts.manifest["resolved"]
    contexts = recipe["prompts"]["contexts"] or [name for name, *_ in facts.summary["by_context"]]
    return {
        "model": dict.fromkeys(_SECTION_KEYS) | resolved["model"],
        "uses_model": resolved["model"].get("identity") != NO_MODEL,
        "tower": dict.fromkeys(_SECTION_KEYS) | resolved["filter"],
        "adapters": reproduction.adapters(resolved["model"]),
        "other_weights": [{"option": name, **record} for name, record in resolved["model"].get("weights", {}).items()],
        "contexts": [_context(name) for name in contexts],
        "examples": list(facts.example_prompts)[:_MAX_EXAMPLES],
        "negatives": list(facts.negative_prompts)[:_MAX_NEGATIVES],
        "more_negatives": max(0, len(facts.negative_prompts) - _MAX_NEGATIVES),
    }


def _unbalanced(by_class: Sequence[ClassRow]) -> list[str]:
    """Return the classes whose share of generated images is above three times the median share."""
    if not by_class:
        return []
    median_share = median(row.generated for row in by_class)
    return [row.name for row in by_class if row.generated > _UNBALANCED_FACTOR * median_share]


def with_claim(card: str) -> str:
    """Return the card with the publisher's statement that the original images may be public."""
    return card.replace(CLAIM, "The publisher states that they have the right to publish the original images.", 1)


def size_category(rows: int) -> str:
    """Return the Hub's category for a number of rows."""
    return _SIZES[min(max(0, len(str(rows)) - 3), len(_SIZES) - 1)]


def title(source: Mapping[str, Any]) -> str:
    """Return the name of the source for a heading."""
    path = source.get("path") or "in memory"
    if path == "in memory":
        return "A dataset in memory"
    return "A local dataset" if path == "local" or path.startswith("local:") else path


def _context(name: str) -> str:
    return name if name and name != "(none)" else _NO_CONTEXT


def configs_in_order(configs: Mapping[str, Mapping[str, Sequence[str]]]) -> list[tuple[str, dict[str, list[str]]]]:
    """Return the configurations that have shards, in the order of core/schema.py.

    The splits of each are in the order train, validation, test, then all others by name.
    """
    ordered = []
    for name in sorted(configs, key=lambda config: _position(CONFIGS, config)):
        splits = sorted(configs[name], key=lambda split: _position(_SPLITS, split))
        if splits:
            ordered.append((name, {split: list(configs[name][split]) for split in splits}))
    return ordered


def _position(known: Sequence[str], name: str) -> tuple[int, str]:
    """Return a sort key that puts known names first in their order, and then all other names by name."""
    return (known.index(name) if name in known else len(known), name)


def _rows(manifest: Mapping[str, Any], config: str) -> int:
    """Return the number of rows of a configuration, over all its splits."""
    rows = {entry["path"]: entry.get("rows") or 0 for entry in manifest["files"]}
    total = 0
    for paths in manifest["configs"].get(config, {}).values():
        total += sum(rows.get(path, 0) for path in paths)
    return total


def _with_defaults(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the given mapping with the defaults of absent keys, also in nested mappings."""
    filled = dict(given)
    for key, default in defaults.items():
        value = given.get(key, default)
        nested = isinstance(default, Mapping) and isinstance(value, Mapping)
        filled[key] = _with_defaults(value, default) if nested else value
    return filled
