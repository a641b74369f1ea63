"""Code blocks: the code on a dataset card that loads the dataset or trains on it.

Owns the code and the text around it. On the card of a folder the code loads the folder. `with_location` changes it to
load one version from the Hub.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from diffcore_hf.publishing.card.text import Markdown, fenced

_LOCATION = 'here, version = "path/to/this/folder", None  # on the Hub e.g. "org/name", "v1.0.0"'
_PUBLISHED = re.compile(r'^here, version = "([\w.-]+/[\w.-]+)", "(v[\w.+-]+)"$', re.MULTILINE | re.ASCII)
_DATA_OPTIONS = "--data.path path/to/this/folder"


def with_location(card: str, repo_id: str, tag: str) -> str:
    """Return the card with code that loads this version from the Hub, and not from the local folder."""
    location = f"here, version = {json.dumps(repo_id)}, {json.dumps(tag)}"
    options = f"--data.path {repo_id} --data.revision {tag}"
    return card.replace(_LOCATION, location).replace(_DATA_OPTIONS, options)


def location_in(card: str) -> tuple[str, str] | None:
    """Return the repository and the version that the code of a card loads; None if it loads the local folder."""
    found = _PUBLISHED.search(card)
    return (found.group(1), found.group(2)) if found else None


def loading_code(
    split: str, prefix: str, layout: str, configs: Mapping[str, Any], *, drawn_classes: bool = False
) -> Markdown:
    """Return the code that loads the dataset. Configurations without rows cannot be loaded and are left out.

    Args:
        split: name of the augmented split.
        prefix: prefix of the added columns.
        layout: `columns`, `rows` or `mixed`.
        configs: the dataset configurations with their shards.
        drawn_classes: whether the label of a generated image may have two classes.
    """
    column = json.dumps(prefix + "generated")
    examples = {
        "columns": [f"dataset[0][{column}]  # the generated counterpart of the first row: a PIL image, or None"],
        "mixed": ['clean = dataset.filter(lambda mixed: not mixed, input_columns="is_mixed")  # real images only'],
    }
    lines = [
        "from datasets import load_dataset",
        "",
        _LOCATION,
        f"dataset = load_dataset(here, split={json.dumps(split)}, revision=version)",
        *examples.get(layout, []),
    ]
    if configs.get("generated"):
        use = "with target_label and target_weight" if drawn_classes else "as plain rows for any trainer"
        lines += ["", f"# The kept images only, {use}."]
        lines.append('generated = load_dataset(here, "generated", split="train", revision=version)')
    if configs.get("attempts"):
        lines += ["", "# Every attempt, kept or not, with the reason."]
        lines.append('attempts = load_dataset(here, "attempts", split="train", revision=version)')
    return fenced("\n".join(lines), "python")


def training_code(
    split: str, manifest: Mapping[str, Any], originals: bool, *, classes: int | None = None
) -> Markdown | None:
    """Return the code that trains on the dataset; None if the layout is not `columns`, or if there are no counterparts.

    If the dataset is published without originals, return the code that adds them.

    Args:
        split: name of the augmented split.
        manifest: content of diffcore.json.
        originals: whether the originals are published.
        classes: number of classes, if a label may have several of them; None: a label is one class.
    """
    if manifest.get("layout", "columns") != "columns" or not manifest["configs"].get("generated"):
        return None
    if not originals:
        joining = [
            "from diffcore_hf import join_originals",
            "",
            'dataset = join_originals(here, source="path/or/name/of/the/source", version=version)',
            'dataset.save_to_disk("with-originals")',
        ]
        introduction = "Add the original images first. Each image is compared with its recorded hash:"
        return Markdown(f"{introduction}\n\n{_python(joining)}")
    own_trainer = f"accelerate launch -m diffcore_hf.training {_DATA_OPTIONS} --compare plain,genaug,mix --seeds 0,1,2"
    arguments = "size=224" if classes is None else f"size=224, classes={classes}"
    transformers_trainer = [
        "from datasets import load_dataset",
        "from diffcore_hf import MixTransform, mixing_rows",
        "",
        f"rows = load_dataset(here, split={json.dumps(split)}, revision=version)",
        f"rows = mixing_rows(rows).with_transform(MixTransform({arguments}))  # pixel_values, label",
        "# Trainer(model, TrainingArguments(..., remove_unused_columns=False), train_dataset=rows)",
    ]
    timm_reader = [
        "from huggingface_hub import snapshot_download",
        "from timm.data import create_dataset",
        "",
        'folder = snapshot_download(here, repo_type="dataset", revision=version)  # or the path of a local folder',
        'kept = create_dataset(f"hfds/{folder}/generated", root=None, split="train")  # the kept images only',
    ]
    blocks = [
        "With the trainer of this package, for any network of timm; it compares several arms over several seeds:",
        fenced(own_trainer, "bash"),
        "With the `Trainer` of transformers, or any loop over a `DataLoader`:",
        _python(transformers_trainer),
    ]
    if classes is None:  # the reader of timm reads one class for each image
        blocks += ["With timm's own reader:", _python(timm_reader)]
    return Markdown("\n\n".join(blocks))


def _python(lines: list[str]) -> Markdown:
    return fenced("\n".join(lines), "python")
