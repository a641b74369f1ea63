"""Tests of harder pictures: the default changes nothing, and each field changes only the property in its name."""

from dataclasses import replace

import numpy as np
import pytest

from diffcore_hf.miniature.difficulty import EASY, HARD, Difficulty, draw_disturbance, neighbour
from diffcore_hf.miniature.renderer import compose, draw_picture, mask, render
from diffcore_hf.miniature.species import DATASET_SPECIES, SPECIES
from diffcore_hf.miniature.world import World


def pixels(difficulty: Difficulty, species=SPECIES[0], seed: int = 0) -> np.ndarray:
    picture = render(species, "in a desert", np.random.default_rng(seed), difficulty=difficulty)
    return np.asarray(picture).astype(int)


def test_the_default_difficulty_draws_no_number_and_gives_the_same_picture():
    rng, other = (np.random.default_rng(4) for _ in range(2))
    assert draw_disturbance(rng, EASY) is None
    assert rng.random() == other.random()
    plain = compose(SPECIES[3], "at night", draw_picture(np.random.default_rng(4)))
    assert render(SPECIES[3], "at night", np.random.default_rng(4)).tobytes() == plain.tobytes()


def test_equal_seeds_give_equal_hard_pictures():
    assert np.array_equal(pixels(HARD), pixels(HARD)) and not np.array_equal(pixels(HARD), pixels(HARD, seed=1))


def test_the_bird_is_smaller_and_moves_at_most_by_the_shift():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        draw = draw_picture(rng)
        drawn = draw_disturbance(rng, Difficulty(size=0.5, shift=0.1))
        assert drawn is not None
        moved = drawn.moved(draw)
        assert moved.scale == pytest.approx(draw.scale / 2)
        assert max(abs(moved.x - draw.x), abs(moved.y - draw.y)) <= 0.1
        assert mask(SPECIES[0], moved).mean() < 0.4 * mask(SPECIES[0], draw).mean()


@pytest.mark.parametrize("fade, distance", [(0.0, 1.0), (0.5, 0.5), (1.0, 0.0)])
def test_fading_moves_colours_to_the_mean_body_colour_of_the_pair(fade, distance):
    drawn = draw_disturbance(np.random.default_rng(0), Difficulty(fade=fade, noise=1.0))
    assert drawn is not None
    target = np.array(drawn.faded((0, 0, 0), SPECIES[4]), float)
    other = np.array(drawn.faded((200, 100, 40), SPECIES[4]), float)
    assert np.allclose(other - target, distance * np.array([200, 100, 40]), atol=1)


def test_the_noise_has_its_standard_deviation_and_leaves_change_few_pixels():
    noisy = pixels(Difficulty(noise=10.0)) - pixels(Difficulty(leaves=0, noise=0.0, shift=0.0, fade=0.0, size=1.0))
    assert 8 < noisy.std() < 11
    with_leaves = (pixels(Difficulty(leaves=5)) != pixels(EASY)).any(axis=2).mean()
    assert 0.01 < with_leaves < 0.3


def test_neighbours_are_pairs_inside_the_dataset_and_share_their_contexts():
    assert all(neighbour(neighbour(species)) == species != neighbour(species) for species in SPECIES)
    contexts = World(3, "pairs").training_contexts()
    assert all(contexts[species] == contexts[neighbour(species)] for species in DATASET_SPECIES)
    assert len(set(contexts.values())) > 5
    assert set(contexts.values()) <= set(World(3).training_contexts().values())


def test_a_hard_world_has_the_rows_of_the_world_with_other_pixels():
    easy, hard = World(0, "pairs"), replace(World(0, "pairs"), difficulty=HARD)
    assert easy.pictures("validation") == hard.pictures("validation")
