"""Pages to digits in lines: which pieces make a digit, where digits touch, what is none.

Ways of putting pieces together are weighed by the network's own words: how likely each is a digit,
and which.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from digits import layout, preprocess
from digits.image import Picture
from digits.layout import Piece
from digits.preprocess import Mark, Page

Frames = NDArray[np.float32]

MOST = 4  # pieces that one digit may be made of
WIDEST = 1.7  # of a digit, in heights of the line
TO_CUT = 0.6  # how wide a piece must be to be several digits, in heights of the line
CUT = -2.0  # log-likelihood of one cut being right: one pair of neighbours in twenty touches
JOIN = -2.0  # of one pair of pieces as tall as the line being one digit
JUNK = -4.0  # of a piece as tall as the line being no digit


@dataclass(frozen=True)
class Opinions:
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


Judge = Callable[[Frames], Opinions]


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


def read(picture: Picture, judge: Judge) -> Lines:
    """Find all the digits of a picture: lines top to bottom, each left to right.

    Ways of telling ink from paper are tried until in one of them everything is a digit; else the
    one with the most digits and the least besides is taken. What is none is kept where it is as
    tall as a digit.

    Returns
    -------
    tuple of tuple of Found
        One tuple a line; empty for a blank.
    """
    ready = preprocess.already_normal(picture)
    if ready is not None:
        return (tuple(_judged([ready], judge)),)
    best: tuple[float, Lines] = (0.0, ())
    for ways in preprocess.pages(picture):
        for page in ways:
            lines = _read_page(page, judge)
            if page.ink.sure and _all_accepted(lines):
                return lines
            merit = sum(_merit(one) for line in lines for one in line)
            if lines and (merit > best[0] or not best[1]):
                best = (merit, lines)
        if _all_accepted(best[1]):
            break
    return best[1]


def _all_accepted(lines: Lines) -> bool:
    return bool(lines) and all(one.accepted for line in lines for one in line)


def _merit(found: Found) -> float:
    """What a mark speaks for a page: its size, times how likely it is the digit it seems."""
    right = found.digit * float(found.probabilities.max())
    return max(found.mark.box[2:]) * (right - 0.3 * (1 - right))


def main(lines: Lines) -> tuple[Lines, bool]:
    """The one digit of a picture, the largest there is, and whether there plainly are more."""
    found = [one for line in lines for one in line]
    if not found:
        return (), False
    some = [one for one in found if one.accepted] or found
    largest = max(some, key=lambda one: one.mark.box[2] * one.mark.box[3])
    rivals = [one for one in some if one.mark.box[3] > 0.5 * largest.mark.box[3]]
    return ((largest,),), len(rivals) > 1


def _judged(marks: Sequence[Mark], judge: Judge) -> list[Found]:
    said = judge(np.stack([mark.frame for mark in marks]))
    return [
        Found(mark, row, float(digit), bool(is_digit), bool(accepted))
        for mark, row, digit, is_digit, accepted in zip(
            marks, said.probabilities, said.digit, said.is_digit, said.accepted, strict=True
        )
    ]


class _Weighed:
    """Pieces whose worth as a digit is known: each is shown to the network once."""

    def __init__(self, page: Page, judge: Judge) -> None:
        self._page, self._judge = page, judge
        self._known: dict[tuple[int, ...], tuple[Piece, Found]] = {}

    def show(self, groups: Sequence[Sequence[Piece]]) -> None:
        """Let the network see several groups of pieces at once."""
        new = {_key(group): group for group in groups if _key(group) not in self._known}
        if not new:
            return
        wholes = [layout.together(group) for group in new.values()]
        found = _judged([self._page.mark(whole) for whole in wholes], self._judge)
        self._known |= dict(zip(new, zip(wholes, found, strict=True), strict=True))

    def of(self, group: Sequence[Piece]) -> tuple[Piece, Found]:
        """A group as one piece, and what the network said of it."""
        return self._known[_key(group)]


def _key(group: Sequence[Piece]) -> tuple[int, ...]:
    return tuple(id(piece) for piece in group)


def _read_page(page: Page, judge: Judge) -> Lines:
    if not page.pieces:
        return ()
    weighed = _Weighed(page, judge)
    weighed.show([[piece] for piece in page.pieces])
    if len(page.pieces) == 1 and weighed.of(page.pieces)[1].accepted:
        return ((weighed.of(page.pieces)[1],),)
    height = _height(page, weighed)
    lines = []
    for line in layout.lines_of(page.pieces, height):
        found = _read_line(line, height, weighed)
        if found:
            lines.append(found)
    return tuple(lines)


def _height(page: Page, weighed: _Weighed) -> int:
    """How tall the page's digits are: the tallest that is surely one, or else the tallest piece."""
    sure = [piece.height for piece in page.pieces if weighed.of([piece])[1].accepted]
    areas = [piece.height for piece in page.pieces]
    return max(sure or areas)


def _read_line(line: list[Piece], height: int, weighed: _Weighed) -> tuple[Found, ...]:
    """The likeliest way to put the pieces of a line together, by dynamic programming.

    As in LeCun et al., "Gradient-Based Learning Applied to Document Recognition", Proc. IEEE 1998,
    section V: a graph of candidate segments, and the best path through it.
    """
    atoms, cut = _atoms(line, height, weighed)
    groups = [
        (start, stop)
        for start in range(len(atoms))
        for stop in range(start + 1, min(start + MOST, len(atoms)) + 1)
        if stop == start + 1 or _compact(atoms[start:stop], height)
    ]
    weighed.show([atoms[start:stop] for start, stop in groups])
    nothing: tuple[Found, ...] = ()
    best = [(0.0, nothing)] + [(-np.inf, nothing)] * len(atoms)
    for start, stop in sorted(groups, key=lambda group: group[1]):
        whole, found = weighed.of(atoms[start:stop])
        joins = sum(
            not cut[place] and min(atoms[place - 1].height, atoms[place].height) > 0.5 * height
            for place in range(start + 1, stop)
        )
        cost = (CUT if cut[start] else 0.0) + JOIN * joins
        digit = _log(found.digit) + _log(float(found.probabilities.max())) + _odd(whole, height)
        junk = JUNK * min(1.0, max(whole.height, whole.width) / height) - 0.3
        if stop > start + 1:
            junk = -np.inf
        kept: tuple[Found, ...] = (found,)
        if junk > digit:
            kept = (found,) if max(whole.height, whole.width) > 0.4 * height else ()
        value = best[start][0] + cost + max(digit, junk)
        if value > best[stop][0]:
            best[stop] = (value, best[start][1] + kept)
    return best[-1][1]


def _atoms(
    line: list[Piece], height: int, weighed: _Weighed
) -> tuple[list[Piece], NDArray[np.bool_]]:
    """The pieces of a line, cut where they may be several digits; and which follow a cut."""
    atoms: list[Piece] = []
    cut: list[bool] = []
    for piece in line:
        parts = [piece]
        if piece.width > TO_CUT * height and not weighed.of([piece])[1].accepted:
            parts = layout.cuts(piece, preprocess.stroke_width(piece.mask))
        if len(parts) == 1:
            parts = [piece]
        atoms += parts
        cut += [False] + [True] * (len(parts) - 1)
    return atoms, np.array(cut, np.bool_)


def _compact(group: Sequence[Piece], height: int) -> bool:
    left, right = min(piece.left for piece in group), max(piece.right for piece in group)
    top, bottom = min(piece.top for piece in group), max(piece.bottom for piece in group)
    return right - left < WIDEST * height and bottom - top < 1.6 * height


def _odd(whole: Piece, height: int) -> float:
    """Log-likelihood of a digit being so much lower than the line."""
    share = min(1.0, max(whole.height, whole.width) / height)
    return -0.5 * float(np.log(share) / 0.35) ** 2


def _log(value: float) -> float:
    return float(np.log(max(value, 1e-6)))
