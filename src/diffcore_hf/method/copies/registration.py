"""Registration: the score of two images that may show the same picture.

The tested image is placed on the other one. First all shifts and some sizes are tried at a low resolution. If the score
is high enough, place and size are then refined in small steps at a higher resolution. All sums are exact.

The grey maps and the edge maps of a place have one normalised correlation each. The score of the place is the larger of
two values. The first is the mean of both correlations, without the sign of the grey one, because an inverted image
shows the same picture. The second is the correlation of the edges minus EDGES_ALONE.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from diffcore_hf.method.arrays import Floats
from diffcore_hf.method.copies.prints import Maps, Print
from diffcore_hf.method.copies.sampling import Levels, sampled, sampled_parts
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

Sums = NDArray[np.float32] | Floats
"""Integers whose sums of products are exact."""


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
    starts = sorted(chain.from_iterable(_starts(tested, others)), key=lambda start: -start.score)
    if not starts:
        return None
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


def _starts(tested: Print, others: Sequence[Print]) -> list[list[_Start]]:
    """Return the starts on each image: the best place of each size, for the tested image and for its mirror image."""
    plain = sampled(tested.maps, *WHOLE, COARSE, COARSE)
    templates = np.stack([plain, plain[:, :, ::-1]], axis=1).reshape(2, 2, -1)
    found: list[list[_Start]] = [[] for _ in others]
    # Images of the same aspect have the same windows, so one computation places the tested image on all of them.
    for aspect, members in _by_aspect(others).items():
        maps = np.stack([others[image].maps for image in members])
        for width, height in shapes_of(aspect):
            for image, starts in zip(members, _best_places(templates, maps, width, height), strict=True):
                found[image] += [_Start(score, image, place, is_mirrored) for score, place, is_mirrored in starts]
    return found


def _by_aspect(others: Sequence[Print]) -> dict[float, list[int]]:
    """Return the indices of the images of each rounded aspect."""
    groups: dict[float, list[int]] = {}
    for image, other in enumerate(others):
        groups.setdefault(rounded_aspect(other.aspect), []).append(image)
    return groups


def _best_places(
    templates: Levels, maps: Maps, width: float, height: float
) -> Iterator[list[tuple[float, Window, bool]]]:
    """Yield the best place on each image for the tested image and for its mirror image.

    A place comes with its score, and with whether it is that of the mirror image.

    Args:
        templates: (2, 2, COARSE**2): the maps of the tested image and of its mirror image.
        maps: (n, 2, SIDE, SIDE) uint8: the maps of n images.
        width: width of the windows, as a share of the width of the image.
        height: height of the windows, as a share of the height of the image.
    """
    columns, rows = round(COARSE / width) + 2, round(COARSE / height) + 2
    step = width / COARSE, height / COARSE
    left, top = (1 - step[0] * columns) / 2, (1 - step[1] * rows) / 2
    areas = sampled(maps, left, top, step[0] * columns, step[1] * rows, columns, rows)
    parts = sliding_window_view(areas, (COARSE, COARSE), axis=(2, 3))
    down, across = parts.shape[2:4]
    for scores in _scores(templates, parts.reshape(len(maps), 2, down * across, -1)):
        best = [divmod(int(position), across) for position in scores.argmax(axis=1)]
        places = [Window(left + column * step[0], top + row * step[1], width, height) for row, column in best]
        yield list(zip(scores.max(axis=1).tolist(), places, (False, True), strict=True))


class _Search:
    """The search for the best place near a start, at the higher resolution."""

    def __init__(self, tested: Print, other: Print, start: _Start):
        self.image, self._place, self._maps = start.image, start.place, other.maps
        self._template = sampled(tested.maps, *WHOLE, FINE, FINE).astype(np.float64).reshape(2, 1, -1)
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
        parts = sampled_parts(self._maps, places, FINE).astype(np.float64).reshape(2, len(places), -1)
        scores: Floats = _scores(self._template, parts)[0]
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


def _scores(templates: Sums, parts: Sums) -> Floats:
    """Return the (..., k, n) scores of k tested images at n places.

    Args:
        templates: (2, k, m) integers: the maps of the tested images.
        parts: (..., 2, n, m) integers: the maps of the other image at each place.
    """
    found = correlations(templates, parts)
    grey, edges = found[..., 0, :, :], found[..., 1, :, :]
    scores: Floats = np.maximum((np.abs(grey) + edges) / 2, edges - EDGES_ALONE)
    return scores


def correlations(templates: Sums, parts: Sums) -> Floats:
    """Return the (..., k, n) normalised correlations of k templates (..., k, m) with n parts (..., n, m).

    A template or part without any contrast has the correlation 0.

    Args:
        templates: integers, as float32 or float64.
        parts: integers of the same type. The sum of m products has to be exact in it: below 2**24 in float32, which
            is the case for 256 products of levels, and below 2**53 in float64.
    """
    count = templates.shape[-1]
    sums = templates.sum(axis=-1).astype(np.float64)[..., :, None]
    other_sums = parts.sum(axis=-1).astype(np.float64)[..., None, :]
    own = count * _squares(templates)[..., :, None] - sums**2
    others = count * _squares(parts)[..., None, :] - other_sums**2
    shared = count * (templates @ np.swapaxes(parts, -1, -2)).astype(np.float64) - sums * other_sums
    norms = np.sqrt(own * others)
    return np.divide(shared, norms, out=np.zeros_like(shared), where=norms > 0)


def _squares(rows: Sums) -> Floats:
    """Return the sum of the squares of each row, which is exact."""
    squares: Floats = np.einsum("...ij,...ij->...i", rows, rows).astype(np.float64)
    return squares
