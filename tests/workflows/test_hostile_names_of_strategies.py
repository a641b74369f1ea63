"""Tests of hostile class names with learned tokens, captions and structure, which use the names in more places."""

import pytest
import tiny_adapters
import tiny_models
import tiny_towers
from datasets import ClassLabel, Dataset, Features, Image, load_dataset
from hostile_names import hostile_names
from run_folders import go, rows
from small_photos import picture

from diffcore_hf.core.terminal_text import visible
from diffcore_hf.workflows import augment
from diffcore_hf.workflows import plan as plan_workflow
from diffcore_hf.workflows.describe import describe
from diffcore_hf.workflows.preview import preview
from diffcore_hf.workflows.verify import verify

NAMES = hostile_names()[::16]
"""Every sixteenth hostile name, so that each group of names is represented."""
EACH = 3


def photos():
    """Returns a dataset in memory with three images of each class."""
    features = Features({"image": Image(), "label": ClassLabel(names=NAMES)})
    labels = [label for label in range(len(NAMES)) for _ in range(EACH)]
    cells = [{"bytes": picture(label, number, (16, 16)), "path": None} for number, label in enumerate(labels)]
    return Dataset.from_dict({"image": cells, "label": labels}, features=features)


def keys_of(kind, folder):
    """Returns the keys of a recipe."""
    if kind == "tokens":
        return {"strategy": {"name": "learned_tokens", "options": {"steps": 1, "batch": 1}}}
    if kind == "captions":
        captioner = tiny_models.seeded(tiny_towers.save_captioner, folder / "blip")
        captions = {"contexts": None, "contexts_from": "captions", "captioner": {"path": str(captioner), "images": 4}}
        return {"prompts": captions}
    control = tiny_models.seeded(tiny_adapters.save_controlnet, "SD", folder / "control")
    adapter = tiny_models.seeded(tiny_adapters.save_ip_adapter, "SD", folder / "adapter")
    return {"strategy": {"name": "structure", "options": {"controlnet": str(control), "ip_adapter": str(adapter)}}}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tokens", "captions", "structure"])
def test_names_are_unchanged_and_every_step_works(make, tmp_path, kind):
    out, keys = tmp_path / "out", keys_of(kind, tmp_path)
    descriptions = {name: f"bird {number}" for number, name in enumerate(NAMES)}
    prompts = {**keys.pop("prompts", {}), "label_descriptions": descriptions}
    recipe = make(
        out, source={"path": "in-memory"}, prompts=prompts, max_attempts=1, limit=len(NAMES), **keys,
        **{"filter.policy": {"name": "all"}},
    )  # fmt: skip
    text = plan_workflow.text(augment.prepare(recipe, photos()))
    assert text == "\n".join(map(visible, text.split("\n")))
    go(recipe, photos())
    assert verify(str(out)) == []
    assert load_dataset(str(out))["train"].features["label"].names == NAMES
    assert len({row["label"] for row in rows(out) if row["status"] == "kept"}) > 1
    assert all(path.is_file() for path in preview(out))
    assert describe(out).sheet.is_file()
