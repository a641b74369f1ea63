"""Tests of the miniature world: its pictures, splits, captions and written dataset."""

from collections import Counter

import numpy as np
import pytest

from diffcore_hf.miniature import world
from diffcore_hf.miniature.captions import FLAWS, caption, flaw_caption, with_meaningless_words
from diffcore_hf.miniature.renderer import render
from diffcore_hf.miniature.scenery import CONTEXTS
from diffcore_hf.miniature.species import DATASET_SPECIES, OTHER_SPECIES, SPECIES, look_alike
from diffcore_hf.miniature.world import PROMPTED_CONTEXTS, World, write_dataset


def test_the_forty_species_have_different_names_and_form_two_halves():
    assert [s.id for s in SPECIES] == list(range(40))
    words = " ".join(species.name for species in SPECIES).split()
    assert len({species.name for species in SPECIES}) == len(set(words)) // 2 == 40
    assert len(DATASET_SPECIES) == len(OTHER_SPECIES) == 20 and not set(DATASET_SPECIES) & set(OTHER_SPECIES)


@pytest.mark.parametrize("half", [DATASET_SPECIES, OTHER_SPECIES])
def test_every_species_has_a_similar_species_in_its_half(half):
    assert all(look_alike(species) in half and look_alike(species) != species for species in half)


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("size", [32, 64])
def test_equal_seeds_render_equal_pictures(context, size):
    first, again, other = (render(SPECIES[3], context, np.random.default_rng(seed), size) for seed in (5, 5, 6))
    assert first.size == (size, size) and first.mode == "RGB"
    assert first.tobytes() == again.tobytes() != other.tobytes()


def test_every_picture_reads_the_same_number_of_random_values():
    states = set()
    for context in CONTEXTS:
        rng = np.random.default_rng(0)
        render(SPECIES[0], context, rng)
        states.add(rng.random())
    assert len(states) == 1


def test_the_error_for_an_unknown_context_names_the_known_contexts():
    with pytest.raises(ValueError, match="'on the moon': use one of under a clear sky"):
        render(SPECIES[0], "on the moon", np.random.default_rng(0))


def test_training_pictures_of_a_species_have_two_contexts_and_test_pictures_have_all():
    drawn = World(seed=3)
    seen = drawn.training_contexts()
    for split, images in (("train", 12), ("validation", 5)):
        pictures = drawn.pictures(split)
        assert Counter(p.species for p in pictures) == dict.fromkeys(DATASET_SPECIES, images)
        assert all({p.context for p in pictures if p.species == s} == set(seen[s]) for s in DATASET_SPECIES)
    cells = Counter((p.species, p.context) for p in drawn.pictures("test"))
    assert len(cells) == 200 and set(cells.values()) == {10}
    assert len(set(seen.values())) > 10 and len(set(PROMPTED_CONTEXTS) & set(CONTEXTS)) == 6


def test_shared_contexts_are_equal_for_all_species():
    assert len(set(World(seed=3, contexts="shared").training_contexts().values())) == 1


@pytest.mark.parametrize("wrong, message", [({"contexts": "many"}, "'many': use 'own'"), ({"seed": -1}, "-1: use 0")])
def test_an_invalid_world_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        World(**wrong)


def test_no_two_pictures_of_a_world_share_a_seed():
    seeds = []
    for split in ("train", "validation", "test"):
        seeds += [picture.seed for picture in World().pictures(split)]
    assert len(seeds) == len(set(seeds)) == 2340


def test_a_tenth_of_the_captions_is_empty_and_a_fifth_names_no_context():
    rng = np.random.default_rng(0)
    texts = [caption(SPECIES[0], "in fog", rng) for _ in range(4000)]
    empty = np.mean([text == "" for text in texts])
    plain = np.mean([text != "" and not any(w in text for w in ("fog", "mist")) for text in texts])
    assert abs(empty - 0.1) < 0.02 and abs(plain - 0.2) < 0.03
    assert np.mean([text == "a photo of a Crimson Crestwing, a bird, in fog" for text in texts]) > 0.15


@pytest.mark.parametrize("flaw", FLAWS)
def test_captions_of_flawed_pictures_name_the_flaw(flaw):
    rng = np.random.default_rng(0)
    texts = [flaw_caption(SPECIES[0], "in fog", flaw, rng) for _ in range(50)]
    assert np.mean([any(word in text for word in FLAWS[flaw]) for text in texts]) > 0.9


def test_meaningless_words_are_added_after_the_caption():
    assert with_meaningless_words("a bird", np.random.default_rng(0)).startswith("a bird, ")


def test_the_written_dataset_loads_and_equal_worlds_give_equal_bytes(tmp_path, monkeypatch):
    from datasets import ClassLabel, load_dataset

    monkeypatch.setitem(world._IMAGES, "test", 10)
    folders = [write_dataset(tmp_path / name, World()) for name in ("a", "b")]
    files = [sorted(folder.rglob("*.parquet")) for folder in folders]
    assert [f.name.split("-")[0] for f in files[0]] == ["test", "train", "validation"]
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(*files, strict=True))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]

    splits = load_dataset(str(folders[0]), cache_dir=str(tmp_path / "cache"))
    assert {name: len(split) for name, split in splits.items()} == {"train": 240, "validation": 100, "test": 200}
    label = splits["train"].features["label"]
    assert isinstance(label, ClassLabel) and label.names[0] == "001.Crimson_Crestwing" and len(label.names) == 20
    assert splits["train"][0]["image"].size == (64, 64) and set(splits["test"]["scene"]) == set(CONTEXTS)


def test_a_folder_that_is_not_empty_is_not_changed(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="exists and is not empty: name another folder"):
        write_dataset(tmp_path, World())
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]
