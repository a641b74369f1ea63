"""The dataset card: README.md of the output folder, made of the facts of a run and nothing else.

Owns what the card says and its metadata. Every value that the template shows is escaped (text.py) unless it is Markdown
already. Does not own the facts (diffcore.json, the summary), nor the wording around them (hub_cards/).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from statistics import median
from typing import Any

from diffcore_hf.core.schema import CONFIGS, STATUSES
from diffcore_hf.method import checks
from diffcore_hf.publishing.card import policy_words, reproduction, worth
from diffcore_hf.publishing.card.text import Markdown, code, escape_md, fenced, listed

CONTACT_SHEET, HISTOGRAM = "assets/contact_sheet.png", "assets/similarity.png"
_MOST_CLASSES, _MOST_NAMES = 15, 40
_UNBALANCED = 3
_LICENCE_ID = re.compile(r"[a-z0-9][a-z0-9.+-]*")
_UNKNOWN = ("", "unknown", "other", "none")
_SIZES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B", "1B<n<10B")


@dataclass(frozen=True)
class CardFacts:
    """All that a card is made of."""

    manifest: Mapping[str, Any]
    """The content of diffcore.json: recipe, attempt_digest, recipe_digest, resolved, counts, configs, files."""
    summary: Mapping[str, Any]
    """rejected_generated, rejected_real, by_context, by_class (worst first), given_up, mean_similarity, notes."""
    example_prompts: Sequence[tuple[str, str]] = ()
    """(class, prompt), a few."""
    negative_prompts: Sequence[str] = ()
    """The distinct negative prompts; more than a few are counted, not shown."""
    columns_prefix: str = ""
    """What stands before each added column."""
    comparison: Mapping[str, Any] | None = None
    """compare.json of trainings on this very state of the dataset, where there were any."""
    dataset_info: Sequence[Mapping[str, Any]] = ()
    """Features, rows and bytes of each config, as the Hub's viewer and load_dataset read them."""


def render_card(facts: CardFacts) -> str:
    """The card: YAML metadata, then Markdown. The same facts give the same text; no network is asked."""
    from huggingface_hub import DatasetCardData

    header = DatasetCardData(**metadata(facts)).to_yaml()
    return f"---\n{header}\n---\n\n{filled('dataset_card.md.jinja', view(facts))}"


def filled(name: str, values: Mapping[str, Any]) -> str:
    """A template of hub_cards/ with its values, each escaped where it is shown."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        finalize=escape_md, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters |= {"code": code, "listed": listed, "percent": percent, "number": number}
    template = (resources.files("diffcore_hf.hub_cards") / name).read_text(encoding="utf-8")
    return environment.from_string(template).render(values)


def metadata(facts: CardFacts) -> dict[str, Any]:
    """The card's YAML. Every shard is named, so that no file of another version is ever loaded along."""
    manifest = facts.manifest
    licences = licence_of_result(facts) or ["unknown"]
    if not all(map(_LICENCE_ID.fullmatch, licences)):
        licences = ["other"]  # known, but not by a name of the Hub's
    source = manifest["resolved"]["source"]
    data: dict[str, Any] = {
        "license": licences[0] if len(licences) == 1 else licences,
        "task_categories": ["image-classification"],
        "size_categories": [size_category(_rows(manifest, "default") or manifest["counts"]["rows"])],
    }
    if reproduction.is_hub(source):
        data["source_datasets"] = [f"extended|{source['path']}"]
    data["tags"] = ["synthetic", "image", "diffcore"]
    if facts.dataset_info:
        data["dataset_info"] = [dict(one) for one in facts.dataset_info]
    data["configs"] = [
        {"config_name": name, "data_files": [{"split": split, "path": files} for split, files in splits.items()]}
        for name, splits in _in_order(manifest["configs"])
    ]
    return data


def view(facts: CardFacts) -> dict[str, Any]:
    """What the template reads: plain values, each escaped where it is shown."""
    manifest, summary = facts.manifest, facts.summary
    resolved, counts, recipe = (
        manifest["resolved"],
        manifest["counts"],
        _filled(manifest["recipe"], reproduction.DEFAULTS),
    )
    source = _PART | resolved["source"]
    originals = manifest.get("originals", True)
    recipe_yaml, places = reproduction.recipe_file(manifest, facts.columns_prefix, originals)
    split = recipe["source"]["split"]
    configs = _in_order(manifest["configs"])
    shown = {entry["path"] for entry in manifest["files"]}
    by_class = list(summary["by_class"])
    unbalanced = _unbalanced(by_class)
    return {
        "title": title(source),
        "contact_sheet": CONTACT_SHEET if CONTACT_SHEET in shown else None,
        "histogram": HISTOGRAM if HISTOGRAM in shown else None,
        "training": _training(split, manifest, originals),
        "snippet": _snippet(split, facts.columns_prefix, manifest.get("layout", "columns"), manifest["configs"]),
        "worth": worth.marked(worth.sentence(facts.comparison)),
        "prefix": facts.columns_prefix,
        "originals": originals,
        "layout": manifest.get("layout", "columns"),
        "split": split,
        "other_splits": [name for name in dict(configs).get("default", {}) if name != split],
        "shards": [(name, _rows(manifest, name), list(splits)) for name, splits in configs],
        "source": source,
        "hub_source": reproduction.is_hub(source),
        "recipe": recipe,
        "model": _PART | resolved["model"],
        "tower": _PART | resolved["filter"],
        "adapters": reproduction.adapters(resolved["model"]),
        "contexts": [
            _context(one) for one in recipe["prompts"]["contexts"] or [row[0] for row in summary["by_context"]]
        ],
        "examples": list(facts.example_prompts)[:6],
        "negatives": list(facts.negative_prompts)[:3],
        "more_negatives": max(0, len(facts.negative_prompts) - 3),
        "policy": policy_words.describe(recipe["filter"]["policy"]),
        "counts": [(name, counts.get(name, 0), STATUSES[name]) for name in ("kept", "exhausted", "failed", "pending")],
        "rows": counts["rows"],
        "planned": counts["planned"],
        "attempts": counts["attempts"],
        "pending": counts.get("pending", 0),
        "heldout": counts.get("heldout", 0),
        "summary": summary,
        "given_up": list(summary["given_up"])[:_MOST_NAMES],
        "more_given_up": max(0, len(summary["given_up"]) - _MOST_NAMES),
        "by_context": [(_context(name), attempts, share) for name, attempts, share in summary["by_context"]],
        "by_class": by_class[:_MOST_CLASSES],
        "bound": _BOUNDS.get(recipe["filter"]["policy"]["name"], "bound on the similarity"),
        "more_classes": max(0, len(by_class) - _MOST_CLASSES),
        "unbalanced": unbalanced[:_MOST_NAMES],
        "more_unbalanced": max(0, len(unbalanced) - _MOST_NAMES),
        "reasons": checks.reasons(checks.checks_of(recipe["filter"].get("checks", ()))),
        "statuses": STATUSES,
        "licences": licence_of_result(facts),
        "claim": Markdown(CLAIM),
        "recipe_yaml": fenced(recipe_yaml, "yaml"),
        "places": places,
        "attempt_digest": manifest["attempt_digest"],
        "recipe_digest": manifest["recipe_digest"],
    }


_BOUNDS = {"rank": "highest rank that passes", "random": "share that is drawn"}


def _unbalanced(by_class: Sequence[Sequence[Any]]) -> list[str]:
    """Classes whose share of generated images is above three times the median: being generated is a cue for them."""
    shares = {name: generated for name, _, _, _, _, generated, *_ in by_class}
    if not shares:
        return []
    usual = median(shares.values())
    return [name for name, share in shares.items() if share > _UNBALANCED * usual]


CLAIM = "<!-- originals -->"
_HERE = 'here, version = "path/to/this/folder", None  # on the Hub e.g. "org/name", "v1.0.0"'
_DATA = "--data.path path/to/this/folder"


def with_claim(card: str) -> str:
    """The card with the publisher's word that the original images are theirs to show."""
    said = "The publisher states that the original images are theirs to show."
    return card.replace(CLAIM, f"{said}", 1)


def with_place(card: str, repo_id: str, tag: str) -> str:
    """The card with code that loads this very version from the Hub, not the folder that it was made in."""
    place = f"here, version = {json.dumps(repo_id)}, {json.dumps(tag)}"
    return card.replace(_HERE, place).replace(_DATA, f"--data.path {repo_id} --data.revision {tag}")


def licence_of_result(facts: CardFacts) -> list[str]:
    """The licences that the result is under: the source's and the model's, if both are known; else none.

    A licence is never guessed: adapters bring terms that nobody recorded, so with them there is none either.
    """
    resolved = facts.manifest["resolved"]
    if facts.manifest["recipe"].get("model", {}).get("adapters"):
        return []
    licences = [str(resolved[part].get("licence") or "").strip() for part in ("source", "model")]
    if any(licence.lower() in _UNKNOWN for licence in licences):
        return []
    return list(dict.fromkeys(licences))


def size_category(rows: int) -> str:
    """The Hub's word for so many rows."""
    return _SIZES[min(max(0, len(str(rows)) - 3), len(_SIZES) - 1)]


def title(source: Mapping[str, Any]) -> str:
    """How the source is called in the heading."""
    path = source.get("path") or "in memory"
    if path == "in memory":
        return "A dataset in memory"
    return "A local dataset" if path == "local" or path.startswith("local:") else path


def percent(value: float | None) -> str:
    """A rate for people."""
    return "–" if value is None or value != value else f"{100 * value:.1f} %"


def number(value: float | None, digits: int | None = None) -> str:
    """A count with thousands apart, or a number with so many digits; as short as possible without `digits`."""
    if value is None or value != value:
        return "–"
    if digits is not None:
        return f"{value:.{digits}f}"
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _snippet(split: str, prefix: str, layout: str, configs: Mapping[str, Any]) -> Markdown:
    """The code that loads the dataset; a config without a row cannot be loaded and is left out."""
    quoted, column = json.dumps(split), json.dumps(prefix + "generated")
    first = {
        "columns": [f"dataset[0][{column}]  # the generated counterpart of the first row: a PIL image, or None"],
        "mixed": ['clean = dataset.filter(lambda mixed: not mixed, input_columns="is_mixed")  # the real images alone'],
    }
    lines = [
        "from datasets import load_dataset",
        "",
        _HERE,
        f"dataset = load_dataset(here, split={quoted}, revision=version)",
        *first.get(layout, []),
    ]
    if configs.get("generated"):
        lines += ["", "# The kept images alone, as plain rows for any trainer."]
        lines.append('generated = load_dataset(here, "generated", split="train", revision=version)')
    if configs.get("attempts"):
        lines += ["", "# Every attempt, kept or not, with the reason."]
        lines.append('attempts = load_dataset(here, "attempts", split="train", revision=version)')
    return fenced("\n".join(lines), "python")


def _training(split: str, manifest: Mapping[str, Any], originals: bool) -> Markdown | None:
    """The code that trains on the dataset: with our trainer, with that of transformers, and with timm's reader."""
    if manifest.get("layout", "columns") != "columns" or not manifest["configs"].get("generated"):
        return None
    if not originals:
        join = [
            "from diffcore_hf import join_originals",
            "",
            'dataset = join_originals(here, source="path/or/name/of/the/source", version=version)',
            'dataset.save_to_disk("with-originals")',
        ]
        said = "The original images are put back first, each checked against the hash that was recorded:"
        return Markdown(f"{said}\n\n{fenced(chr(10).join(join), 'python')}")
    ours = f"accelerate launch -m diffcore_hf.training {_DATA} --compare plain,genaug,mix --seeds 0,1,2"
    hugging_face = [
        "from datasets import load_dataset",
        "from diffcore_hf import MixTransform, mixing_rows",
        "",
        f"rows = load_dataset(here, split={json.dumps(split)}, revision=version)",
        "rows = mixing_rows(rows).with_transform(MixTransform(size=224))  # pixel_values, label",
        "# Trainer(model, TrainingArguments(..., remove_unused_columns=False), train_dataset=rows)",
    ]
    timm = [
        "from huggingface_hub import snapshot_download",
        "from timm.data import create_dataset",
        "",
        'folder = snapshot_download(here, repo_type="dataset", revision=version)  # or the folder that it is in',
        'kept = create_dataset(f"hfds/{folder}/generated", root=None, split="train")  # the kept images alone',
    ]
    blocks = [
        "With the trainer that comes with the method, any network of timm, several arms compared by seeds:",
        fenced(ours, "bash"),
        "With the `Trainer` of transformers, or any loop over a `DataLoader`:",
        fenced("\n".join(hugging_face), "python"),
        "With timm's own reader:",
        fenced("\n".join(timm), "python"),
    ]
    return Markdown("\n\n".join(blocks))


def _context(name: str) -> str:
    return name if name and name != "(none)" else "(none: the dataset's own look)"


def _in_order(configs: Mapping[str, Mapping[str, Sequence[str]]]) -> list[tuple[str, dict[str, list[str]]]]:
    """Configs that have shards as core/schema.py lists them, their splits as people do."""

    def by(words: Sequence[str], item: tuple[str, Any]) -> tuple[int, str]:
        return (words.index(item[0]) if item[0] in words else len(words), item[0])

    ordered = sorted(configs.items(), key=lambda item: by(CONFIGS, item))
    splits = ("train", "validation", "test")
    return [
        (name, {split: list(files) for split, files in sorted(shards.items(), key=lambda item: by(splits, item))})
        for name, shards in ordered
        if shards
    ]


def _rows(manifest: Mapping[str, Any], config: str) -> int:
    """The rows of a config, of all its splits."""
    rows = {entry["path"]: entry.get("rows") or 0 for entry in manifest["files"]}
    return sum(rows.get(path, 0) for files in manifest["configs"].get(config, {}).values() for path in files)


_PART = dict.fromkeys(("path", "identity", "licence", "family", "guidance", "processor"))


def _filled(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The given mapping over the defaults, key by key."""
    both = {key: (value, given.get(key, value)) for key, value in defaults.items()}
    return dict(given) | {
        key: _filled(value, default) if isinstance(default, Mapping) and isinstance(value, Mapping) else value
        for key, (default, value) in both.items()
    }
