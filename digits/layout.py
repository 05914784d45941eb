"""Glyph candidates of binarised ink: connected components, line grouping and cuts.

A piece is a candidate: a digit can consist of several pieces, and touching digits are one piece
until they are cut. `digits.reading` chooses the likeliest grouping.
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

# All chosen by eye on development pictures.
OUTSIDE = (1, 3)  # pixels, range of distances from a stroke in which its paper is compared
LOCAL = 6  # pixels, distance from there in which the stroke's brightness is measured
AROUND = 0.7  # share of the paper around a stroke that must be lighter than the stroke
APART = 0.14  # least distance of two cuts, share of the height
CROSSED = 3  # most ink that a cut crosses, in stroke widths
BLOT = 0.5  # largest stroke width of a digit, share of the piece's longer side
WINDING = 5  # largest stroke length, in longer sides of the piece; less than in noise
CROPPED = 6  # most pieces in a picture that is taken for a tight crop
MAX_PIECES = 200  # of a picture; bounds the time, and is more than the digits of a page


@dataclass(frozen=True)
class Piece:
    """A glyph candidate: a mask and its position.

    Attributes
    ----------
    left, top : int
        Upper left corner of `mask` in the binarised picture, pixels.
    mask : bool (h, w)
        The ink, cut to its bounding box.
    """

    left: int
    top: int
    mask: Mask

    @property
    def right(self) -> int:
        """Right side of the box, pixels; exclusive."""
        return self.left + self.width

    @property
    def bottom(self) -> int:
        """Lower side of the box, pixels; exclusive."""
        return self.top + self.height

    @property
    def height(self) -> int:
        """Height of the box, pixels."""
        return int(self.mask.shape[0])

    @property
    def width(self) -> int:
        """Width of the box, pixels."""
        return int(self.mask.shape[1])

    @property
    def area(self) -> int:
        """Number of ink pixels."""
        return int(np.count_nonzero(self.mask))


def together(pieces: Sequence[Piece]) -> Piece:
    """Return the union of several pieces as one piece."""
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
    """Return the number of pixels that two pieces have in common."""
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
    """Return the pieces of a binarisation, the largest first, without specks and edges.

    Edges are those of the page and of shadows. Components that are stacked with a small gap, as by
    a pen that skipped, are joined to one piece.
    """
    parts = connected(ink.mask)
    pieces = [_piece(parts, part) for part in _strokes(parts, ink)]
    if ink.tight:
        few = len(pieces) <= CROPPED
        return _stacked(pieces) if few and all(map(_may_be_penned, pieces)) else []
    return _stacked([piece for piece in pieces if _stands_out(piece, ink)])


def parts_of(mask: Mask) -> list[Piece]:
    """Return the pieces of a mask of ink, the largest first, without specks."""
    parts = connected(mask)
    extent = np.maximum(parts.right - parts.left, parts.bottom - parts.top)
    chosen = _largest_first(parts, extent >= smallest(mask.shape))
    return _stacked([_piece(parts, part) for part in chosen])


def smallest(shape: tuple[int, ...]) -> float:
    """Return the longer side below which a piece of a picture is a speck, pixels."""
    return max(5, 0.015 * max(shape))


def lines_of(pieces: Sequence[Piece], height: int) -> list[list[Piece]]:
    """Group pieces to text lines, from top to bottom, each from left to right.

    From left to right, each piece of about half of `height` or more joins the line whose last piece
    it overlaps vertically, or starts a new line. Smaller pieces join the nearest line, or are left
    out if none is near.
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
    """Cut a piece wherever digits may touch, and return the parts from left to right.

    A cut is a path from top to bottom that crosses little ink, found by dynamic programming over
    the rows as in seam carving (Avidan and Shamir, "Seam Carving for Content-Aware Image Resizing",
    SIGGRAPH 2007). There is at most one cut, the cheapest, in each interval of `APART` of the
    height.

    Parameters
    ----------
    piece
        The piece to cut.
    pen
        Width of its strokes, pixels. A cut crosses at most `CROSSED` times as much ink.
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
    """Return the mean stroke width of a mask, pixels: twice the area over the outline's length.

    The outline is counted in sides of pixels, which overestimates a curve's length by 4/pi.
    """
    wide = padded(mask, 1)
    across, down = wide[:, 1:] != wide[:, :-1], wide[1:] != wide[:-1]
    sides = np.count_nonzero(across) + np.count_nonzero(down)
    return float(2 * np.count_nonzero(mask) / (sides * np.pi / 4))


def _may_be_penned(piece: Piece) -> bool:
    """Whether a piece of a crop can be a digit: neither as bold as a blot nor as long as noise."""
    pen, side = stroke_width(piece.mask), max(piece.mask.shape)
    return bool(pen <= BLOT * side and piece.area <= WINDING * side * pen)


def _piece(parts: Components, part: int) -> Piece:
    left, top = int(parts.left[part]), int(parts.top[part])
    window = parts.labels[top : int(parts.bottom[part]), left : int(parts.right[part])]
    return Piece(left, top, window == part + 1)


def _strokes(parts: Components, ink: Ink) -> list[int]:
    """Choose the components that can be strokes of digits: no specks, edges, lines or blurs."""
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
    """Return the possible components of at least 1 % of the largest area, up to `MAX_PIECES`."""
    if not possible.any():
        return []
    possible = possible & (parts.area > 0.01 * parts.area[possible].max())
    order = np.argsort(-parts.area * possible, kind="stable")
    return [int(part) for part in order[: min(MAX_PIECES, int(possible.sum()))]]


def _stands_out(piece: Piece, ink: Ink) -> bool:
    """Whether the paper is lighter than a piece on all sides of it, as around a stroke.

    At the edge of a shadow it is lighter on one side only. Pixels beyond the picture's border do
    not count as lighter. Each pixel around the piece is compared with the part of the piece that is
    near it, because a shadow may cover a part of both.
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
    """Return the window of a plane around a piece, and which of its pixels are in the picture."""
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
    """Return sums over squares of 2 `reach` + 1 pixels of planes, (n, h, w)."""
    size, (count, height, width) = 2 * reach + 1, values.shape
    sums = np.zeros((count, height + size - 1, width + size - 1), np.float32)
    sums[:, reach : reach + height, reach : reach + width] = values
    return running_sums(sums, size, (1, 2))


def _stacked(pieces: list[Piece]) -> list[Piece]:
    """Join each piece to a larger one directly above or below it, if the gap is small."""
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
    """Return the vertical overlap as a share of the lower piece's height; negative if apart."""
    shared = min(one.bottom, other.bottom) - max(one.top, other.top)
    return shared / min(one.height, other.height)


def _distance(one: Piece, other: Piece) -> float:
    """Return the distance of two boxes, pixels."""
    x = max(one.left, other.left) - min(one.right, other.right)
    y = max(one.top, other.top) - min(one.bottom, other.bottom)
    return float(np.hypot(max(x, 0), max(y, 0)))


def _seams(
    mask: Mask,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.intp]]:
    """Find the cheapest path from the top to each column of the last row.

    Returns the cost and the mean column of each path, (w,), and the steps, (h, w). The cost is the
    ink that the path crosses, and a tenth of a pixel for each step to a neighbouring column.
    """
    height, width = mask.shape
    ink = mask.astype(np.float32)
    cost, place = ink[0].copy(), np.arange(width, dtype=np.float32)
    step = np.zeros((height, width), np.intp)
    columns = np.arange(width)
    for row in range(1, height):
        wide = np.pad(cost, 1, constant_values=np.inf)
        costs = np.stack([wide[1:-1], wide[:-2] + 0.1, wide[2:] + 0.1])
        best = costs.argmin(axis=0)
        step[row] = np.array([0, -1, 1])[best]
        cost = costs[best, columns] + ink[row]
        place = place[columns + step[row]] + columns
    return cost, place / height, step


def _path(step: NDArray[np.intp], end: int) -> NDArray[np.intp]:
    """Return the column of a path in each row, (h,), from the steps and its last column."""
    path = np.empty(len(step), np.intp)
    for row in range(len(step) - 1, -1, -1):
        path[row] = end
        end += int(step[row, end])
    return path


def trimmed(piece: Piece, mask: Mask) -> Piece | None:
    """Return the part of a piece that is in `mask`, of the shape of its own; None if empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) == 0:
        return None
    window = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return Piece(piece.left + int(columns[0]), piece.top + int(rows[0]), window)
