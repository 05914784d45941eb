"""Read pages: group glyph candidates to digits, split touching digits, and reject other glyphs.

The likeliest grouping is found by the classifier's probabilities: of being a digit, and of each
digit. Several binarisations and segmentations of a picture give hypotheses, which are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from digits import finder, layout, preprocess
from digits.finder import Segmenter
from digits.image import Picture, without_enlargement
from digits.layout import Piece
from digits.preprocess import Box, Mark, Page
from digits.recognition.classification import ClassifyFrames

# All chosen by eye on development pictures.
MOST = 4  # most pieces of one digit
WIDEST = 1.7  # largest width of a digit, in heights of the line
TO_CUT = 0.6  # least width of a piece that is cut, in heights of the line
LEFT_OUT = 0.2  # share of the ink in no piece, from which it may be writing in a shadow
SPECKS = 0.02  # share of the ink beside a single digit, from which it may be another digit
NOT_A_DIGIT = -3.0  # log-likelihood of a glyph not being a digit
ENOUGH = 120  # pieces classified in all hypotheses, from which no further one is tried
UNSEEN = 1 / 24  # share of the picture's longer side: the segmenter may miss smaller glyphs
ALONE = -1.0  # log-likelihood of a digit that no other hypothesis confirms
LACKING = -1.0  # log-likelihood of having no glyph where another hypothesis has a digit
WITHIN = 0.9  # share of a glyph instance in a piece, from which it is a part of the piece
THICKEST = 0.3  # largest stroke width of a piece that is cut, in heights of the line
CUT = -2.0  # log-likelihood of a cut
JOIN = -2.0  # log-likelihood of one more piece of half of the line's height in a digit
SKIPPED = -0.3  # log-likelihood of all pieces of a page being one digit
BROKEN = 8  # most pieces of such a digit
CRUMB = 0.02  # share of the largest piece's area below which a piece is ignored for that
JUNK = -4.0  # log-likelihood of a piece as tall as the line not being a digit


@dataclass(frozen=True)
class ClassifiedMark:
    """One glyph candidate with the classifier's prediction.

    Attributes
    ----------
    mark : Mark
        Its box and its frame.
    probabilities : float64 (10,)
        Calibrated probability of each digit, given that it is a digit.
    digit : float
        Probability that it is a digit, 0 to 1.
    is_digit : bool
        Whether it is read as a digit.
    accepted : bool
        Whether the digit is certain enough to need no review.
    """

    mark: Mark
    probabilities: NDArray[np.float64]
    digit: float
    is_digit: bool
    accepted: bool


Lines = tuple[tuple[ClassifiedMark, ...], ...]
"""Text lines from top to bottom, each from left to right."""


def read(picture: Picture, classify_frames: ClassifyFrames, segmenter: Segmenter) -> Lines:
    """Read all the digits of a picture.

    If binarisation shows a single, accepted digit and nothing else, that is the result. Otherwise
    the segmentation network gives further hypotheses, and the likeliest is returned; its digits
    that no other hypothesis confirms are not accepted. Glyphs that are not digits are kept if they
    are about as tall as a digit.

    Returns
    -------
    tuple of tuple of ClassifiedMark
        One tuple for each line; empty for a blank picture.
    """
    return read_all([picture], classify_frames, segmenter)[0]


def read_all(
    pictures: Sequence[Picture], classify_frames: ClassifyFrames, segmenter: Segmenter
) -> list[Lines]:
    """Read several pictures as `read`; those that need no preprocessing are classified at once."""
    ready = [preprocess.already_normal(picture) for picture in pictures]
    marks = [mark for mark in ready if mark is not None]
    classified = iter(_classified(marks, classify_frames) if marks else ())
    every = (
        _read(picture, classify_frames, segmenter) if mark is None else ((next(classified),),)
        for picture, mark in zip(pictures, ready, strict=True)
    )
    return [_benefit_of_doubt(lines) for lines in every]


def _benefit_of_doubt(lines: Lines) -> Lines:
    """Read a rejected glyph as a digit, for review, if its likeliest digit is likely enough."""
    return tuple(
        tuple(
            one if one.is_digit or _as_digit(one) < NOT_A_DIGIT else replace(one, is_digit=True)
            for one in line
        )
        for line in lines
    )


def _read(picture: Picture, classify_frames: ClassifyFrames, segmenter: Segmenter) -> Lines:
    given, picture = picture, without_enlargement(picture)
    if max(picture.grey.shape) < finder.SMALLEST:
        lines = _read_small(picture, classify_frames)
        if max(given.grey.shape) < finder.SMALLEST or any(one.is_digit for one in _marks(lines)):
            return lines
        picture = given  # faint writing in a soft shadow may have been taken for an enlargement
    page = next(next(preprocess.pages(picture)))
    lines = _read_page(page, classify_frames)
    alone = len(lines) == 1 and len(lines[0]) == 1
    if alone and page.ink.sure and page.left_out < SPECKS and _all_accepted(lines):
        return lines
    connected, by_instance = [_or_one_digit(lines, page, classify_frames)], list[Lines]()
    classified = len(page.pieces)
    for page in preprocess.segmented_pages(picture, segmenter):
        if classified > ENOUGH:
            break
        lines = _or_one_digit(_read_page(page, classify_frames), page, classify_frames)
        (by_instance if page.instances else connected).append(lines)
        classified += len(page.instances or page.pieces)
    return _best_hypothesis(connected, by_instance, UNSEEN * max(picture.width, picture.height))


def _or_one_digit(lines: Lines, page: Page, classify_frames: ClassifyFrames) -> Lines:
    """Return all pieces of a page as one digit, if that is likelier than its lines.

    A pen that skipped leaves a digit of several pieces.
    """
    parts = [piece for piece in page.pieces if piece.area >= CRUMB * page.pieces[0].area]
    if not 1 < len(parts) <= BROKEN:
        return lines
    (whole,) = _classified([page.mark(layout.together(parts))], classify_frames)
    likelier = whole.is_digit and _as_digit(whole) + SKIPPED > _log_likelihood(lines)
    return ((whole,),) if likelier else lines


def _best_hypothesis(
    connected: Sequence[Lines], by_instance: Sequence[Lines], small: float
) -> Lines:
    """Return the likeliest hypothesis; its digits that no other one confirms are not accepted.

    Parameters
    ----------
    connected
        Hypotheses by connected components.
    by_instance
        Hypotheses by glyph instances. One that divides a letter into ones is ignored.
    small
        Longer side, pixels, below which a digit needs no confirmation, because other hypotheses may
        miss it.
    """
    whole = [lines for lines in by_instance if not any(_are_legs(lines, ink) for ink in connected)]
    some = [lines for lines in (*connected, *whole) if lines]
    if not some:
        return ()
    others = [[other for other in some if other is not lines] for lines in some]
    every = list(zip(some, others, strict=True))
    lines, rest = max(every, key=lambda one: _compared(one[0], one[1], small))
    return tuple(
        tuple(replace(one, accepted=False) if _is_alone(one, rest, small) else one for one in line)
        for line in lines
    )


def _compared(lines: Lines, others: Sequence[Lines], small: float) -> float:
    """Return the log-likelihood of a hypothesis, given other hypotheses of the same picture."""
    marks = _marks(lines)
    alone = sum(one.is_digit and _is_alone(one, others, small) for one in marks)
    lacking = max((sum(_lacks(lines, one) for one in _marks(other)) for other in others), default=0)
    return _log_likelihood(lines) + ALONE * alone + LACKING * lacking


def _log_likelihood(lines: Lines) -> float:
    """Return the log-likelihood of a hypothesis by itself."""
    return sum(_as_digit(one) if one.is_digit else NOT_A_DIGIT for one in _marks(lines))


def _is_alone(found: ClassifiedMark, others: Sequence[Lines], small: float) -> bool:
    """Whether no other hypothesis has the same digit in the same place; False below `small`."""
    return max(found.mark.box[2:]) >= small and not any(
        one.is_digit
        and one.probabilities.argmax() == found.probabilities.argmax()
        and _centred_in(found.mark.box, one.mark.box)
        and _centred_in(one.mark.box, found.mark.box)
        for lines in others
        for one in _marks(lines)
    )


def _lacks(lines: Lines, found: ClassifiedMark) -> bool:
    """Whether lines have no glyph where another hypothesis has an accepted digit."""
    return found.accepted and not any(
        _centred_in(found.mark.box, one.mark.box) for one in _marks(lines)
    )


def _are_legs(lines: Lines, others: Lines) -> bool:
    """Whether lines have several ones, and only ones, where others have one rejected glyph.

    These ones are more likely the legs of a letter such as H, M or W.
    """
    for mark in (one.mark for one in _marks(others) if not one.is_digit):
        within = [one for one in _marks(lines) if _centred_in(one.mark.box, mark.box)]
        if len(within) > 1 and all(one.probabilities.argmax() == 1 for one in within):
            return True
    return False


def _centred_in(inner: Box, outer: Box) -> bool:
    x, y = inner[0] + inner[2] / 2 - outer[0], inner[1] + inner[3] / 2 - outer[1]
    return 0 <= x <= outer[2] and 0 <= y <= outer[3]


def _read_small(picture: Picture, classify_frames: ClassifyFrames) -> Lines:
    """Read a picture that is too small for the segmentation network, by binarisation only.

    Binarisations are tried until every glyph of one is an accepted digit. If there is none, the one
    with the highest merit is returned. A light glyph inside a dark one is rejected as the hole of a
    letter, even if it looks like a one; likewise with opposite polarities.
    """
    best: tuple[float, Lines] = (0.0, ())
    around: list[Box] = []
    for polarity in preprocess.pages(picture):
        found: list[Box] = []
        for page in polarity:
            lines = _without_holes(_read_page(page, classify_frames), around)
            if not page.ink.tight:
                found += [one.mark.box for one in _marks(lines)]
            if page.ink.sure and page.left_out < LEFT_OUT and _all_accepted(lines):
                return lines
            merit = sum(_merit(one) for one in _marks(lines))
            if lines and (merit > best[0] or not best[1]):
                best = (max(merit, 0.0), lines)
        if _all_accepted(best[1]):
            break
        around = found
    return best[1]


def _without_holes(lines: Lines, around: Sequence[Box]) -> Lines:
    """Reject the glyphs that lie inside one of the boxes."""
    return tuple(
        tuple(
            replace(one, digit=0.0, is_digit=False, accepted=False)
            if any(_inside(one.mark.box, box) for box in around)
            else one
            for one in line
        )
        for line in lines
    )


def _inside(inner: Box, outer: Box) -> bool:
    left, top = inner[0] - outer[0], inner[1] - outer[1]
    return 0 <= left <= outer[2] - inner[2] and 0 <= top <= outer[3] - inner[3]


def _all_accepted(lines: Lines) -> bool:
    return bool(lines) and all(one.accepted for one in _marks(lines))


def _marks(lines: Lines) -> list[ClassifiedMark]:
    return [one for line in lines for one in line]


def _merit(found: ClassifiedMark) -> float:
    """Return a glyph's contribution to a hypothesis: its size, weighted by its probability.

    It is negative for a glyph that is unlikely to be its likeliest digit.
    """
    right = found.digit * float(found.probabilities.max())
    return max(found.mark.box[2:]) * (right - 0.3 * (1 - right))


def main(lines: Lines) -> tuple[Lines, bool]:
    """Select the digit of a picture that should have only one; return whether there are several.

    It is the largest accepted digit, or the largest glyph without one. It is not accepted if a
    glyph of more than half its height is not accepted, because it may be a part of that glyph.
    """
    found = _marks(lines)
    if not found:
        return (), False
    some = [one for one in found if one.accepted] or found
    largest = max(some, key=lambda one: one.mark.box[2] * one.mark.box[3])
    beside = [one for one in found if one.mark.box[3] > 0.5 * largest.mark.box[3]]
    if not all(one.accepted for one in beside):
        largest = replace(largest, accepted=False, is_digit=largest.is_digit and len(beside) == 1)
    return ((largest,),), sum(one.accepted for one in beside) > 1


def _classified(marks: Sequence[Mark], classify_frames: ClassifyFrames) -> list[ClassifiedMark]:
    given = classify_frames(np.stack([mark.frame for mark in marks]))
    return [
        ClassifiedMark(mark, row, float(digit), bool(is_digit), bool(accepted))
        for mark, row, digit, is_digit, accepted in zip(
            marks, given.probabilities, given.digit, given.is_digit, given.accepted, strict=True
        )
    ]


class _Candidates:
    """The predictions for groups of a page's pieces; each group is classified once."""

    def __init__(self, page: Page, classify_frames: ClassifyFrames) -> None:
        self._page, self._classify_frames = page, classify_frames
        self._known: dict[tuple[int, ...], tuple[Piece, ClassifiedMark]] = {}

    def classify(self, groups: Sequence[Sequence[Piece]]) -> None:
        """Classify the groups that are new, in one batch."""
        new = {_key(group): group for group in groups if _key(group) not in self._known}
        if not new:
            return
        wholes = [layout.together(group) for group in new.values()]
        found = _classified([self._page.mark(whole) for whole in wholes], self._classify_frames)
        self._known |= dict(zip(new, zip(wholes, found, strict=True), strict=True))

    def of(self, group: Sequence[Piece]) -> tuple[Piece, ClassifiedMark]:
        """Return a classified group as one piece, and its prediction."""
        return self._known[_key(group)]


def _key(group: Sequence[Piece]) -> tuple[int, ...]:
    return tuple(id(piece) for piece in group)


def _read_page(page: Page, classify_frames: ClassifyFrames) -> Lines:
    if not page.pieces:
        return ()
    candidates = _Candidates(page, classify_frames)
    candidates.classify([[piece] for piece in page.pieces])
    pieces = _apart(page, candidates)
    if len(pieces) == 1 and candidates.of(pieces)[1].accepted:
        return ((candidates.of(pieces)[1],),)
    height = _height(pieces, candidates)
    lines = []
    for line in layout.lines_of(pieces, height):
        found = _read_line(line, height, candidates)
        if found:
            lines.append(found)
    return tuple(lines)


def _apart(page: Page, candidates: _Candidates) -> Sequence[Piece]:
    """Return a page's glyph instances, or its pieces without them.

    A piece that contains several instances, but is accepted as one digit, replaces them.
    """
    if not page.instances:
        return page.pieces
    wholes: list[Piece] = []
    instances = list(page.instances)
    for piece in page.pieces:
        inside = [one for one in instances if layout.shared(one, piece) > WITHIN * one.area]
        if len(inside) > 1 and candidates.of([piece])[1].accepted:
            wholes.append(piece)
            instances = [one for one in instances if all(one is not part for part in inside)]
    pieces = sorted([*wholes, *instances], key=lambda piece: -piece.area)
    candidates.classify([[piece] for piece in pieces])
    return pieces


def _height(pieces: Sequence[Piece], candidates: _Candidates) -> int:
    """Return the height of the tallest accepted digit, or of the tallest piece without one."""
    sure = [piece for piece in pieces if candidates.of([piece])[1].accepted]
    return max(piece.height for piece in sure or pieces)


def _read_line(
    line: list[Piece], height: int, candidates: _Candidates
) -> tuple[ClassifiedMark, ...]:
    """Return the likeliest grouping of a line's pieces.

    Groups that are not digits are kept if they are tall, and dropped if they are small.
    """
    pieces = [part for piece in line for part in _divided(piece, height, candidates)]
    kept = []
    for group in _best_path(pieces, height, candidates, _joined):
        whole, found = candidates.of(group)
        tall = max(whole.height, whole.width) > 0.4 * height
        if tall or _is_digit(whole, found, height):
            kept.append(found)
    return tuple(kept)


def _divided(piece: Piece, height: int, candidates: _Candidates) -> list[Piece]:
    """Cut a piece into touching digits, if all parts are accepted; otherwise return the piece.

    Parts that all are ones are rejected, because they are likely the legs of a letter.
    """
    pen = layout.stroke_width(piece.mask)
    wide = piece.width > TO_CUT * height and pen < THICKEST * height
    if not wide or candidates.of([piece])[1].accepted:
        return [piece]
    parts = layout.cuts(piece, pen)
    groups = _best_path(parts, height, candidates, _cut)
    found = [candidates.of(group)[1] for group in groups]
    ones = all(one.probabilities.argmax() == 1 for one in found)
    if len(groups) > 1 and all(one.accepted for one in found) and not ones:
        return [layout.together(group) for group in groups]
    return [piece]


def _best_path(
    pieces: list[Piece],
    height: int,
    candidates: _Candidates,
    cost: Callable[[Sequence[Piece], int], float],
) -> list[list[Piece]]:
    """Return the likeliest grouping of adjacent pieces to digits, by dynamic programming.

    The groups form a graph whose best path is searched (LeCun et al., "Gradient-Based Learning
    Applied to Document Recognition", Proc. IEEE 1998, section V). `cost` returns the log-likelihood
    of a digit being divided into the pieces of a group, given the line's height.
    """
    spans = [
        (start, stop)
        for stop in range(1, len(pieces) + 1)
        for start in range(max(0, stop - MOST), stop)
        if stop == start + 1 or _compact(pieces[start:stop], height)
    ]
    candidates.classify([pieces[start:stop] for start, stop in spans])
    nothing: list[list[Piece]] = []
    best = [(0.0, nothing)] + [(-np.inf, nothing)] * len(pieces)
    for start, stop in spans:
        group = pieces[start:stop]
        whole, found = candidates.of(group)
        likelihood = _as_digit_of_line(whole, found, height)
        if len(group) == 1:
            likelihood = max(likelihood, _as_junk(whole, height))
        value = best[start][0] + likelihood + cost(group, height)
        if value > best[stop][0]:
            best[stop] = (value, [*best[start][1], group])
    return best[-1][1]


def _joined(group: Sequence[Piece], height: int) -> float:
    tall = sum(piece.height > 0.5 * height for piece in group)
    return JOIN * max(0, tall - 1)


def _cut(group: Sequence[Piece], height: int) -> float:
    del group, height
    return CUT


def _as_digit_of_line(whole: Piece, found: ClassifiedMark, height: int) -> float:
    """Return the log-likelihood of a piece being its likeliest digit, in a line of `height`.

    The logarithm of a smaller digit's relative size is normally distributed; its standard
    deviation of 0.35 was chosen by eye on development pictures.
    """
    share = min(1.0, max(whole.height, whole.width) / height)
    odd = -0.5 * float(np.log(share) / 0.35) ** 2
    return _as_digit(found) + odd


def _as_digit(found: ClassifiedMark) -> float:
    """Return the log-likelihood of a glyph being its likeliest digit."""
    return _log(found.digit) + _log(float(found.probabilities.max()))


def _as_junk(whole: Piece, height: int) -> float:
    """Return the log-likelihood of a piece not being a digit; higher for small pieces."""
    return JUNK * min(1.0, max(whole.height, whole.width) / height) - 0.3


def _is_digit(whole: Piece, found: ClassifiedMark, height: int) -> bool:
    return _as_digit_of_line(whole, found, height) >= _as_junk(whole, height)


def _compact(group: Sequence[Piece], height: int) -> bool:
    left, right = min(piece.left for piece in group), max(piece.right for piece in group)
    top, bottom = min(piece.top for piece in group), max(piece.bottom for piece in group)
    return right - left < WIDEST * height and bottom - top < 1.6 * height


def _log(value: float) -> float:
    return float(np.log(max(value, 1e-6)))
