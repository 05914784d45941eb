"""The segmentation lattice: the likeliest way to group the glyph candidates of a line to digits.

As in LeCun et al., "Gradient-Based Learning Applied to Document Recognition", Proc. IEEE 1998,
section V: a graph of all groups of neighbours, and the best path through it.

Part of the page reader in development; not in service.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from digits.recognition.config import LatticeConfig
from digits.recognition.glyphs import Glyph, Plane

_LEAST = 1e-6  # of a probability whose logarithm is taken


@dataclass(frozen=True)
class Candidate:
    """A glyph candidate and what the two networks give for it.

    Attributes
    ----------
    glyph : Glyph
        One that was found, or the union of several.
    frame : float32 (28, 28)
        What the classifier was shown.
    probabilities : float64 (10,)
        Of each digit, if it is a digit; calibrated.
    digit : float
        Probability that it is a digit at all, by both networks, 0 to 1.
    sure : bool
        Whether the classifier is sure enough which one to need no review.
    contrast : float
        How far it stands out of its paper's grain, in standard deviations of that.
    """

    glyph: Glyph
    frame: Plane
    probabilities: NDArray[np.float64]
    digit: float
    sure: bool
    contrast: float

    @property
    def quality(self) -> float:
        """Probability that it is one digit, and which, or one other mark: 0 to 1.

        Low where the networks disagree: a union of several digits is made of digits' pixels for
        the segmentation network, and no digit for the classifier.
        """
        one_digit = self.digit * float(self.probabilities.max())
        return max(one_digit, (1 - self.digit) * (1 - min(self.glyph.digit, 1.0)))


Evaluate = Callable[[Sequence[Glyph]], Sequence[Candidate]]


@dataclass(frozen=True)
class Reading:
    """What a candidate on the best path was read as: the likeliest digit, or no digit.

    `parts` are the glyphs that the mark is made of: the candidate's, and those of what stands above
    or below it and belongs to the same sign.
    """

    candidate: Candidate
    is_digit: bool
    parts: tuple[Glyph, ...]

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of all parts in pixels of the picture."""
        left, top, right, bottom = zip(*(part.box for part in self.parts), strict=True)
        return min(left), min(top), max(right), max(bottom)

    @property
    def height(self) -> float:
        """Longer side, pixels of the picture."""
        left, top, right, bottom = self.box
        return max(right - left, bottom - top)


class Lattice:
    """Finds best paths, and evaluates each candidate of a page once.

    Parameters
    ----------
    evaluate
        What both networks give for glyph candidates; called with many at a time.
    config
        Its weights.
    """

    def __init__(self, evaluate: Evaluate, config: LatticeConfig) -> None:
        self._evaluate, self._config = evaluate, config
        self._known: dict[tuple[int, ...], Candidate] = {}

    def candidates(self, groups: Sequence[Sequence[Glyph]]) -> list[Candidate]:
        """The candidate of each group of glyphs."""
        new = {key: group for group in groups if (key := _key(group)) not in self._known}
        if new:
            found = self._evaluate([Glyph.union(group) for group in new.values()])
            self._known |= dict(zip(new, found, strict=True))
        return [self._known[_key(group)] for group in groups]

    def best_path(self, line: Sequence[Glyph]) -> list[Reading]:
        """Read a line of glyphs, left to right; specks are left out."""
        alone = self.candidates([[glyph] for glyph in line])
        boxes = np.array([glyph.box for glyph in line])
        height = self._height(alone, boxes)
        spans = list(self._spans(line, boxes, height))
        candidates = self.candidates([line[start:stop] for start, stop in spans])
        values = np.full(len(line) + 1, -np.inf)
        values[0] = 0.0
        paths: list[list[Reading]] = [[] for _ in values]
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
                read = [Reading(candidate, is_digit, (candidate.glyph,))]
                left_out = not is_digit and self._is_speck(candidate, size)
                paths[stop] = paths[start] if left_out else [*paths[start], *read]
        return _signs_joined(paths[-1])

    def _is_speck(self, candidate: Candidate, size: float) -> bool:
        """Whether what is no digit is dirt or grain of the paper, and no sign."""
        vague = candidate.glyph.score < self._config.ink_of_speck
        return (size < self._config.speck and vague) or candidate.contrast < self._config.contrast

    def _height(self, alone: Sequence[Candidate], boxes: NDArray[np.float64]) -> float:
        """How tall the line's digits are, pixels: the median of what are digits, or the tallest."""
        heights = np.maximum(
            boxes[:, 3] - boxes[:, 1], self._config.flat * (boxes[:, 2] - boxes[:, 0])
        )
        digits = np.array([one.digit > self._config.likely for one in alone])
        return float(np.median(heights[digits]) if digits.any() else heights.max())

    def _spans(
        self, line: Sequence[Glyph], boxes: NDArray[np.float64], height: float
    ) -> Iterator[tuple[int, int]]:
        """The groups of neighbours that may be one digit: start and stop of each."""
        for stop in range(1, len(line) + 1):
            for start in range(max(0, stop - self._config.most_parts), stop):
                if stop == start + 1 or self._compact(line[start:stop], boxes[start:stop], height):
                    yield start, stop

    def _compact(self, group: Sequence[Glyph], boxes: NDArray[np.float64], height: float) -> bool:
        """Whether a group is found on one level, no larger than a digit, and close together."""
        if any(glyph.level is not group[0].level for glyph in group):
            return False
        size = boxes[:, 2:].max(0) - boxes[:, :2].min(0)
        if size[0] > self._config.widest * height or size[1] > self._config.tallest * height:
            return False
        ordered = boxes[np.argsort(boxes[:, 0])]
        gaps = ordered[1:, 0] - np.maximum.accumulate(ordered[:, 2])[:-1]
        return bool((gaps <= self._config.gap * height).all())

    def _as_digit(self, candidate: Candidate, size: float) -> float:
        """Log-likelihood of a candidate as the likeliest digit; `size` in heights of the line."""
        spread = self._config.smaller if size < 1 else self._config.larger
        odd = -0.5 * float(np.log(size) / spread) ** 2
        return _log(candidate.digit) + _log(float(candidate.probabilities.max())) + odd

    def _as_other(self, candidate: Candidate, size: float) -> float:
        """Log-likelihood of a candidate as no digit; of a small one it counts less."""
        return (_log(1 - candidate.digit) + self._config.other) * min(1.0, size)


def _signs_joined(path: list[Reading]) -> list[Reading]:
    """Join what is no digit and stands above each other: the parts of a plus, a colon, a divide."""
    joined: list[Reading] = []
    for one in path:
        before = joined[-1] if joined else None
        if before is None or before.is_digit or one.is_digit or not _stacked(before.box, one.box):
            joined.append(one)
            continue
        larger = max(before, one, key=lambda reading: reading.height)
        joined[-1] = Reading(larger.candidate, False, (*before.parts, *one.parts))
    return joined


def _stacked(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """Whether two boxes share half of the narrower one's width."""
    shared = min(one[2], other[2]) - max(one[0], other[0])
    return shared > 0.5 * min(one[2] - one[0], other[2] - other[0])


def _size(boxes: NDArray[np.float64]) -> float:
    """The longer side of boxes together, pixels."""
    return float((boxes[:, 2:].max(0) - boxes[:, :2].min(0)).max())


def _key(group: Sequence[Glyph]) -> tuple[int, ...]:
    return tuple(id(glyph) for glyph in group)


def _log(value: float) -> float:
    return float(np.log(max(value, _LEAST)))
