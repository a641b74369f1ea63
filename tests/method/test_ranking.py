"""Tests of rankings: ties, leave-one-out ranks compared with a new fit, and classes without references."""

from dataclasses import replace

import numpy as np
import pytest

from diffcore_hf.core.seeding import digest
from diffcore_hf.method.linear_scores import worst_ranks
from diffcore_hf.method.ranking import ByClassifier, ByClassMean, ByText, ContextFree, context_directions
from diffcore_hf.method.references import ReferenceEmbeddings
from diffcore_hf.method.thresholds import PairSums, unit_rows


def references_of(counts, width=6, seed=0, text=False):
    rng, labels = np.random.default_rng(seed), np.repeat(np.arange(len(counts)), counts)
    centres = rng.normal(size=(len(counts), width))
    embeddings = (centres[labels] + rng.normal(size=(len(labels), width))).astype(np.float16)
    ids = [f"train/{i}" for i in range(len(labels))]
    captions = centres.astype(np.float16) if text else None
    references = ReferenceEmbeddings(ids, labels, embeddings, len(counts), captions).ordered()
    return references, PairSums.of(references.embeddings, references.labels, len(counts))


@pytest.mark.parametrize(
    ("scores", "label", "rank"),
    [
        ([0.9, 0.5, 0.1], 0, 1),
        ([0.9, 0.5, 0.1], 2, 3),
        ([0.5, 0.5, 0.1], 0, 2),  # a tie gets the worst rank
        ([0.5, 0.5 - 1e-16, 0.1], 0, 2),  # equal up to rounding is a tie
        ([0.5, np.nan, 0.6], 0, 2),  # an unranked class does not change the rank of another class
        ([0.5, np.nan, 0.6], 1, 0),  # an unranked class has rank 0
        ([np.nan, np.nan, np.nan], 1, 0),
    ],
)
def test_the_rank_counts_the_classes_with_a_higher_score(scores, label, rank):
    assert worst_ranks(np.array([scores]), np.array([label])).tolist() == [rank]


def slow_discriminant(unit, labels, classes, images):
    """Returns the scores of images by a discriminant that is fitted to (unit, labels) directly."""
    known = [k for k in range(classes) if (labels == k).any()]
    means = {k: unit[labels == k].mean(axis=0) for k in known}
    centred = np.stack([u - means[k] for u, k in zip(unit, labels, strict=True)])
    w = centred.T @ centred / max(1, len(unit) - len(known))
    d = unit.shape[1]
    shrunk = 0.7 * w + 0.3 * np.trace(w) / d * np.eye(d) if np.trace(w) > 1e-15 else np.eye(d)
    inverse = np.linalg.inv(shrunk)
    scores = np.full((len(images), classes), np.nan)
    for k in known:
        scores[:, k] = images @ inverse @ means[k] - means[k] @ inverse @ means[k] / 2
    return scores


@pytest.mark.parametrize("counts", [(5, 5, 5), (12, 1, 3, 7), (2, 2), (1, 1, 1, 9), (30, 0, 20)])
def test_leave_one_out_ranks_of_the_classifier_equal_those_of_a_new_fit(counts):
    references, sums = references_of(counts, seed=sum(counts))
    unit, labels = unit_rows(references.embeddings), references.labels
    folds = np.array([int.from_bytes(digest(row_id), "big") % 5 for row_id in references.row_ids])
    expected = np.zeros(len(labels), int)
    for i in range(len(labels)):
        rest = folds != folds[i]
        if (labels[rest] == labels[i]).any():
            scores = slow_discriminant(unit[rest], labels[rest], len(counts), unit[i : i + 1])[0]
            expected[i] = 1 + sum(
                scores[k] >= scores[labels[i]] for k in range(len(counts)) if k != labels[i] and not np.isnan(scores[k])
            )
    assert ByClassifier(references, sums).left_out_ranks().tolist() == expected.tolist()


def test_generated_images_are_ranked_by_the_fit_on_all_references():
    references, sums = references_of((6, 9, 4), seed=3)
    images = unit_rows(np.random.default_rng(9).normal(size=(20, 6)))
    slow = slow_discriminant(unit_rows(references.embeddings), references.labels, 3, images)
    scores = ByClassifier(references, sums).scores(images)
    labels = np.arange(20) % 3  # a new fit scales the covariance differently, but the order of the classes is the same
    assert worst_ranks(scores, labels).tolist() == worst_ranks(slow, labels).tolist()


def test_leave_one_out_ranks_of_the_class_mean_equal_those_of_a_new_fit():
    references, sums = references_of((4, 1, 6, 2), seed=5)
    unit, labels = unit_rows(references.embeddings), references.labels
    expected = []
    for i in range(len(labels)):
        rest = np.arange(len(labels)) != i
        if not (labels[rest] == labels[i]).any():
            expected.append(0)
            continue
        scores = [unit[i] @ unit_rows(unit[rest & (labels == k)].mean(0, keepdims=True))[0] for k in range(4)]
        expected.append(1 + sum(s >= scores[labels[i]] for k, s in enumerate(scores) if k != labels[i]))
    assert ByClassMean(references, sums).left_out_ranks().tolist() == expected


def test_the_identity_replaces_a_covariance_of_zero():
    embeddings = np.array([[1, 0], [1, 0], [0, 1], [0, 1]], np.float16)
    references = ReferenceEmbeddings(["a", "b", "c", "d"], np.array([0, 0, 1, 1]), embeddings, 2)
    ranking = ByClassifier(references, PairSums.of(embeddings, references.labels, 2))
    assert ranking.ranks(np.array([[1.0, 0.0], [0.6, 0.8]]), np.array([0, 0])).tolist() == [1, 2]


def test_ranking_by_text_needs_captions():
    references, sums = references_of((3, 3, 3), text=True)
    captions = unit_rows(references.text)
    assert ByText(references, sums).ranks(captions, np.arange(3)).tolist() == [1, 1, 1]
    with pytest.raises(ValueError, match=r"filter\.policy\.by is 'text'.*--filter\.policy\.by classifier"):
        ByText(references_of((3, 3))[0], sums)


def test_an_image_without_embedding_has_no_rank():
    references, sums = references_of((3, 3))
    for ranking in (ByClassMean(references, sums), ByClassifier(references, sums)):
        assert ranking.ranks(np.full((1, 6), np.nan), np.array([0])).tolist() == [0]


def with_contexts(counts, contexts, seed=0, width=8):
    references, sums = references_of(counts, width=width, seed=seed)
    captions = np.random.default_rng(seed + 1).normal(size=(contexts, width)).astype(np.float16)
    return replace(references, contexts=captions), sums


@pytest.mark.parametrize(("counts", "contexts"), [((5, 5, 5), 2), ((12, 1, 3, 7), 5), ((30, 0, 20), 3)])
def test_context_free_ranking_equals_the_classifier_on_projected_embeddings(counts, contexts):
    references, sums = with_contexts(counts, contexts)
    out = context_directions(references.contexts, 8)
    assert out.shape == (contexts - 1, 8)
    np.testing.assert_allclose(out @ out.T, np.eye(contexts - 1), atol=1e-12)
    ranking, images = ContextFree(references, sums), unit_rows(np.random.default_rng(9).normal(size=(40, 8)))
    unit = unit_rows(references.embeddings)
    expected = slow_discriminant(
        unit - unit @ out.T @ out, references.labels, len(counts), images - images @ out.T @ out
    )
    scores = ranking.scores(images)  # scores are multiples of tr(W) / d
    np.testing.assert_allclose(scores * (expected[0, 0] / scores[0, 0]), expected, rtol=1e-6, atol=1e-8)
    assert ranking.notes == ()


def test_the_context_of_an_image_changes_no_context_free_rank():
    references, sums = with_contexts((9, 9, 9), 4)
    ranking, images = ContextFree(references, sums), np.random.default_rng(2).normal(size=(30, 8))
    captions = unit_rows(references.contexts)
    moved = images + 0.7 * (captions[0] - captions[3])
    np.testing.assert_allclose(ranking.scores(images), ranking.scores(moved), atol=1e-9)
    plain = ByClassifier(references, sums)
    assert not np.allclose(plain.scores(images), plain.scores(moved), atol=1e-3)


@pytest.mark.parametrize("contexts", [None, 1])
def test_context_free_ranking_without_contexts_equals_the_classifier_and_adds_a_note(contexts):
    references, sums = references_of((6, 6, 6))
    captions = None if contexts is None else np.ones((contexts, 6), np.float16)
    ranking, plain = ContextFree(replace(references, contexts=captions), sums), ByClassifier(references, sums)
    assert ranking.left_out_ranks().tolist() == plain.left_out_ranks().tolist()
    assert "policy rank uses `by: classifier`" in ranking.notes[0]
