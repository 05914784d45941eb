"""Grey picture to MNIST-normal 28x28 frames with their boxes: the one preprocessing there is.

Training and serving agree on `config.PREPROCESSING`. This module finds and normalises marks;
whether a mark is a digit, and which, is `digits.classifier`'s business.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from digits.finder import Segmenter
from digits.image import Grey, Picture
from digits.ink import Ink, Mask, Plane, readings
from digits.layout import Piece, pieces_of, stroke_width
from digits.morphology import extreme, padded
from digits.order import percentile

Box = tuple[int, int, int, int]

SIDE = 28  # of a frame, pixels
FIT = 20  # the box inside it that a digit is scaled to, pixels
MIN_STROKE = 1.8  # of a pen in the frame, pixels; nineteen in twenty of MNIST's are wider than 1.6


@dataclass(frozen=True)
class Mark:
    """One mark of a picture, normalised.

    Attributes
    ----------
    frame : float32 (28, 28)
        White ink on black in 0..1, its larger side 20 pixels, its centre of mass in the middle.
    box : tuple of four int
        x, y, width and height in pixels of the upright full-size image.
    """

    frame: Plane
    box: Box


@dataclass(frozen=True)
class Page:
    """A picture whose ink was told from its paper in one way.

    Attributes
    ----------
    picture : Picture
        As it was decoded.
    ink : Ink
        What was written.
    pieces : tuple of Piece
        Its connected parts, the largest first.
    things : tuple of Piece
        What belongs together of it, the largest first, where that is known.
    """

    picture: Picture
    ink: Ink
    pieces: tuple[Piece, ...]
    things: tuple[Piece, ...] = ()

    @property
    def left_out(self) -> float:
        """How much of the ink is in no piece, as a share of it, 0 to 1."""
        kept = sum(piece.area for piece in self.pieces)
        return 1 - kept / max(int(np.count_nonzero(self.ink.mask)), 1)

    def mark(self, piece: Piece) -> Mark:
        """Cut a piece out of the picture and make its frame."""
        left, top, right, bottom = piece.left, piece.top, piece.right, piece.bottom
        window = (slice(top, bottom), slice(left, right))
        foreign = self.ink.mask[window] & ~piece.mask
        frame = _frame(_stroke_shape(self.ink.amount[window], piece.mask, foreign))
        height, width = self.ink.mask.shape
        x, y = left * self.picture.width // width, top * self.picture.height // height
        far_x = -(-right * self.picture.width // width)
        far_y = -(-bottom * self.picture.height // height)
        return Mark(frame, (x, y, far_x - x, far_y - y))


def pages(picture: Picture) -> Iterator[Iterator[Page]]:
    """A picture's ink as told from its paper in several ways; see `ink.readings`."""
    for ways in readings(picture.grey):
        yield (Page(picture, ink, tuple(pieces_of(ink))) for ink in ways)


def found(picture: Picture, segmenter: Segmenter) -> Iterator[Page]:
    """A picture's ink as the segmentation network finds it; see `Segmenter.find`.

    One page for each way by its glyph instances, then one by the connected components of the first.
    """
    ways = segmenter.find(picture.grey)
    for seen in ways:
        yield Page(picture, seen.ink, tuple(seen.parts), tuple(seen.things))
    for seen in ways[:1]:
        yield Page(picture, seen.ink, tuple(seen.parts))


def largest(picture: Picture) -> Mark | None:
    """The largest mark of a picture; None on a blank. For who has no network to ask."""
    ready = already_normal(picture)
    if ready is not None:
        return ready
    every = (page for ways in pages(picture) for page in ways)
    inked = next((page for page in every if page.pieces), None)
    return inked.mark(inked.pieces[0]) if inked else None


def frame_of(strokes: Plane) -> Plane:
    """Make the frame of strokes that are at hand without a picture around them.

    Parameters
    ----------
    strokes : float32 (h, w)
        Ink in 0..1, of any size, cut to what is written.

    Returns
    -------
    float32 (28, 28)
    """
    own = strokes > 0.45
    return _frame(_stroke_shape(strokes, own, foreign=np.zeros_like(own)))


def already_normal(picture: Picture) -> Mark | None:
    """Pass a picture through unchanged that is made as MNIST's are, in either polarity.

    Normalising one again would only blur it. It is one if it has 28x28 pixels, a flat background,
    full contrast, ink no larger than the 20x20 box and its centre of mass in the middle.
    """
    if (picture.height, picture.width) != (SIDE, SIDE):
        return None
    grey = picture.grey
    half = grey.size // 2
    levels = grey if np.count_nonzero(grey < 128) > half else np.invert(grey)
    if np.count_nonzero(levels <= 8) <= half or levels.max() < 240:
        return None
    left, top, right, bottom = _bounds(levels > 32)
    x, y = _centre_of_mass(levels)
    if max(right - left, bottom - top) > FIT or max(abs(x - SIDE / 2), abs(y - SIDE / 2)) > 1:
        return None
    return Mark(levels / np.float32(255), (left, top, right - left, bottom - top))


def _stroke_shape(amount: Plane, own: Mask, foreign: Mask) -> Plane:
    """Strokes at full intensity with soft edges, thick enough for the frame, float32 in 0..1.

    Pencil and ballpoint thus look as MNIST's pens do. Soft edges reach one pixel of the frame
    beyond the mask, but not into `foreign` marks.
    """
    pixel = max(own.shape) / FIT
    full = max(float(percentile(amount[own], 90)), 1e-6)
    stroke: Plane = np.clip((amount / full - 0.2) / 0.8, 0, 1)
    reach = max(1, round(pixel))
    near = extreme(padded(own, reach), 2 * reach + 1, np.logical_or)
    stroke[~near | foreign] = 0
    lacking = MIN_STROKE * pixel - stroke_width(own)
    if lacking > 0:
        grow = int(np.ceil(lacking / 2))
        stroke = extreme(padded(stroke, 2 * grow), 2 * grow + 1, np.maximum)
    return stroke


def _frame(stroke: Plane) -> Plane:
    """Scale a glyph to 20x20 and centre its mass in 28x28, as MNIST's were.

    LeCun et al., "Gradient-based learning applied to document recognition", 1998, section III.
    """
    scale = FIT / max(stroke.shape)
    size = (max(1, round(stroke.shape[1] * scale)), max(1, round(stroke.shape[0] * scale)))
    resized = np.asarray(Image.fromarray(stroke).resize(size, Image.Resampling.BICUBIC)).clip(0, 1)
    small: Plane = resized / np.float32(max(resized.max(), 1e-6))
    x, y = _centre_of_mass(small)
    left = int(np.clip(round(SIDE / 2 - x), 0, SIDE - size[0]))
    top = int(np.clip(round(SIDE / 2 - y), 0, SIDE - size[1]))
    frame = np.zeros((SIDE, SIDE), np.float32)
    frame[top : top + size[1], left : left + size[0]] = small
    return frame


def _centre_of_mass(levels: NDArray[np.float32] | Grey) -> tuple[float, float]:
    """Column and row of the centre of mass."""
    columns, rows = levels.sum(axis=0, dtype=np.float64), levels.sum(axis=1, dtype=np.float64)
    total = float(columns.sum()) or 1.0
    x, y = columns @ np.arange(len(columns)), rows @ np.arange(len(rows))
    return float(x) / total, float(y) / total


def _bounds(mask: Mask) -> tuple[int, int, int, int]:
    """Left, top, and just outside them right and bottom of what is set."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
