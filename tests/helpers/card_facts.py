"""Facts of a small run for the tests of the card, and labels with characters that have a meaning in Markdown."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from diffcore_hf.config.yaml_text import read_yaml
from diffcore_hf.method.checks import Check
from diffcore_hf.publishing.card.dataset_card import CardFacts

OWN_CHECK = Check("too_blue", "the image is too blue", "too blue", lambda candidate: False)
"""A check of a user, which a recipe names as `card_facts:OWN_CHECK`."""

# Labels that could break a cell, a line, a tag or a template.
HOSTILE = [
    "a | b", "`code`", "line\nbreak", "two\r\n\r\nparagraphs", "# heading", "---", "- item", "1. item", "12) item",
    "===", "<script>alert(1)</script>", "<!-- free:start about -->", "{{ 7 * 7 }}", "{% raw %}", "[x](http://y)",
    "![x](y)",
    "*a* _b_ ~~c~~", "\\(x\\)", "$x$", ":smile:", "https://example.org", "www.example.org", "a\u2028b", "\x00\x1b[31m",
    "\u202eevil", "\ud800", "&lt;b&gt;", "\\", "~~~", "> quote", "    code", "+ item", "-- -", "@somebody", "",
]  # fmt: skip
hostile = st.one_of(
    st.sampled_from(HOSTILE), st.text(max_size=40), st.text("|`<>#-*_[](){}\\\n\r&!:=~$1. ", max_size=20)
)


def example_manifest(**changed: Any) -> dict[str, Any]:
    """Return a manifest like that of the miniature dataset."""
    shards = {
        "default": {
            "train": ["data/train-00000-of-00001.parquet"],
            "validation": ["data/validation-00000-of-00001.parquet"],
            "test": ["data/test-00000-of-00002.parquet", "data/test-00001-of-00002.parquet"],
        },
    }
    for name in ("generated", "attempts", "references", "classes"):
        shards[name] = {"train": [f"{name}/train-00000-of-00001.parquet"]}
    rows = {"data": 240, "data/validation": 100, "data/test": 1000, "generated": 221, "attempts": 301,
            "references": 2340, "classes": 20}  # fmt: skip
    files = [
        {"path": path, "size": 1000, "sha256": "0" * 64, "rows": rows[path.split("-")[0].removesuffix("/train")]}
        for splits in shards.values() for paths in splits.values() for path in paths
    ]  # fmt: skip
    files += [{"path": f"assets/{name}.png", "size": 1, "sha256": "0" * 64} for name in ("contact_sheet", "similarity")]
    manifest = {
        "format": 1,
        "recipe": {
            "source": {
                "name": None, "split": "train", "image": "image", "label": "label", "label_names": "clean",
                "holdout": 0.0, "identity": "local:0123456789abcdef",
            },
            "kind": "bird",
            "prompts": {"template": "caption", "contexts": ["in heavy snow", "at sunset", ""], "negatives": None},
            "model": {
                "variant": None, "dtype": "float32", "adapters": [], "steps": 20, "gamma": 2.0, "guidance": "eq4",
                "size": 64, "identity": "sha256:" + "c3" * 32,
            },
            "filter": {
                "policy": {"name": "rank", "by": "classifier", "alpha": 0.1, "floor": "auto"},
                "references": 200, "identity": "sha256:" + "d4" * 32,
            },
            "fraction": 1.0,
            "copies": 1,
            "max_attempts": 3,
            "review": None,
            "seed": 0,
        },
        "attempt_digest": "a1" * 16,
        "recipe_digest": "b2" * 16,
        "resolved": {
            "source": {"path": "local", "identity": "local:0123456789abcdef", "licence": "apache-2.0"},
            "model": {
                "path": "package:diffcore_hf.miniature/models/sd", "identity": "sha256:" + "c3" * 32, "family": "SD",
                "licence": "apache-2.0", "guidance": {"argument": "guidance_scale", "value": 3.0}, "adapters": [],
                "adapter_paths": [],
            },
            "filter": {
                "path": "package:diffcore_hf.miniature/models/clip", "identity": "sha256:" + "d4" * 32,
                "processor": "CLIPImageProcessor",
            },
        },
        "counts": {
            "rows": 240, "heldout": 0, "planned": 240, "kept": 221, "exhausted": 18, "failed": 1, "pending": 0,
            "attempts": 301,
        },
        "configs": shards,
        "files": files,
    }  # fmt: skip
    return manifest | changed


def example_summary(**changed: Any) -> dict[str, Any]:
    """Return a summary of the run that `example_manifest` describes."""
    summary = {
        "rejected_generated": 0.193,
        "rejected_real": 0.096,
        "by_context": [("in heavy snow", 104, 0.24), ("at sunset", 99, 0.19), ("", 98, 0.15)],
        "by_class": [
            ("Azure Needlebill", 36, 1.0, 0.083, 0, 0.0, None, 1.0),
            ("Rosy Veiltail", 19, 0.4, 0.167, 11, 0.478, 0.731, 1.0),
            ("Moss Finch", 12, 0.0, None, 12, 0.5, 0.752, 2.0),
        ],
        "given_up": ["Azure Needlebill"],
        "mean_similarity": 0.7421,
        "weak_filter": None,
        "rejections": [
            ("low_rank", 52, "looks like another class", "look at them"),
            ("duplicate", 5, "a duplicate", "use the seed"),
            ("crashed", 3, "the model crashed", "correct the cause"),
        ],
        "source_findings": ["2 images occur in different classes, so at least one of the labels is wrong"],
        "notes": ["ranks pooled over all classes: they have 12 images each, per class from 50"],
    }
    return summary | changed


def example_facts(**changed: Any) -> CardFacts:
    """Return the facts of a complete run."""
    facts = {
        "manifest": example_manifest(),
        "summary": example_summary(),
        "example_prompts": [
            ("Azure Needlebill", "a photo of a Azure Needlebill, a bird, in heavy snow"),
            ("Rosy Veiltail", "a photo of a Rosy Veiltail, a bird, at sunset"),
        ],
        "negative_prompts": ["blurry, deformed, extra wings, two heads, text, watermark"],
        "description": [("CMMD x 1000", "1.33 ± 0.13", "0"), ("coverage", "0.19", "0.88"), ("density", "0.13", "1")],
    }
    return CardFacts(**(facts | changed))


def with_resolved(**parts) -> dict:
    """Return the manifest of a run with other values in the sections of `resolved`."""
    manifest = example_manifest()
    resolved = {name: one | parts.get(name, {}) for name, one in manifest["resolved"].items()}
    return manifest | {"resolved": resolved}


def with_adapters() -> dict:
    """Return the manifest of a run with an adapter from the Hub and one from a folder."""
    manifest = with_resolved(
        model={"adapters": ["a" * 40, "sha256:" + "b" * 64], "adapter_paths": ["org/lora", "local:" + "b" * 16]}
    )
    each = [{"weight_name": "x.safetensors", "scale": 0.5}, {"weight_name": None, "scale": 1.0}]
    manifest["recipe"]["model"]["adapters"] = {"identity": ["a" * 40, "sha256:" + "b" * 64], "each": each}
    return manifest


def printed_recipe(text: str, **places: str) -> dict:
    """Return the keys of the recipe in a card, with each `YOUR/<PLACE>` replaced."""
    block = text.split("```yaml\n")[1].split("\n```")[0]
    for name, path in places.items():
        marker = f"path: YOUR/{name.upper().replace('_', '-')}  # "
        assert marker in block
        block = block.replace(marker, f"path: {path}  # ")
    assert "YOUR/" not in block
    return read_yaml(block)
