"""Grey picture to MNIST-normal 28x28 frames with their boxes: the one preprocessing there is.

Training and serving agree on `VERSION`. This module finds and normalises marks; whether a mark is a
digit, and which, is `digits.classifier`'s business.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from digits.components import Components, connected
from digits.image import Grey, Picture
from digits.ink import Ink, Mask, Plane, along_border, ink_of
from digits.morphology import extreme

Box = tuple[int, int, int, int]
Glyph = list[int]  # the parts that one digit is made of

VERSION = "1"

SIDE = 28  # of a frame, pixels
FIT = 20  # the box inside it that a digit is scaled to, pixels
MIN_STROKE = 1.8  # of a pen in the frame, pixels; nineteen in twenty of MNIST's are wider than 1.6
MAX_MARKS = 200  # more than any page has digits; bounds the work on a picture of gravel


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
class Single:
    """What `single` found: `mark` is None on a blank; `several` if more than one digit is plain."""

    mark: Mark | None
    several: bool


def single(picture: Picture) -> Single:
    """Find the one digit of a picture, its broken strokes kept together."""
    ready = _already_normal(picture)
    if ready is not None:
        return Single(ready, several=False)
    ink = ink_of(picture.grey)
    parts = connected(ink.mask)
    glyphs = _glyphs(parts, _strokes(parts, ink))
    if not glyphs:
        return Single(None, several=False)
    area = [int(parts.area[glyph].sum()) for glyph in glyphs]
    main = int(np.argmax(area))
    height = _height(glyphs[main], parts)
    rivals = [
        glyph
        for glyph, size in zip(glyphs, area, strict=True)
        if size > 0.2 * area[main] and _height(glyph, parts) > 0.5 * height
    ]
    return Single(_mark(glyphs[main], parts, ink, picture), several=len(rivals) > 1)


def multiple(picture: Picture) -> tuple[tuple[Mark, ...], ...]:
    """Find all the digits of a picture: lines top to bottom, each left to right.

    Returns
    -------
    tuple of tuple of Mark
        One tuple a line; empty for a blank.
    """
    ready = _already_normal(picture)
    if ready is not None:
        return ((ready,),)
    ink = ink_of(picture.grey)
    parts = connected(ink.mask)
    glyphs = _glyphs(parts, _strokes(parts, ink))
    return tuple(
        tuple(_mark(glyph, parts, ink, picture) for glyph in line) for line in _lines(glyphs, parts)
    )


def _already_normal(picture: Picture) -> Mark | None:
    """Pass a picture through unchanged that is made as MNIST's are, in either polarity.

    Normalising one again would only blur it. It is one if it has 28x28 pixels, a flat background,
    full contrast, ink no larger than the 20x20 box and its centre of mass in the middle.
    """
    if (picture.height, picture.width) != (SIDE, SIDE):
        return None
    grey = picture.grey
    levels = grey if np.median(grey) < 128 else 255 - grey
    ink = levels > 32
    if np.median(levels) > 8 or levels.max() < 240 or not ink.any():
        return None
    left, top, right, bottom = _bounds(ink)
    x, y = _centre_of_mass(levels)
    if max(right - left, bottom - top) > FIT or max(abs(x - SIDE / 2), abs(y - SIDE / 2)) > 1:
        return None
    return Mark(levels / np.float32(255), (left, top, right - left, bottom - top))


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
    flat = wide > 8 * high
    speck = extent < max(6, 0.02 * max(height, width))
    steep = np.bincount(parts.labels[ink.steep], minlength=len(parts) + 1)[1:]
    vague = steep < 0.5 * extent
    possible = ~(edge | (flat & (not ink.tight)) | speck | vague)
    if not possible.any():
        return []
    largest = parts.area[possible].max()
    possible &= parts.area > 0.02 * largest
    order = np.argsort(-parts.area * possible, kind="stable")[: min(MAX_MARKS, int(possible.sum()))]
    return [int(k) for k in order]


def _glyphs(parts: Components, strokes: list[int]) -> list[Glyph]:
    """Group strokes that belong to one digit, and drop what is too small beside the others.

    Largest first, each stroke joins a glyph that it lies above, below or within if it is small
    beside it and near: the bar of a 5, a broken loop.
    """
    glyphs: list[Glyph] = []
    for stroke in strokes:
        home = next((glyph for glyph in glyphs if _belongs(stroke, glyph, parts)), None)
        if home is None:
            glyphs.append([stroke])
        else:
            home.append(stroke)
    tallest = max((_height(glyph, parts) for glyph in glyphs), default=0)
    return [glyph for glyph in glyphs if _height(glyph, parts) > 0.3 * tallest]


def _height(glyph: Glyph, parts: Components) -> int:
    _, top, _, bottom = _box(glyph, parts)
    return bottom - top


def _belongs(stroke: int, glyph: Glyph, parts: Components) -> bool:
    left, top, right, bottom = _box(glyph, parts)
    own_left, own_top, own_right, own_bottom = _box([stroke], parts)
    size = max(right - left, bottom - top)
    small = own_bottom - own_top < 0.5 * (bottom - top)
    gap_x = max(left, own_left) - min(right, own_right)
    gap_y = max(top, own_top) - min(bottom, own_bottom)
    if -gap_x > 0.5 * (own_right - own_left):
        return gap_y < (0.25 if small else 0.05) * size
    return small and gap_x < 0.2 * size and gap_y < 0.1 * size


def _lines(glyphs: list[Glyph], parts: Components) -> list[list[Glyph]]:
    """Order glyphs to lines: from the left, each joins the line whose last glyph it is beside."""
    lines: list[list[Glyph]] = []
    for glyph in sorted(glyphs, key=lambda glyph: _box(glyph, parts)[0]):
        beside = (line for line in lines if _are_beside(line[-1], glyph, parts))
        line = next(beside, None)
        if line is None:
            lines.append([glyph])
        else:
            line.append(glyph)
    return sorted(lines, key=lambda line: np.mean([_box(glyph, parts)[1] for glyph in line]))


def _are_beside(one: Glyph, other: Glyph, parts: Components) -> bool:
    _, top, _, bottom = _box(one, parts)
    _, other_top, _, other_bottom = _box(other, parts)
    shared = min(bottom, other_bottom) - max(top, other_top)
    return shared > 0.4 * min(bottom - top, other_bottom - other_top)


def _mark(glyph: Glyph, parts: Components, ink: Ink, picture: Picture) -> Mark:
    """Cut a glyph out of the picture and make its frame."""
    left, top, right, bottom = _box(glyph, parts)
    window = (slice(top, bottom), slice(left, right))
    labels = parts.labels[window]
    own = np.isin(labels, np.asarray(glyph) + 1)
    frame = _frame(_stroke_shape(ink.amount[window], own, foreign=(labels > 0) & ~own))
    height, width = ink.mask.shape
    x, y = left * picture.width // width, top * picture.height // height
    far_x, far_y = -(-right * picture.width // width), -(-bottom * picture.height // height)
    return Mark(frame, (x, y, far_x - x, far_y - y))


def _box(glyph: Glyph, parts: Components) -> Box:
    """Left, top, right and bottom of a glyph, in pixels of the ink."""
    return (
        int(parts.left[glyph].min()),
        int(parts.top[glyph].min()),
        int(parts.right[glyph].max()),
        int(parts.bottom[glyph].max()),
    )


def _stroke_shape(amount: Plane, own: Mask, foreign: Mask) -> Plane:
    """Strokes at full intensity with soft edges, thick enough for the frame, float32 in 0..1.

    Pencil and ballpoint thus look as MNIST's pens do. Soft edges reach one pixel of the frame
    beyond the mask, but not into `foreign` marks.
    """
    pixel = max(own.shape) / FIT
    full = float(np.percentile(amount[own], 90))
    stroke: Plane = np.clip((amount / full - 0.2) / 0.8, 0, 1)
    reach = max(1, round(pixel))
    near = extreme(np.pad(own, reach), 2 * reach + 1, np.logical_or)
    stroke[~near | foreign] = 0
    lacking = MIN_STROKE * pixel - _stroke_width(own)
    if lacking > 0:
        grow = int(np.ceil(lacking / 2))
        stroke = extreme(np.pad(stroke, 2 * grow), 2 * grow + 1, np.maximum)
    return stroke


def _stroke_width(mask: Mask) -> float:
    """Mean width of the strokes of a mask, pixels: twice the area over the outline's length.

    The outline is counted in pixel sides, which overstates a curve's by 4/pi on average.
    """
    padded = np.pad(mask, 1)
    sides = (padded[1:] != padded[:-1]).sum() + (padded[:, 1:] != padded[:, :-1]).sum()
    return float(2 * mask.sum() / (sides * np.pi / 4))


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
    total = float(levels.sum(dtype=np.float64))
    x = float(levels.sum(axis=0, dtype=np.float64) @ np.arange(levels.shape[1])) / total
    y = float(levels.sum(axis=1, dtype=np.float64) @ np.arange(levels.shape[0])) / total
    return x, y


def _bounds(mask: Mask) -> tuple[int, int, int, int]:
    """Left, top, and just outside them right and bottom of what is set."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
