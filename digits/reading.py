"""Pages to digits in lines: which pieces make a digit, where digits touch, what is none.

Ways of putting pieces together are weighed by the network's own words: how likely each is a digit,
and which.
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

Frames = NDArray[np.float32]

MOST = 4  # pieces that one digit may be made of
WIDEST = 1.7  # of a digit, in heights of the line
TO_CUT = 0.6  # how wide a piece must be to be several digits, in heights of the line
LEFT_OUT = 0.2  # of the ink: more that is neither stroke nor speck may be writing in a shadow
SPECKS = 0.02  # of the ink: more beside a digit that seems to be alone may be another
NONE = -3.0  # log-likelihood of a mark being no digit
ENOUGH = 120  # pieces looked at, in all ways together, to try no further way; bounds the work
UNSEEN = 1 / 24  # of the picture's longer side: what is smaller a network may not see in it
ALONE = -1.0  # of a digit that is read in one way of telling ink from paper alone
LACKING = -1.0  # of having nothing where another way shows a digit
WITHIN = 0.9  # of a thing that is a part of a piece
THICKEST = 0.3  # of a pen, in heights of the line: a blot is not cut
CUT = -2.0  # log-likelihood of one cut being right
JOIN = -2.0  # of one pair of pieces as tall as the line being one digit
SKIPPED = -0.3  # log-likelihood of all pieces of a page being one digit
BROKEN = 8  # of them at most
CRUMB = 0.02  # of the largest of them: what is smaller is a speck
JUNK = -4.0  # of a piece as tall as the line being no digit


@dataclass(frozen=True)
class Predictions:
    """What the network says of n frames.

    Attributes
    ----------
    probabilities : float64 (n, 10)
        Of each digit, if it is one; calibrated.
    digit : float64 (n,)
        How likely it is one at all, 0 to 1.
    is_digit : bool (n,)
        Whether that is likely enough.
    accepted : bool (n,)
        Whether it is, and which digit is sure enough, too, to need no review.
    """

    probabilities: NDArray[np.float64]
    digit: NDArray[np.float64]
    is_digit: NDArray[np.bool_]
    accepted: NDArray[np.bool_]


ClassifyFrames = Callable[[Frames], Predictions]


@dataclass(frozen=True)
class Found:
    """One mark of a picture and what the network says of it.

    Attributes
    ----------
    mark : Mark
        Where it is, and its frame.
    probabilities : float64 (10,)
        Of each digit, if it is one; calibrated.
    digit : float
        How likely it is one at all, 0 to 1.
    is_digit : bool
        Whether that is likely enough.
    accepted : bool
        Whether it is, and which digit is sure enough, too, to need no review.
    """

    mark: Mark
    probabilities: NDArray[np.float64]
    digit: float
    is_digit: bool
    accepted: bool


Lines = tuple[tuple[Found, ...], ...]


def read(picture: Picture, classify_frames: ClassifyFrames, segmenter: Segmenter) -> Lines:
    """Find all the digits of a picture: lines top to bottom, each left to right.

    A digit that plainly stands alone is taken as it is. Otherwise the ink is told from the paper in
    several ways, and what is read in it is believed where two of them agree. What is no digit is
    kept where it is as tall as one.

    Returns
    -------
    tuple of tuple of Found
        One tuple a line; empty for a blank.
    """
    return read_all([picture], classify_frames, segmenter)[0]


def read_all(
    pictures: Sequence[Picture], classify_frames: ClassifyFrames, segmenter: Segmenter
) -> list[Lines]:
    """As `read`, for each of many: those that need no preprocessing are classified at once."""
    ready = [preprocess.already_normal(picture) for picture in pictures]
    marks = [mark for mark in ready if mark is not None]
    classified = iter(_classified(marks, classify_frames) if marks else ())
    every = (
        _read(picture, classify_frames, segmenter) if mark is None else ((next(classified),),)
        for picture, mark in zip(pictures, ready, strict=True)
    )
    return [_benefit_of_doubt(lines) for lines in every]


def _benefit_of_doubt(lines: Lines) -> Lines:
    """Take for a digit, for review, what is likelier to be the one it seems than to be none."""
    return tuple(
        tuple(
            one if one.is_digit or _right(one) < NONE else replace(one, is_digit=True)
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
        picture = given  # what is faint in a soft shadow only seems to be an enlargement
    page = next(next(preprocess.pages(picture)))
    lines = _read_page(page, classify_frames)
    alone = len(lines) == 1 and len(lines[0]) == 1
    if alone and page.ink.sure and page.left_out < SPECKS and _all_accepted(lines):
        return lines
    connected, by_thing = [_mended(lines, page, classify_frames)], list[Lines]()
    looked_at = len(page.pieces)
    for page in preprocess.found(picture, segmenter):
        if looked_at > ENOUGH:
            break
        lines = _mended(_read_page(page, classify_frames), page, classify_frames)
        (by_thing if page.things else connected).append(lines)
        looked_at += len(page.things or page.pieces)
    return _agreed(connected, by_thing, UNSEEN * max(picture.width, picture.height))


def _mended(lines: Lines, page: Page, classify_frames: ClassifyFrames) -> Lines:
    """All of a page's ink as one digit whose pen skipped, where that is likelier than its lines."""
    parts = [piece for piece in page.pieces if piece.area >= CRUMB * page.pieces[0].area]
    if not 1 < len(parts) <= BROKEN:
        return lines
    (whole,) = _classified([page.mark(layout.together(parts))], classify_frames)
    likelier = whole.is_digit and _right(whole) + SKIPPED > _as_it_seems(lines)
    return ((whole,),) if likelier else lines


def _agreed(connected: Sequence[Lines], by_thing: Sequence[Lines], small: float) -> Lines:
    """The likeliest of several readings; what of it no other has, too, is not accepted.

    But what is smaller than `small`, pixels, of that the others may say nothing.

    Parameters
    ----------
    connected
        Readings of what hangs together.
    by_thing
        Readings by glyph instances: connected ones may be parts of one letter.
    small
        Longer side of a mark, pixels.
    """
    whole = [lines for lines in by_thing if not any(_are_legs(lines, ink) for ink in connected)]
    some = [lines for lines in (*connected, *whole) if lines]
    if not some:
        return ()
    others = [[other for other in some if other is not lines] for lines in some]
    every = list(zip(some, others, strict=True))
    lines, rest = max(every, key=lambda one: _likelihood(one[0], one[1], small))
    return tuple(
        tuple(replace(one, accepted=False) if _is_alone(one, rest, small) else one for one in line)
        for line in lines
    )


def _likelihood(lines: Lines, others: Sequence[Lines], small: float) -> float:
    """Log-likelihood of marks being what they seem, beside other readings of the same picture."""
    marks = _marks(lines)
    alone = sum(one.is_digit and _is_alone(one, others, small) for one in marks)
    lacking = max((sum(_lacks(lines, one) for one in _marks(other)) for other in others), default=0)
    return _as_it_seems(lines) + ALONE * alone + LACKING * lacking


def _as_it_seems(lines: Lines) -> float:
    """Log-likelihood of marks being what they seem, each by itself."""
    return sum(_right(one) if one.is_digit else NONE for one in _marks(lines))


def _is_alone(found: Found, others: Sequence[Lines], small: float) -> bool:
    """Whether no other reading has the same digit in the same place, which it should."""
    return max(found.mark.box[2:]) >= small and not any(
        one.is_digit
        and one.probabilities.argmax() == found.probabilities.argmax()
        and _centred_in(found.mark.box, one.mark.box)
        and _centred_in(one.mark.box, found.mark.box)
        for lines in others
        for one in _marks(lines)
    )


def _lacks(lines: Lines, found: Found) -> bool:
    """Whether lines have no mark where another reading has a digit."""
    return found.accepted and not any(
        _centred_in(found.mark.box, one.mark.box) for one in _marks(lines)
    )


def _are_legs(lines: Lines, others: Lines) -> bool:
    """Whether lines have nothing but ones where others have one mark that is no digit.

    They are more likely the legs of an H, an M or a W.
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
    """Read a picture too small to look for its ink by a network.

    Ways of telling ink from paper are tried until in one of them everything is a digit; else the
    one with the most digits and the least besides is taken. Light inside a dark mark is the hole of
    a letter, however like a one it looks, and so the other way round.
    """
    best: tuple[float, Lines] = (0.0, ())
    around: list[Box] = []
    for ways in preprocess.pages(picture):
        found: list[Box] = []
        for page in ways:
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
    """Take for no digit what lies inside one of the boxes."""
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


def _marks(lines: Lines) -> list[Found]:
    return [one for line in lines for one in line]


def _merit(found: Found) -> float:
    """What a mark speaks for a page: its size, times how likely it is the digit it seems."""
    right = found.digit * float(found.probabilities.max())
    return max(found.mark.box[2:]) * (right - 0.3 * (1 - right))


def main(lines: Lines) -> tuple[Lines, bool]:
    """The one digit of a picture, the largest there is, and whether there plainly are more.

    It is not accepted beside something as tall that is no digit: it may be a part of that.
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


def _classified(marks: Sequence[Mark], classify_frames: ClassifyFrames) -> list[Found]:
    said = classify_frames(np.stack([mark.frame for mark in marks]))
    return [
        Found(mark, row, float(digit), bool(is_digit), bool(accepted))
        for mark, row, digit, is_digit, accepted in zip(
            marks, said.probabilities, said.digit, said.is_digit, said.accepted, strict=True
        )
    ]


class _Weighed:
    """Pieces whose worth as a digit is known: each is shown to the network once."""

    def __init__(self, page: Page, classify_frames: ClassifyFrames) -> None:
        self._page, self._judge = page, classify_frames
        self._known: dict[tuple[int, ...], tuple[Piece, Found]] = {}

    def show(self, groups: Sequence[Sequence[Piece]]) -> None:
        """Let the network see several groups of pieces at once."""
        new = {_key(group): group for group in groups if _key(group) not in self._known}
        if not new:
            return
        wholes = [layout.together(group) for group in new.values()]
        found = _classified([self._page.mark(whole) for whole in wholes], self._judge)
        self._known |= dict(zip(new, zip(wholes, found, strict=True), strict=True))

    def of(self, group: Sequence[Piece]) -> tuple[Piece, Found]:
        """A group as one piece, and what the network said of it."""
        return self._known[_key(group)]


def _key(group: Sequence[Piece]) -> tuple[int, ...]:
    return tuple(id(piece) for piece in group)


def _read_page(page: Page, classify_frames: ClassifyFrames) -> Lines:
    if not page.pieces:
        return ()
    weighed = _Weighed(page, classify_frames)
    weighed.show([[piece] for piece in page.pieces])
    pieces = _apart(page, weighed)
    if len(pieces) == 1 and weighed.of(pieces)[1].accepted:
        return ((weighed.of(pieces)[1],),)
    height = _height(pieces, weighed)
    lines = []
    for line in layout.lines_of(pieces, height):
        found = _read_line(line, height, weighed)
        if found:
            lines.append(found)
    return tuple(lines)


def _apart(page: Page, weighed: _Weighed) -> Sequence[Piece]:
    """A page's things where they are known, but in one piece what is a digit as a whole."""
    if not page.things:
        return page.pieces
    wholes: list[Piece] = []
    things = list(page.things)
    for piece in page.pieces:
        of_it = [thing for thing in things if layout.shared(thing, piece) > WITHIN * thing.area]
        if len(of_it) > 1 and weighed.of([piece])[1].accepted:
            wholes.append(piece)
            things = [thing for thing in things if all(thing is not part for part in of_it)]
    pieces = sorted([*wholes, *things], key=lambda piece: -piece.area)
    weighed.show([[piece] for piece in pieces])
    return pieces


def _height(pieces: Sequence[Piece], weighed: _Weighed) -> int:
    """How tall the digits are: the tallest piece that is surely one, or else the tallest."""
    sure = [piece for piece in pieces if weighed.of([piece])[1].accepted]
    return max(piece.height for piece in sure or pieces)


def _read_line(line: list[Piece], height: int, weighed: _Weighed) -> tuple[Found, ...]:
    """The likeliest way to put the pieces of a line together.

    What is tall in it and no digit is kept as a mark; what is small is dropped.
    """
    pieces = [part for piece in line for part in _divided(piece, height, weighed)]
    kept = []
    for group in _best_path(pieces, height, weighed, _joined):
        whole, found = weighed.of(group)
        tall = max(whole.height, whole.width) > 0.4 * height
        if tall or _is_digit(whole, found, height):
            kept.append(found)
    return tuple(kept)


def _divided(piece: Piece, height: int, weighed: _Weighed) -> list[Piece]:
    """The digits of a piece if it is several that touch, and all of them are; else the piece.

    Nothing but ones are more likely legs; see `_are_legs`.
    """
    pen = layout.stroke_width(piece.mask)
    wide = piece.width > TO_CUT * height and pen < THICKEST * height
    if not wide or weighed.of([piece])[1].accepted:
        return [piece]
    parts = layout.cuts(piece, pen)
    groups = _best_path(parts, height, weighed, _cut)
    found = [weighed.of(group)[1] for group in groups]
    ones = all(one.probabilities.argmax() == 1 for one in found)
    if len(groups) > 1 and all(one.accepted for one in found) and not ones:
        return [layout.together(group) for group in groups]
    return [piece]


def _best_path(
    pieces: list[Piece],
    height: int,
    weighed: _Weighed,
    cost: Callable[[Sequence[Piece], int], float],
) -> list[list[Piece]]:
    """The likeliest way to group neighbours to digits, by dynamic programming.

    As in LeCun et al., "Gradient-Based Learning Applied to Document Recognition", Proc. IEEE 1998,
    section V: a graph of candidate segments, and the best path through it. `cost` is the
    log-likelihood of a group being written as these pieces.
    """
    spans = [
        (start, stop)
        for stop in range(1, len(pieces) + 1)
        for start in range(max(0, stop - MOST), stop)
        if stop == start + 1 or _compact(pieces[start:stop], height)
    ]
    weighed.show([pieces[start:stop] for start, stop in spans])
    nothing: list[list[Piece]] = []
    best = [(0.0, nothing)] + [(-np.inf, nothing)] * len(pieces)
    for start, stop in spans:
        group = pieces[start:stop]
        whole, found = weighed.of(group)
        worth = _worth(whole, found, height)
        if len(group) == 1:
            worth = max(worth, _junk(whole, height))
        value = best[start][0] + worth + cost(group, height)
        if value > best[stop][0]:
            best[stop] = (value, [*best[start][1], group])
    return best[-1][1]


def _joined(group: Sequence[Piece], height: int) -> float:
    tall = sum(piece.height > 0.5 * height for piece in group)
    return JOIN * max(0, tall - 1)


def _cut(group: Sequence[Piece], height: int) -> float:
    del group, height
    return CUT


def _worth(whole: Piece, found: Found, height: int) -> float:
    """Log-likelihood of a piece being the digit that it seems, and as low as it is."""
    share = min(1.0, max(whole.height, whole.width) / height)
    odd = -0.5 * float(np.log(share) / 0.35) ** 2
    return _right(found) + odd


def _right(found: Found) -> float:
    """Log-likelihood of a mark being the digit that it seems."""
    return _log(found.digit) + _log(float(found.probabilities.max()))


def _junk(whole: Piece, height: int) -> float:
    """Log-likelihood of a piece being no digit."""
    return JUNK * min(1.0, max(whole.height, whole.width) / height) - 0.3


def _is_digit(whole: Piece, found: Found, height: int) -> bool:
    return _worth(whole, found, height) >= _junk(whole, height)


def _compact(group: Sequence[Piece], height: int) -> bool:
    left, right = min(piece.left for piece in group), max(piece.right for piece in group)
    top, bottom = min(piece.top for piece in group), max(piece.bottom for piece in group)
    return right - left < WIDEST * height and bottom - top < 1.6 * height


def _log(value: float) -> float:
    return float(np.log(max(value, 1e-6)))
