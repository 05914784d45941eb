"""The segmentation lattice: find the likeliest grouping of a line's glyph candidates to digits.

The lattice is a graph of all groups of adjacent candidates; its best path is found by dynamic
programming, as in LeCun et al., "Gradient-Based Learning Applied to Document Recognition", Proc.
IEEE 1998, section V.

Part of the page reader in development; not in service.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from digits.recognition.config import LatticeConfig
from digits.recognition.glyphs import Glyph, Plane

_LEAST = 1e-6  # least probability, so that its logarithm is finite
# Longer side of the union of several glyphs, pixels of the level; coarser levels show larger ones.
# Lines of paper grain may be as tall as the page: without the limit, one development picture took
# 50 s.
_MAX_SIDE = 280


@dataclass(frozen=True)
class Candidate:
    """A glyph candidate with the outputs of both networks.

    Attributes
    ----------
    glyph : Glyph
        A glyph, or the union of several.
    frame : float32 (28, 28)
        Its normalised frame, the classifier's input.
    probabilities : float64 (10,)
        Calibrated probability of each digit, given that it is a digit.
    digit : float
        Probability that it is a digit, by both networks, 0 to 1.
    sure : bool
        Whether the classifier's confidence and the contrast are high enough to need no review.
    contrast : float
        Contrast to the paper, in standard deviations of the paper's grain.
    """

    glyph: Glyph
    frame: Plane
    probabilities: NDArray[np.float64]
    digit: float
    sure: bool
    contrast: float

    @property
    def quality(self) -> float:
        """Probability that it is exactly one digit or one other glyph, 0 to 1.

        It is low if the networks disagree. Several digits taken for one glyph have the pixels of
        digits according to the segmentation network, but are not a digit according to the
        classifier.
        """
        one_digit = self.digit * float(self.probabilities.max())
        return max(one_digit, (1 - self.digit) * (1 - min(self.glyph.digit, 1.0)))


Evaluate = Callable[[Sequence[Glyph]], Sequence[Candidate]]


@dataclass(frozen=True)
class PathSegment:
    """A segment of the best path: a candidate, and whether it is read as a digit.

    Attributes
    ----------
    candidate : Candidate
        The candidate.
    is_digit : bool
        Whether it is read as its likeliest digit, or as other handwriting.
    parts : tuple of Glyph
        The candidate's glyph, and the glyphs above or below it that belong to the same sign.
    """

    candidate: Candidate
    is_digit: bool
    parts: tuple[Glyph, ...]

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of all parts in pixels of the full-size picture."""
        left, top, right, bottom = zip(*(part.box for part in self.parts), strict=True)
        return min(left), min(top), max(right), max(bottom)

    @property
    def height(self) -> float:
        """Longer side in pixels of the full-size picture."""
        left, top, right, bottom = self.box
        return max(right - left, bottom - top)


class Lattice:
    """Finds the best path of each text line of a page.

    Candidates are evaluated in batches, and each only once.

    Parameters
    ----------
    evaluate
        Runs both networks on glyphs and returns a candidate for each.
    config
        Weights and thresholds.
    """

    def __init__(self, evaluate: Evaluate, config: LatticeConfig) -> None:
        self._evaluate, self._config = evaluate, config
        self._known: dict[tuple[int, ...], Candidate] = {}

    def candidates(self, groups: Sequence[Sequence[Glyph]]) -> list[Candidate]:
        """Return the candidate of each group of glyphs, evaluating those that are new."""
        new = {key: group for group in groups if (key := _key(group)) not in self._known}
        if new:
            found = self._evaluate([Glyph.union(group) for group in new.values()])
            self._known |= dict(zip(new, found, strict=True))
        return [self._known[_key(group)] for group in groups]

    def best_path(self, line: Sequence[Glyph]) -> list[PathSegment]:
        """Return the best path through the glyphs of a line, left to right, without specks."""
        alone = self.candidates([[glyph] for glyph in line])
        boxes = np.array([glyph.box for glyph in line])
        height = self._height(alone, boxes)
        spans = list(self._spans(line, boxes, height))
        candidates = self.candidates([line[start:stop] for start, stop in spans])
        values = np.full(len(line) + 1, -np.inf)
        values[0] = 0.0
        paths: list[list[PathSegment]] = [[] for _ in values]
        for (start, stop), candidate in zip(spans, candidates, strict=True):
            size = _size(boxes[start:stop]) / height
            parts = boxes[start:stop, 3] - boxes[start:stop, 1] > self._config.tall * height
            as_digit = self._as_digit(candidate, size)
            as_digit += self._config.join * max(0, np.count_nonzero(parts) - 1)
            signs = stop == start + 1 or all(one.digit < 0.5 for one in alone[start:stop])
            as_other = self._as_other(candidate, size) if signs else -np.inf
            value = values[start] + max(as_digit, as_other)
            if value > values[stop]:
                values[stop] = value
                is_digit = bool(as_digit >= as_other)
                read = [PathSegment(candidate, is_digit, (candidate.glyph,))]
                left_out = not is_digit and self._is_speck(candidate, size)
                paths[stop] = paths[start] if left_out else [*paths[start], *read]
        return _join_stacked_signs(paths[-1])

    def _is_speck(self, candidate: Candidate, size: float) -> bool:
        """Whether a candidate that is not a digit is dirt or paper grain, and not a sign."""
        vague = candidate.glyph.score < self._config.ink_of_speck
        return (size < self._config.speck and vague) or candidate.contrast < self._config.contrast

    def _height(self, alone: Sequence[Candidate], boxes: NDArray[np.float64]) -> float:
        """Return the height of the line's digits: their median, or the greatest without digits."""
        heights = np.maximum(
            boxes[:, 3] - boxes[:, 1], self._config.flat * (boxes[:, 2] - boxes[:, 0])
        )
        digits = np.array([one.digit > self._config.likely for one in alone])
        return float(np.median(heights[digits]) if digits.any() else heights.max())

    def _spans(
        self, line: Sequence[Glyph], boxes: NDArray[np.float64], height: float
    ) -> Iterator[tuple[int, int]]:
        """Yield start and stop of each group of adjacent glyphs that may be one digit."""
        for stop in range(1, len(line) + 1):
            for start in range(max(0, stop - self._config.most_parts), stop):
                if stop == start + 1 or self._compact(line[start:stop], boxes[start:stop], height):
                    yield start, stop

    def _compact(self, group: Sequence[Glyph], boxes: NDArray[np.float64], height: float) -> bool:
        """Whether a group is on one level, not larger than a digit, and without wide gaps."""
        if any(glyph.level is not group[0].level for glyph in group):
            return False
        size = boxes[:, 2:].max(0) - boxes[:, :2].min(0)
        if size.max() * group[0].level.scale > _MAX_SIDE:
            return False
        if size[0] > self._config.widest * height or size[1] > self._config.tallest * height:
            return False
        ordered = boxes[np.argsort(boxes[:, 0])]
        gaps = ordered[1:, 0] - np.maximum.accumulate(ordered[:, 2])[:-1]
        return bool((gaps <= self._config.gap * height).all())

    def _as_digit(self, candidate: Candidate, size: float) -> float:
        """Return the log-likelihood of the likeliest digit; `size` in heights of the digits."""
        spread = self._config.smaller if size < 1 else self._config.larger
        odd = -0.5 * float(np.log(size) / spread) ** 2
        return _log(candidate.digit) + _log(float(candidate.probabilities.max())) + odd

    def _as_other(self, candidate: Candidate, size: float) -> float:
        """Return the log-likelihood of not being a digit, scaled down for small candidates."""
        return (_log(1 - candidate.digit) + self._config.other) * min(1.0, size)


def _join_stacked_signs(path: list[PathSegment]) -> list[PathSegment]:
    """Join stacked segments that are not digits: the parts of a colon, a plus or a division sign.

    The joined segment has the candidate of the larger one.
    """
    joined: list[PathSegment] = []
    for one in path:
        before = joined[-1] if joined else None
        if before is None or before.is_digit or one.is_digit or not _stacked(before.box, one.box):
            joined.append(one)
            continue
        larger = max(before, one, key=lambda reading: reading.height)
        joined[-1] = PathSegment(larger.candidate, False, (*before.parts, *one.parts))
    return joined


def _stacked(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """Whether two boxes overlap horizontally by more than half of the narrower one's width."""
    shared = min(one[2], other[2]) - max(one[0], other[0])
    return shared > 0.5 * min(one[2] - one[0], other[2] - other[0])


def _size(boxes: NDArray[np.float64]) -> float:
    """Return the longer side of the boxes' bounding box, pixels."""
    return float((boxes[:, 2:].max(0) - boxes[:, :2].min(0)).max())


def _key(group: Sequence[Glyph]) -> tuple[int, ...]:
    return tuple(id(glyph) for glyph in group)


def _log(value: float) -> float:
    return float(np.log(max(value, _LEAST)))
