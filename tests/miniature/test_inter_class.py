"""Strategy inter_class with the real small models: images show the drawn species."""

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Image, load_dataset

from diffcore_hf import augment
from diffcore_hf.miniature.oracle import Oracle
from diffcore_hf.miniature.renderer import render
from diffcore_hf.miniature.species import DATASET_SPECIES
from diffcore_hf.miniature.world import PROMPTED_CONTEXTS

SPECIES = DATASET_SPECIES[:5]


@pytest.mark.slow
def test_images_show_the_drawn_species_and_not_the_species_of_the_row(tmp_path):
    rng = np.random.default_rng(0)
    pictures = [render(species, PROMPTED_CONTEXTS[number], rng) for species in SPECIES for number in range(2)]
    features = Features({"image": Image(), "label": ClassLabel(names=[species.name for species in SPECIES])})
    source = Dataset.from_dict({"image": pictures, "label": [label for label in range(5) for _ in range(2)]}, features)
    augment(
        source,
        progress=False,
        output=str(tmp_path / "out"),
        kind="bird",
        strategy={"name": "inter_class", "options": {"strength": 0.7}},
        prompts={"contexts": [""], "negatives": ["blurry", "deformed", "low quality"]},
        model={"path": "package:diffcore_hf.miniature/models/sd", "steps": 16},
        filter={"path": "package:diffcore_hf.miniature/models/clip", "policy": {"name": "all"}},
        max_attempts=1,
    )
    rows = load_dataset(str(tmp_path / "out"), "generated", split="train", cache_dir=str(tmp_path / "cache"))
    shown, _ = Oracle.load().classify(rows["image"][:])
    ids = np.array([species.id for species in SPECIES])
    # In a measurement with 24 other images, 21 showed the drawn species and none showed the species of the row.
    assert np.mean(shown == ids[rows["target_label"][:]]) >= 0.6
    assert np.mean(shown == ids[rows["label"][:]]) <= 0.2
