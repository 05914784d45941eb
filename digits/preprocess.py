"""The preprocessing: find the glyph candidates of a picture and normalise them to 28x28 frames.

Training and serving share it; `config.PREPROCESSING` is its version. `digits.classifier` then
decides whether a frame shows a digit, and which.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from digits.finder import Segmenter
from digits.image import Grey, Picture
from digits.ink import Ink, Mask, Plane, binarisations
from digits.layout import Piece, pieces_of, stroke_width
from digits.morphology import extreme, padded
from digits.order import percentile

Box = tuple[int, int, int, int]

SIDE = 28  # pixels, side of a frame
FIT = 20  # pixels, side of the centred box that a glyph is scaled to; both as in MNIST
# Pixels of a frame, least width of a stroke; thinner ones are thickened. The strokes of 95 % of
# MNIST's digits are wider than 1.6.
MIN_STROKE = 1.8


@dataclass(frozen=True)
class Mark:
    """A normalised glyph candidate.

    Attributes
    ----------
    frame : float32 (28, 28)
        White ink on black in 0..1; the longer side is 20 pixels, the centre of mass in the middle.
    box : tuple of four int
        x, y, width and height in pixels of the upright full-size image.
    """

    frame: Plane
    box: Box


@dataclass(frozen=True)
class Page:
    """A picture with one binarisation, and the glyph candidates in it.

    Attributes
    ----------
    picture : Picture
        The decoded picture.
    ink : Ink
        The binarisation.
    pieces : tuple of Piece
        Connected components of the ink, the largest first.
    instances : tuple of Piece
        Glyph instances by the segmentation network, the largest first; empty without them.
    """

    picture: Picture
    ink: Ink
    pieces: tuple[Piece, ...]
    instances: tuple[Piece, ...] = ()

    @property
    def left_out(self) -> float:
        """Share of the ink that is in no piece, 0 to 1."""
        kept = sum(piece.area for piece in self.pieces)
        return 1 - kept / max(int(np.count_nonzero(self.ink.mask)), 1)

    def mark(self, piece: Piece) -> Mark:
        """Return the frame and the box of a piece."""
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
    """Yield the pages of a picture, grouped by polarity: one for each of `ink.binarisations`."""
    for polarity in binarisations(picture.grey):
        yield (Page(picture, ink, tuple(pieces_of(ink))) for ink in polarity)


def segmented_pages(picture: Picture, segmenter: Segmenter) -> Iterator[Page]:
    """Yield the pages of a picture by the segmentation network; see `Segmenter.find`.

    There is one page for each segmentation with its glyph instances, then one with the connected
    components of the first segmentation.
    """
    segmentations = segmenter.find(picture.grey)
    for one in segmentations:
        yield Page(picture, one.ink, tuple(one.pieces), tuple(one.instances))
    for one in segmentations[:1]:
        yield Page(picture, one.ink, tuple(one.pieces))


def largest(picture: Picture) -> Mark | None:
    """Return the largest glyph of a picture without using a network; None if it is blank."""
    ready = already_normal(picture)
    if ready is not None:
        return ready
    every = (page for polarity in pages(picture) for page in polarity)
    inked = next((page for page in every if page.pieces), None)
    return inked.mark(inked.pieces[0]) if inked else None


def frame_of(strokes: Plane) -> Plane:
    """Return the frame of strokes that are not part of a picture.

    Parameters
    ----------
    strokes : float32 (h, w)
        Ink in 0..1, cut to the strokes' bounding box; of any size.

    Returns
    -------
    float32 (28, 28)
    """
    own = strokes > 0.45
    return _frame(_stroke_shape(strokes, own, foreign=np.zeros_like(own)))


def already_normal(picture: Picture) -> Mark | None:
    """Return the frame of a picture that is already normalised like MNIST's; None otherwise.

    Normalising such a picture again would blur it. A picture is already normalised if it has 28x28
    pixels, a uniform background, full contrast, ink of at most 20x20 pixels, and the ink's centre
    of mass in the middle, in either polarity.
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
    """Return strokes at full intensity with soft edges and a least width, float32 in 0..1.

    Faint and thin strokes of pencils and ballpoint pens become like those of MNIST's pens. Soft
    edges extend one pixel of the frame beyond the mask, but not into other ink, `foreign`.
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
    """Scale a glyph to 20x20 and centre its mass in a 28x28 frame, as MNIST's were.

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
    """Return column and row of the centre of mass."""
    columns, rows = levels.sum(axis=0, dtype=np.float64), levels.sum(axis=1, dtype=np.float64)
    total = float(columns.sum()) or 1.0
    x, y = columns @ np.arange(len(columns)), rows @ np.arange(len(rows))
    return float(x) / total, float(y) / total


def _bounds(mask: Mask) -> tuple[int, int, int, int]:
    """Return left, top, and right and bottom (exclusive) of a mask's bounding box."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
