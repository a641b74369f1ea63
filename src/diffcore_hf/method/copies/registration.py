"""Registration: the score of two images that may show the same picture.

The tested image is placed on the other one. First all shifts and some sizes are tried at a low resolution. If the score
is high enough, place and size are then refined in small steps at a higher resolution. All sums are exact.

The grey maps and the edge maps of a place have one normalised correlation each. The score of the place is the larger of
two values. The first is the mean of both correlations, without the sign of the grey one, because an inverted image
shows the same picture. The second is the correlation of the edges minus EDGES_ALONE.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from diffcore_hf.method.arrays import Floats
from diffcore_hf.method.copies.prints import Print
from diffcore_hf.method.copies.sampling import sampled
from diffcore_hf.method.copies.windows import WHOLE, Window, rounded_aspect, shapes_of

COARSE = 16
"""Width and height of the tested image at the low resolution."""
FINE = 32
"""Width and height of the tested image at the higher resolution."""
STEPS = (1 / 32, 1 / 64, 1 / 128)
"""Steps of the refinement, as shares of the window."""
ROUNDS = 6
"""Largest number of moves with each step."""
STARTS, REFINED = 8, 2
"""Number of places that are compared at the higher resolution, and number of the best of them that are refined."""
REFINED_FROM = 0.76
"""Least score at the low resolution at which a place is refined."""
EDGES_ALONE = 0.03
"""Amount that is subtracted if the score comes from the edges alone, because other colours can change the grey map."""
DIGITS = 4
"""Decimal places of a score."""


class Match(NamedTuple):
    """The closest of several images, and the score of the pair."""

    image: int
    """Index of the image."""
    score: float
    """Score in [-1, 1]; 1 means that both images show the same picture."""


def register(tested: Print, other: Print) -> float:
    """Return the score of two images in [-1, 1]; see `closest`."""
    match = closest(tested, [other])
    assert match is not None
    return match.score


def closest(tested: Print, others: Sequence[Print]) -> Match | None:
    """Return the closest of some images; None if there are none. If scores are equal, the first image is returned.

    Args:
        tested: print of the image that may show a part of another one. Its mirror image is tested as well.
        others: prints of the other images.
    """
    starts: list[_Start] = []
    for image, other in enumerate(others):
        starts += _starts(tested, other, image)
    if not starts:
        return None
    starts.sort(key=lambda start: -start.score)
    if starts[0].score < REFINED_FROM:
        return Match(starts[0].image, round(starts[0].score, DIGITS))
    searches = [
        _Search(tested.mirrored() if start.is_mirrored else tested, others[start.image], start)
        for start in starts[:STARTS]
    ]
    searches.sort(key=lambda search: -search.score)
    matches = [Match(search.image, round(search.refined(), DIGITS)) for search in searches[:REFINED]]
    return max(matches, key=lambda match: match.score)


class _Start(NamedTuple):
    """A place at which the score is high at the low resolution."""

    score: float
    image: int
    place: Window
    is_mirrored: bool


def _starts(tested: Print, other: Print, image: int) -> list[_Start]:
    """Return the best place of each size of the windows, for the tested image and for its mirror image."""
    plain = sampled(tested.maps, *WHOLE, COARSE, COARSE)
    templates = np.stack([plain, plain[:, :, ::-1]], axis=1).reshape(2, 2, -1)
    found: list[_Start] = []
    for width, height in shapes_of(rounded_aspect(other.aspect)):
        columns, rows = round(COARSE / width) + 2, round(COARSE / height) + 2
        step = width / COARSE, height / COARSE
        left, top = (1 - step[0] * columns) / 2, (1 - step[1] * rows) / 2
        area = sampled(other.maps, left, top, step[0] * columns, step[1] * rows, columns, rows)
        parts = sliding_window_view(area, (COARSE, COARSE), axis=(1, 2))
        down, across = parts.shape[1:3]
        for mirrored, scores in enumerate(_scores(templates, parts.reshape(2, down * across, -1))):
            row, column = divmod(int(scores.argmax()), across)
            place = Window(left + column * step[0], top + row * step[1], width, height)
            found.append(_Start(float(scores.max()), image, place, bool(mirrored)))
    return found


class _Search:
    """The search for the best place near a start, at the higher resolution."""

    def __init__(self, tested: Print, other: Print, start: _Start):
        self.image, self._place, self._maps = start.image, start.place, other.maps
        self._template = sampled(tested.maps, *WHOLE, FINE, FINE).reshape(2, 1, -1)
        [self.score] = self._scores([start.place]).tolist()

    def refined(self) -> float:
        """Return the best score that is found with smaller and smaller steps."""
        for step in STEPS:
            for _ in range(ROUNDS):
                places = list(_neighbours(self._place, step))
                scores = self._scores(places)
                if scores.max() <= self.score:
                    break
                self.score, self._place = float(scores.max()), places[int(scores.argmax())]
        return self.score

    def _scores(self, places: Sequence[Window]) -> Floats:
        parts = [sampled(self._maps, *place, FINE, FINE).reshape(2, -1) for place in places]
        scores: Floats = _scores(self._template, np.stack(parts, axis=1))[0]
        return scores


def _neighbours(place: Window, step: float) -> Iterator[Window]:
    """Yield the windows that are shifted, or larger or smaller, by one step."""
    left, top, width, height = place
    signs = (-step, 0.0, step)
    for right in signs:
        for down in signs:
            if right or down:
                yield Window(left + right * width, top + down * height, width, height)
    for wider in signs:
        for higher in signs:
            if wider or higher:
                size = width * (1 + wider), height * (1 + higher)
                yield Window(left + (width - size[0]) / 2, top + (height - size[1]) / 2, *size)


def _scores(templates: Floats, parts: Floats) -> Floats:
    """Return the (k, n) scores of k tested images at n places.

    Args:
        templates: (2, k, m) integers: the maps of the tested images.
        parts: (2, n, m) integers: the maps of the other image at each place.
    """
    grey, edges = correlations(templates, parts)
    scores: Floats = np.maximum((np.abs(grey) + edges) / 2, edges - EDGES_ALONE)
    return scores


def correlations(templates: Floats, parts: Floats) -> Floats:
    """Return the (..., k, n) normalised correlations of k templates (..., k, m) with n parts (..., n, m).

    A template or part without any contrast has the correlation 0.
    """
    count = templates.shape[-1]
    sums, other_sums = templates.sum(axis=-1)[..., :, None], parts.sum(axis=-1)[..., None, :]
    own = count * np.einsum("...ij,...ij->...i", templates, templates)[..., :, None] - sums**2
    others = count * np.einsum("...ij,...ij->...i", parts, parts)[..., None, :] - other_sums**2
    shared = count * (templates @ np.swapaxes(parts, -1, -2)) - sums * other_sums
    norms = np.sqrt(own * others)
    return np.divide(shared, norms, out=np.zeros_like(shared), where=norms > 0)
