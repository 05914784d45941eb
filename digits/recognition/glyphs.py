"""Glyph candidates: instance segmentation on one level of the image pyramid.

Each pixel with ink votes for a glyph's centre, and the pixels that vote for the same centre form a
glyph. Connected components are an alternative, for digits whose votes are split.

Part of the page reader in development; not in service.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from digits.components import connected
from digits.morphology import extreme, padded
from digits.recognition.config import SegmentationConfig
from digits.recognition.outputs import CELL, HALF

Grey = NDArray[np.uint8]
Plane = NDArray[np.float32]
Mask = NDArray[np.bool_]
Window = tuple[slice, slice]  # rows and columns

# A component is handwriting if its summed probability of handwriting exceeds this share of its
# summed probability of print. Below 1, because parts of straight strokes look like ruling lines.
# Chosen by eye on development pictures.
HANDWRITING_RATIO = 0.4
# Pixels, longer side of a component that is reclassified at most; larger ones are forms and tables
# with touching handwriting. Chosen by eye on development pictures.
MAX_STROKE_SIDE = 140
MIN_SIDE = 4  # pixels; a glyph with a shorter longer side is a speck
MAX_GLYPHS = 2_000  # of one level; a dense A4 sheet has about a thousand
_LEAST_REACH = 16.0  # pixels, least glyph size from which the tolerance of votes is computed
_AT_ONCE = 2_000  # votes whose distances to all centres are computed at once, in up to 32 MB
# Cells of the heat map: centres within this distance are searched first, which is faster; a vote
# without one is compared with all centres.
_REACH = 16


@dataclass(frozen=True)
class Level:
    """A level of the image pyramid with the segmentation network's outputs.

    Its sides are padded to multiples of 16 with copies of the last row and column.

    Attributes
    ----------
    grey : uint8 (h, w)
        The picture at the level's scale.
    scale : float
        Pixels of the level for one pixel of the full-size picture.
    handwriting, digit, printed, background : uint8 (h, w)
        Probability of each kind at each pixel, where 255 is 1; 0 in the padding and where the
        network was not run. Handwriting includes digits.
    owner : int16 (h, w)
        Number of the glyph that each pixel of handwriting belongs to; -1 elsewhere.
    """

    grey: Grey
    scale: float
    handwriting: Grey
    digit: Grey
    printed: Grey
    background: Grey
    owner: NDArray[np.int16]


@dataclass(frozen=True)
class Glyph:
    """A glyph candidate: the ink of one glyph on the level that resolves it best.

    Attributes
    ----------
    level : Level
        The level on which it was found.
    left, top : int
        Upper left corner of `mask` on the level, pixels.
    mask : bool (h, w)
        Its ink, cut to the bounding box.
    numbers : tuple of int
        The values of `level.owner` on its ink.
    score : float
        Mean probability of handwriting on its ink, 0 to 1.
    digit : float
        Probability that it is a digit and not other handwriting, by the segmentation network, 0 to
        1.
    """

    level: Level
    left: int
    top: int
    mask: Mask
    numbers: tuple[int, ...]
    score: float
    digit: float

    @classmethod
    def union(cls, glyphs: Sequence[Glyph]) -> Glyph:
        """Return the union of several glyphs of one level as one glyph."""
        if len(glyphs) == 1:
            return glyphs[0]
        left, top = min(one.left for one in glyphs), min(one.top for one in glyphs)
        right = max(one.left + one.mask.shape[1] for one in glyphs)
        bottom = max(one.top + one.mask.shape[0] for one in glyphs)
        mask = np.zeros((bottom - top, right - left), np.bool_)
        for one in glyphs:
            rows, columns = one.window
            inner = (
                slice(rows.start - top, rows.stop - top),
                slice(columns.start - left, columns.stop - left),
            )
            mask[inner] |= one.mask
        areas = [np.count_nonzero(one.mask) for one in glyphs]
        score = float(np.average([one.score for one in glyphs], weights=areas))
        digit = float(np.average([one.digit for one in glyphs], weights=areas))
        numbers = tuple(number for one in glyphs for number in one.numbers)
        return cls(glyphs[0].level, left, top, mask, numbers, score, digit)

    @property
    def window(self) -> Window:
        """Rows and columns of `mask` on the level."""
        height, width = self.mask.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom in pixels of the full-size picture."""
        scale = self.level.scale
        height, width = self.mask.shape
        left, top = self.left / scale, self.top / scale
        return left, top, left + width / scale, top + height / scale


def glyphs_by_votes(
    level: Level, config: SegmentationConfig, heat: Plane, offsets: Plane, sizes: Plane, *,
    first: bool = False, last: bool = False,
) -> tuple[list[Glyph], Mask]:  # fmt: skip
    """Group the ink of a level to glyphs by its votes, and store each pixel's owner in the level.

    Parameters
    ----------
    level
        The level; its `owner` is overwritten.
    config
        Thresholds.
    heat : float32 (h/4, w/4)
        Centre heat map.
    offsets : float32 (h/2, w/2, 2)
        Offset field: x and y from each pixel to its glyph's centre, pixels.
    sizes : float32 (h/2, w/2)
        Longer side of each pixel's glyph, pixels.
    first
        Whether this is the coarsest level, on which glyphs above `config.large` are returned too.
    last
        Whether this is the finest level, on which glyphs below `config.small` are returned too.

    Returns
    -------
    list of Glyph
        The glyphs of a size that the level resolves.
    bool (h, w)
        Where there is ink of smaller glyphs, for which the next level is needed.
    """
    rows, columns = _peaks(heat, config.centre)
    faint = level.handwriting > int(255 * config.faint)
    if len(rows) == 0 or not faint.any():
        return [], faint & (_up(sizes) < config.small)
    size = _owned(level, config.stray, faint, rows, columns, offsets, sizes)
    small = faint & (level.owner < 0) & (_up(sizes) < config.small)
    found = []
    for number, y, x in _ink_by_owner(level, config.ink, len(rows)):
        top, left = int(y.min()), int(x.min())
        mask = np.zeros((int(y.max()) - top + 1, int(x.max()) - left + 1), np.bool_)
        mask[y - top, x - left] = True
        side = max(mask.shape)
        if max(size[number], side) > config.large and not first:
            continue
        if max(size[number], side) < config.small and not last:
            small[y, x] = True
        elif side >= MIN_SIDE:
            found.append(_glyph(level, left, top, mask, (number,)))
    return found, small


def glyphs_by_components(level: Level, config: SegmentationConfig) -> list[Glyph]:
    """Return the connected components of a level's ink between `small` and `large` in size."""
    parts = connected(level.handwriting > int(255 * config.ink))
    side = np.maximum(parts.right - parts.left, parts.bottom - parts.top)
    found = []
    for number in np.flatnonzero((side >= config.small) & (side <= config.large)):
        left, top = int(parts.left[number]), int(parts.top[number])
        window = slice(top, int(parts.bottom[number])), slice(left, int(parts.right[number]))
        mask = parts.labels[window] == number + 1
        owners = np.unique(level.owner[window][mask])
        found.append(_glyph(level, left, top, mask, tuple(owners[owners >= 0].tolist())))
    return found


def join_strokes(level: Level) -> None:
    """Reclassify print as handwriting in strokes of which a part was classified as handwriting.

    For each connected component of ink of both kinds of at most `MAX_STROKE_SIDE`, the summed
    probabilities are compared by `HANDWRITING_RATIO`. In components of handwriting, the probability
    of print is added to that of handwriting.
    """
    both = level.handwriting.astype(np.int16) + level.printed
    parts = connected(both > 127)
    labels = parts.labels
    by_hand = np.bincount(labels.ravel(), level.handwriting.ravel(), minlength=len(parts) + 1)[1:]
    printed = np.bincount(labels.ravel(), level.printed.ravel(), minlength=len(parts) + 1)[1:]
    chosen = (by_hand > HANDWRITING_RATIO * printed) & (printed > 0)
    chosen &= np.maximum(parts.right - parts.left, parts.bottom - parts.top) <= MAX_STROKE_SIDE
    mask = parts.where(chosen)
    share = level.digit[mask] / np.maximum(level.handwriting[mask], 1)
    level.handwriting[mask] = both[mask].clip(0, 255)
    level.digit[mask] = (share * level.handwriting[mask]).clip(0, 255)
    level.printed[mask] = 0


def _glyph(level: Level, left: int, top: int, mask: Mask, numbers: tuple[int, ...]) -> Glyph:
    window = slice(top, top + mask.shape[0]), slice(left, left + mask.shape[1])
    score = float(level.handwriting[window][mask].mean()) / 255
    digit = min(1.0, float(level.digit[window][mask].mean()) / 255 / max(score, 1e-6))
    return Glyph(level, left, top, mask, numbers, score, digit)


def _up(plane: Plane) -> Plane:
    return plane.repeat(HALF, 0).repeat(HALF, 1)


def _peaks(heat: Plane, least: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return rows and columns of the local maxima above `least`; the `MAX_GLYPHS` highest."""
    peaks = (heat > least) & (heat >= extreme(padded(heat, 1), 3, np.maximum))
    rows, columns = np.nonzero(peaks)
    highest = np.argsort(-heat[rows, columns], kind="stable")[:MAX_GLYPHS]
    return rows[highest], columns[highest]


def _owned(
    level: Level, stray: float, faint: Mask, rows: NDArray[np.intp], columns: NDArray[np.intp],
    offsets: Plane, sizes: Plane,
) -> NDArray[np.float64]:  # fmt: skip
    """Assign each pixel of handwriting to the centre nearest to its vote, in `level.owner`.

    A vote that misses the centre by more than `stray` of the glyph's size is dropped. Returns each
    glyph's size in pixels: the geometric mean of its pixels' sizes.
    """
    height, width = offsets.shape[:2]
    blocks = faint.reshape(height, HALF, width, HALF)
    y, x = np.nonzero(blocks.any(axis=(1, 3)))
    votes = offsets[y, x][:, ::-1] + np.float32((HALF - 1) / 2)
    votes[:, 0] += y * HALF
    votes[:, 1] += x * HALF
    nearest = _nearest(votes, rows, columns, sizes.shape)
    far = np.hypot(
        votes[:, 0] - (rows[nearest] * CELL + (CELL - 1) / 2),
        votes[:, 1] - (columns[nearest] * CELL + (CELL - 1) / 2),
    )
    hit = far <= stray * np.maximum(sizes[y, x], _LEAST_REACH)
    y, x, nearest = y[hit], x[hit], nearest[hit]
    owner = np.full((height, width), -1, np.int16)
    owner[y, x] = nearest
    level.owner.reshape(height, HALF, width, HALF)[:] = owner[:, None, :, None]
    level.owner[~faint] = -1
    octaves = np.bincount(nearest, np.log2(sizes[y, x]), minlength=len(rows))
    return np.asarray(2 ** (octaves / np.bincount(nearest, minlength=len(rows)).clip(1)))


def _nearest(
    votes: Plane, rows: NDArray[np.intp], columns: NDArray[np.intp],
    shape: tuple[int, ...],
) -> NDArray[np.intp]:  # fmt: skip
    """Return the number of the centre nearest to each vote, intp (n,).

    `votes` is (n, 2) of y and x in pixels and rounded to cells of the heat map; `shape` is the
    shape of the offset field.
    """
    height, width = (side * HALF // CELL for side in shape)
    cells = np.round((votes - (CELL - 1) / 2) / CELL).astype(np.int32)
    y, x = cells[:, 0].clip(0, height - 1), cells[:, 1].clip(0, width - 1)
    places, back = np.unique(y * width + x, return_inverse=True)
    nearest = np.empty(len(places), np.intp)
    for start in range(0, len(places), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        y, x = np.divmod(places[part], width)  # sorted by row
        close = np.flatnonzero((rows >= y[0] - _REACH) & (rows <= y[-1] + _REACH))
        far = (y[:, None] - rows[close]) ** 2 + (x[:, None] - columns[close]) ** 2
        lost = far.min(1, initial=_REACH**2 + 1) > _REACH**2  # another may be closer
        if not lost.all():
            nearest[part] = close[far.argmin(1)]
        far = (y[lost, None] - rows) ** 2 + (x[lost, None] - columns) ** 2
        nearest[part][lost] = far.argmin(1)
    return nearest[back]


def _ink_by_owner(
    level: Level, least: float, count: int
) -> Iterator[tuple[int, NDArray[np.int32], NDArray[np.int32]]]:
    """Yield the number of each glyph that has ink, and the rows and columns of its ink."""
    ink = np.flatnonzero(level.handwriting > int(255 * least)).astype(np.int32)
    owner = level.owner.ravel()[ink]
    ink = ink[np.argsort(owner, kind="stable")]
    owner.sort()
    bounds = np.searchsorted(owner, np.arange(count + 1))
    for number in range(count):
        own = ink[bounds[number] : bounds[number + 1]]
        if len(own):
            y, x = np.divmod(own, level.grey.shape[1])
            yield number, y, x
