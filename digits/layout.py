"""Ink to pieces in lines: what was written in one go, what stands beside what, where to cut.

A piece is not yet a digit: a digit may be several, and digits that touch are one until they are
cut. `digits.reading` weighs the possibilities.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from digits.components import Components, connected
from digits.ink import Ink, Mask, along_border
from digits.morphology import extreme, padded, running_sums

OUTSIDE = (1, 3)  # how far from a stroke the paper beside it is looked at, pixels
LOCAL = 6  # how far from there the stroke is looked at, pixels
AROUND = 0.7  # how much of that must be lighter than the stroke
APART = 0.14  # between two cuts, as a share of the height
CROSSED = 3  # the most ink that a cut may cross, in widths of the pen
BLOT = 0.5  # of a stroke, as a share of the piece's longer side: no digit is so bold
WINDING = 5  # of a stroke's length, in longer sides of the piece: an 8 winds less, noise more
CROPPED = 6  # the most pieces of what is taken for a tight crop
MAX_PIECES = 200  # more than any page has digits; bounds the work on a picture of gravel


@dataclass(frozen=True)
class Piece:
    """Ink that belongs together.

    Attributes
    ----------
    left, top : int
        Where the upper left corner of `mask` is in the picture.
    mask : bool (h, w)
        The ink, touching all four sides.
    """

    left: int
    top: int
    mask: Mask

    @property
    def right(self) -> int:
        """Just outside."""
        return self.left + self.width

    @property
    def bottom(self) -> int:
        """Just outside."""
        return self.top + self.height

    @property
    def height(self) -> int:
        """In pixels of the ink."""
        return int(self.mask.shape[0])

    @property
    def width(self) -> int:
        """In pixels of the ink."""
        return int(self.mask.shape[1])

    @property
    def area(self) -> int:
        """Pixels that are ink."""
        return int(np.count_nonzero(self.mask))


def together(pieces: Sequence[Piece]) -> Piece:
    """Several pieces as one."""
    if len(pieces) == 1:
        return pieces[0]
    left, top = min(piece.left for piece in pieces), min(piece.top for piece in pieces)
    right, bottom = max(piece.right for piece in pieces), max(piece.bottom for piece in pieces)
    mask = np.zeros((bottom - top, right - left), np.bool_)
    for piece in pieces:
        mask[piece.top - top : piece.bottom - top, piece.left - left : piece.right - left] |= (
            piece.mask
        )
    return Piece(left, top, mask)


def shared(one: Piece, other: Piece) -> int:
    """Pixels that two pieces have in common."""
    left, right = max(one.left, other.left), min(one.right, other.right)
    top, bottom = max(one.top, other.top), min(one.bottom, other.bottom)
    if left >= right or top >= bottom:
        return 0
    ours, theirs = (
        piece.mask[top - piece.top : bottom - piece.top, left - piece.left : right - piece.left]
        for piece in (one, other)
    )
    return int(np.count_nonzero(ours & theirs))


def pieces_of(ink: Ink) -> list[Piece]:
    """The pieces of a picture, the largest first: no specks, no edges of page or shadow.

    What lies right above what, broken by a pen that skipped, is one piece.
    """
    parts = connected(ink.mask)
    pieces = [_piece(parts, part) for part in _strokes(parts, ink)]
    if ink.tight:
        few = len(pieces) <= CROPPED
        return _stacked(pieces) if few and all(map(_may_be_penned, pieces)) else []
    return _stacked([piece for piece in pieces if _stands_out(piece, ink)])


def parts_of(mask: Mask) -> list[Piece]:
    """The pieces of ink that is known to be ink, the largest first: all but specks."""
    parts = connected(mask)
    extent = np.maximum(parts.right - parts.left, parts.bottom - parts.top)
    chosen = _largest_first(parts, extent >= smallest(mask.shape))
    return _stacked([_piece(parts, part) for part in chosen])


def smallest(shape: tuple[int, ...]) -> float:
    """The longer side of the smallest thing in a picture that is no speck, pixels."""
    return max(5, 0.015 * max(shape))


def lines_of(pieces: Sequence[Piece], height: int) -> list[list[Piece]]:
    """Order pieces to lines, top to bottom, each left to right.

    From the left, each piece of at least half of `height` joins the line whose last one it is
    beside; smaller ones join the line that they are nearest to, or none.
    """
    tall = [piece for piece in pieces if piece.height >= 0.45 * height]
    lines: list[list[Piece]] = []
    for piece in sorted(tall, key=lambda piece: piece.left):
        beside = max(lines, key=lambda line: _overlap(line[-1], piece), default=None)
        if beside is None or _overlap(beside[-1], piece) < 0.4:
            lines.append([piece])
        else:
            beside.append(piece)
    lines.sort(key=lambda line: float(np.mean([piece.top for piece in line])))
    for piece in pieces:
        if piece.height < 0.45 * height:
            near = min(
                ((_distance(piece, other), number) for number, line in enumerate(lines)
                 for other in line if other.height >= 0.45 * height),
                default=(np.inf, 0),
            )  # fmt: skip
            if near[0] < 0.4 * height:
                lines[near[1]].append(piece)
    return [sorted(line, key=lambda piece: piece.left + piece.right) for line in lines]


def cuts(piece: Piece, pen: float) -> list[Piece]:
    """Cut a piece wherever digits may touch, from top to bottom, and give what is left to right.

    Each cut is a path down the piece that crosses little ink, by dynamic programming over its rows,
    as seams are carved (Avidan and Shamir, "Seam Carving for Content-Aware Image Resizing",
    SIGGRAPH 2007): of those that run through each tenth or so of the height, the cheapest.

    Parameters
    ----------
    piece
        What to cut.
    pen
        The width of its strokes, pixels. A cut crosses at most thrice of that.
    """
    cost, place, step = _seams(piece.mask)
    apart = max(2, round(APART * piece.height))
    paths: list[NDArray[np.intp]] = []
    for start in range(apart, piece.width - apart + 1, apart):
        near = np.flatnonzero((place >= start - apart / 2) & (place < start + apart / 2))
        if len(near):
            end = int(near[cost[near].argmin()])
            if cost[end] <= CROSSED * pen + 1:
                paths.append(_path(step, end))
    side = np.zeros(piece.mask.shape, np.intp)
    for path in np.maximum.accumulate(paths) if paths else ():
        side += np.arange(piece.width) >= path[:, None]
    found = [trimmed(piece, piece.mask & (side == number)) for number in range(len(paths) + 1)]
    return [part for part in found if part is not None]


def stroke_width(mask: Mask) -> float:
    """Mean width of the strokes of a mask, pixels: twice the area over the outline's length.

    The outline is counted in pixel sides, which overstates a curve's by 4/pi on average.
    """
    wide = padded(mask, 1)
    across, down = wide[:, 1:] != wide[:, :-1], wide[1:] != wide[:-1]
    sides = np.count_nonzero(across) + np.count_nonzero(down)
    return float(2 * np.count_nonzero(mask) / (sides * np.pi / 4))


def _may_be_penned(piece: Piece) -> bool:
    """Whether a pen may have written a piece of a crop: no blot, nor noise, a tangle of grains."""
    pen, side = stroke_width(piece.mask), max(piece.mask.shape)
    return bool(pen <= BLOT * side and piece.area <= WINDING * side * pen)


def _piece(parts: Components, part: int) -> Piece:
    left, top = int(parts.left[part]), int(parts.top[part])
    window = parts.labels[top : int(parts.bottom[part]), left : int(parts.right[part])]
    return Piece(left, top, window == part + 1)


def _strokes(parts: Components, ink: Ink) -> list[int]:
    """Choose the parts that may be strokes of digits: no specks, no edges of page or shadow."""
    if len(parts) == 0:
        return []
    height, width = ink.mask.shape
    wide, high = parts.right - parts.left, parts.bottom - parts.top
    extent = np.maximum(wide, high)
    sides = np.stack(
        [parts.left == 0, parts.top == 0, parts.right == width, parts.bottom == height]
    ).sum(axis=0)
    edge = ((sides > 1) | along_border(parts, 0.5)) & (not ink.tight)
    flat = wide > 14 * high
    speck = extent < smallest(ink.mask.shape)
    steep = parts.labels.ravel()[np.flatnonzero(ink.steep & ink.mask)]
    vague = np.bincount(steep, minlength=len(parts) + 1)[1:] < 0.5 * extent
    return _largest_first(parts, ~(edge | (flat & (not ink.tight)) | speck | vague))


def _largest_first(parts: Components, possible: Mask) -> list[int]:
    """The possible parts that are not tiny beside the largest of them, at most `MAX_PIECES`."""
    if not possible.any():
        return []
    possible = possible & (parts.area > 0.01 * parts.area[possible].max())
    order = np.argsort(-parts.area * possible, kind="stable")
    return [int(part) for part in order[: min(MAX_PIECES, int(possible.sum()))]]


def _stands_out(piece: Piece, ink: Ink) -> bool:
    """Whether the paper is lighter than a piece on all sides of it, as of a pen's stroke.

    A shadow's edge has lighter paper on one side alone; beyond the picture's border there is none.
    What is lighter is asked of each place beside the piece by itself, since light may fall on half.
    """
    margin = OUTSIDE[1] + 1
    grey, there = _around(ink.grey, piece, margin)
    amount, _ = _around(ink.amount, piece, margin)
    own = padded(piece.mask, margin)
    near, far = (extreme(padded(own, reach), 2 * reach + 1, np.logical_or) for reach in OUTSIDE)
    beside = np.flatnonzero(far & ~near)
    sums = _sums(np.stack([own, grey * own, amount * own]), LOCAL)
    count, dark, share = sums.reshape(3, -1).take(beside, axis=1)
    level, share = dark / count.clip(1), (share / count.clip(1)).clip(0, 0.95)
    light = grey.take(beside) > level * (1 + 0.5 * share / (1 - share))
    return bool(np.count_nonzero(light & there.take(beside)) > AROUND * len(beside))


def _around(plane: NDArray[Any], piece: Piece, margin: int) -> tuple[NDArray[np.float32], Mask]:
    """A plane where a piece is and `margin` pixels beyond, and what of that the picture has."""
    height, width = plane.shape
    top, left = piece.top - margin, piece.left - margin
    window = np.zeros((piece.height + 2 * margin, piece.width + 2 * margin), np.float32)
    there = np.zeros(window.shape, np.bool_)
    rows = slice(max(top, 0), min(piece.bottom + margin, height))
    columns = slice(max(left, 0), min(piece.right + margin, width))
    place = (
        slice(rows.start - top, rows.stop - top),
        slice(columns.start - left, columns.stop - left),
    )
    window[place] = plane[rows, columns]
    there[place] = True
    return window, there


def _sums(values: NDArray[Any], reach: int) -> NDArray[np.float32]:
    """Sums over squares of 2 `reach` + 1 pixels of planes, (n, h, w)."""
    size, (count, height, width) = 2 * reach + 1, values.shape
    sums = np.zeros((count, height + size - 1, width + size - 1), np.float32)
    sums[:, reach : reach + height, reach : reach + width] = values
    return running_sums(sums, size, (1, 2))


def _stacked(pieces: list[Piece]) -> list[Piece]:
    """Join each piece to a larger one that it lies right above or below, and nearly touches."""
    groups: list[Piece] = []
    for piece in pieces:
        home = next((k for k, other in enumerate(groups) if _is_stacked(piece, other)), None)
        if home is None:
            groups.append(piece)
        else:
            groups[home] = together([groups[home], piece])
    return sorted(groups, key=lambda piece: -piece.area)


def _is_stacked(piece: Piece, other: Piece) -> bool:
    shared = min(piece.right, other.right) - max(piece.left, other.left)
    gap = max(piece.top, other.top) - min(piece.bottom, other.bottom)
    size = max(other.height, other.width)
    if shared < 0.5 * piece.width:
        return False
    small = piece.height < 0.5 * other.height
    return gap < (0.2 if small else 0.06) * size and -gap < 0.35 * piece.height


def _overlap(one: Piece, other: Piece) -> float:
    """How far two pieces share rows, as a share of the lower one's height; negative if apart."""
    shared = min(one.bottom, other.bottom) - max(one.top, other.top)
    return shared / min(one.height, other.height)


def _distance(one: Piece, other: Piece) -> float:
    """Between two boxes, pixels."""
    x = max(one.left, other.left) - min(one.right, other.right)
    y = max(one.top, other.top) - min(one.bottom, other.bottom)
    return float(np.hypot(max(x, 0), max(y, 0)))


def _seams(
    mask: Mask,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.intp]]:
    """The cheapest path down to each column: its cost, its mean column, (w,); its steps, (h, w).

    It costs the ink that it crosses. It moves at most one column a row, which costs a little, lest
    it wander.
    """
    height, width = mask.shape
    ink = mask.astype(np.float32)
    cost, place = ink[0].copy(), np.arange(width, dtype=np.float32)
    step = np.zeros((height, width), np.intp)
    columns = np.arange(width)
    for row in range(1, height):
        wide = np.pad(cost, 1, constant_values=np.inf)
        ways = np.stack([wide[1:-1], wide[:-2] + 0.1, wide[2:] + 0.1])
        best = ways.argmin(axis=0)
        step[row] = np.array([0, -1, 1])[best]
        cost = ways[best, columns] + ink[row]
        place = place[columns + step[row]] + columns
    return cost, place / height, step


def _path(step: NDArray[np.intp], end: int) -> NDArray[np.intp]:
    """The column of a path in each row, (h,)."""
    path = np.empty(len(step), np.intp)
    for row in range(len(step) - 1, -1, -1):
        path[row] = end
        end += int(step[row, end])
    return path


def trimmed(piece: Piece, mask: Mask) -> Piece | None:
    """The part of a piece that `mask`, as large as its own, leaves; None if that is none."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) == 0:
        return None
    window = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return Piece(piece.left + int(columns[0]), piece.top + int(rows[0]), window)
