"""Grey picture to MNIST-normal 28x28 frames with their boxes: the one preprocessing there is.

Training and serving agree on `VERSION`. This module finds and normalises marks; whether a mark is a
digit, and which, is `digits.classifier`'s business.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from digits.components import Components, connected
from digits.image import Grey, Picture

Plane = NDArray[np.float32]
Mask = NDArray[np.bool_]
Box = tuple[int, int, int, int]
Glyph = list[int]  # the parts that one digit is made of
_Scalar = TypeVar("_Scalar", bound=np.generic)

VERSION = "1"

SIDE = 28  # of a frame, pixels
FIT = 20  # the box inside it that a digit is scaled to, pixels
MIN_STROKE = 1.8  # of a pen in the frame, pixels; nineteen in twenty of MNIST's are wider than 1.6
MIN_CONTRAST = 0.06  # of ink, as a share of the paper's brightness
NOISE_FACTOR = 5  # standard deviations of the paper's grain that ink must exceed
MIN_SLOPE = 4 * 255  # at the edge of a stroke, grey levels over the picture's longer side
TIGHT = 0.05  # share of wide ink above which a picture is a tight crop of a digit
TIGHT_STROKE = 4  # how wide that is, in 64ths of the longer side
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


@dataclass(frozen=True)
class _Ink:
    """A picture's ink.

    Attributes
    ----------
    amount : float32 (h, w)
        How much of the paper's light each pixel takes, 0 to 1.
    mask : bool (h, w)
        Where that is enough to be ink.
    steep : bool (h, w)
        Where grey levels change as fast as at the edge of a stroke.
    tight : bool
        Whether the picture is a tight crop, whose digit may touch its border.
    """

    amount: Plane
    mask: Mask
    steep: Mask
    tight: bool


def single(picture: Picture) -> Single:
    """Find the one digit of a picture, its broken strokes kept together."""
    ready = _already_normal(picture)
    if ready is not None:
        return Single(ready, several=False)
    ink = _ink(picture.grey)
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
    ink = _ink(picture.grey)
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


def _ink(grey: Grey) -> _Ink:
    """Separate ink from paper, whatever the light."""
    grey = _enlarged(grey)
    grey = grey if _dark_on_light(grey) else 255 - grey
    if _tightly_cropped(grey):
        paper = np.percentile(grey, 95).astype(np.float32)
        amount = np.clip(1 - grey / max(paper, np.float32(32)), 0, 1)
        return _Ink(amount, _thresholded(amount, MIN_CONTRAST), _steep(grey), tight=True)
    smooth = np.asarray(Image.fromarray(grey).filter(ImageFilter.BoxBlur(1)))
    amount, floor = _darkness(smooth, _closing(smooth, max(grey.shape) // 4))
    amount = np.where(_without_edges(_without_rules(amount > floor)), amount, np.float32(0))
    return _Ink(amount, _thresholded(amount, floor), _steep(grey), tight=False)


def _enlarged(grey: Grey) -> Grey:
    """Enlarge a small picture to 64 pixels or more, so that strokes are several pixels wide."""
    factor = -(-64 // max(grey.shape))
    if factor <= 1:
        return grey
    size = (grey.shape[1] * factor, grey.shape[0] * factor)
    return np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.BICUBIC))


def _dark_on_light(grey: Grey) -> bool:
    """Whether ink is darker than what it is on.

    Narrow dark things are looked for and narrow light ones, and the stronger kind is ink; a shadow
    is neither. Strokes too wide for that, or loops as narrow as strokes, leave it open: then ink is
    the rarer extreme, which is the sign of the grey levels' skewness about their surroundings.
    """
    image = Image.fromarray(grey).reduce(max(1, max(grey.shape) // 128))
    small = np.asarray(image.filter(ImageFilter.BoxBlur(0.5)))
    window = max(small.shape) // 14
    dark = float((_closing(small, window) - small).astype(np.float32).__pow__(3).sum())
    light = float(
        (_closing(255 - small, window) - (255 - small)).astype(np.float32).__pow__(3).sum()
    )
    if max(dark, light) > 3 * min(dark, light):
        return dark > light
    around = image.filter(ImageFilter.GaussianBlur(max(image.size) / 5))
    difference = np.asarray(image, np.float32) - np.asarray(around, np.float32)
    return float((difference**3).sum()) <= 0


def _tightly_cropped(grey: Grey) -> bool:
    """Whether ink fills so much that strokes may be too wide for `_closing` to see past them.

    Then the paper is taken to be of one brightness, as in digits cut from forms.
    """
    image = Image.fromarray(grey)
    small = np.asarray(image.reduce(max(1, max(grey.shape) // 64)))
    darkness = _closing(small, max(small.shape) // 4, gradients=False) - small
    dark = darkness > 0.5 * darkness.max()
    # Grain and printed lines may be dark in many places, but nowhere in so wide a one.
    inner = _extreme(dark, TIGHT_STROKE, np.logical_and)
    wide = _extreme(np.pad(inner, TIGHT_STROKE - 1), TIGHT_STROKE, np.logical_or)
    return float(wide.mean()) > TIGHT


def _closing(grey: Grey, window: int, *, gradients: bool = True) -> NDArray[np.int16]:
    """The paper under the ink: grey closing, int16 (h, w), by a square of `window` pixels.

    It keeps every shadow, fold or gradient that is wider than the window and covers what is
    narrower (Serra, "Image Analysis and Mathematical Morphology", 1982). With `gradients` the
    picture goes on beyond its border as its own point reflection, blurred lest its grain be
    reflected too; else as the pixels of its edge.
    """
    size = window | 1
    margin = size - 1
    if gradients:
        calm = np.asarray(Image.fromarray(grey).filter(ImageFilter.GaussianBlur(3)))
        wide = np.pad(calm.astype(np.int16), margin, mode="reflect", reflect_type="odd")
        wide[margin:-margin, margin:-margin] = grey
    else:
        wide = np.pad(grey.astype(np.int16), margin, mode="edge")
    return _extreme(_extreme(wide, size, np.maximum), size, np.minimum)


def _darkness(grey: Grey, paper: NDArray[np.int16]) -> tuple[Plane, float]:
    """How much of the paper's light each pixel takes, float32 (h, w) in 0..1, and its floor.

    The floor is what the paper's own grain does not reach, told from the side on which there is no
    ink. Grain also lifts a closing above the paper's mean; the median brings that back to zero.
    """
    share = (paper - grey) / np.maximum(paper, 32).astype(np.float32)
    below, middle = np.percentile(share[::2, ::2], (16, 50))
    floor = max(MIN_CONTRAST, NOISE_FACTOR * float(middle - below))
    return np.clip(share - middle, 0, 1).astype(np.float32), floor


def _thresholded(amount: Plane, floor: float) -> Mask:
    """What is ink: above the floor, and nearly half as dark as the ink typically is.

    The typical ink is the median of the darker class of Otsu ("A threshold selection method from
    gray-level histograms", 1979) among the pixels above the floor.
    """
    candidates = amount[amount > floor]
    if candidates.size == 0:
        return np.zeros(amount.shape, np.bool_)
    typical = float(np.median(candidates[candidates >= _otsu(candidates)]))
    return amount > max(floor, 0.45 * typical)


def _steep(grey: Grey) -> Mask:
    """Where grey levels change as fast as at the edge of a stroke: a gradient's never do."""
    levels = grey.astype(np.int16)
    change = np.zeros(grey.shape, np.int16)
    change[1:-1] = np.abs(levels[2:] - levels[:-2])
    change[:, 1:-1] = np.maximum(change[:, 1:-1], np.abs(levels[:, 2:] - levels[:, :-2]))
    return np.asarray(change > 2 * MIN_SLOPE / max(grey.shape))


def _otsu(values: Plane) -> float:
    """Otsu's threshold of values in 0..1."""
    count, edge = np.histogram(values, 128, (0, 1))
    middle = (edge[:-1] + edge[1:]) / 2
    below = np.cumsum(count)
    above = below[-1] - below
    total = np.cumsum(count * middle)
    means_apart = total / below.clip(1) - (total[-1] - total) / above.clip(1)
    return float(edge[int(np.argmax(below * above * means_apart**2))])


def _without_edges(mask: Mask) -> Mask:
    """Take out what runs along the border: the table beside the page, the rim of a shadow."""
    parts = connected(mask)
    edge = np.concatenate([[False], _along_border(parts, 0.5)])
    return np.asarray(mask & ~edge[parts.labels])


def _along_border(parts: Components, share: float) -> Mask:
    """Which parts touch the border with more than a share of their longer side, (n,)."""
    labels = parts.labels
    border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    contact = np.bincount(border, minlength=len(parts) + 1)[1:]
    extent = np.maximum(parts.right - parts.left, parts.bottom - parts.top)
    return np.asarray(contact > share * extent)


def _without_rules(mask: Mask) -> Mask:
    """Take out printed lines and squares: thin, straight, and right across the picture."""
    kept = _without_lines(_without_lines(mask).T).T
    return kept if kept.any() else mask


def _without_lines(mask: Mask) -> Mask:
    """Take out near-horizontal lines that at least half of the picture's columns share.

    A Hough transform over small slopes (Duda and Hart, 1972), on those pixels only whose stroke is
    no thicker than a printed line, so that a digit's strokes survive where a line crosses them.
    """
    height, width = mask.shape
    thickness = max(3, round(0.012 * max(height, width)))
    size = (thickness + 1) | 1
    padded = np.pad(mask, ((size - 1, size - 1), (0, 0)))
    thick = _extreme(_extreme(padded, size, np.logical_and, (0,)), size, np.logical_or, (0,))
    y, x = np.nonzero(mask & ~thick)
    if not width // 2 < len(x) < mask.size // 5:
        return mask
    slopes = np.linspace(-0.1, 0.1, 41)
    best = max((_on_lines(x, y, slope, mask.shape) for slope in slopes), key=np.count_nonzero)
    kept: Mask = mask.copy()
    kept[y[best], x[best]] = False
    return kept


def _on_lines(
    x: NDArray[np.intp], y: NDArray[np.intp], slope: float, shape: tuple[int, ...]
) -> Mask:
    """Which of the pixels lie on a line of this slope that half of the columns share, (n,)."""
    height, width = shape
    reach = width // 16 + 2  # how far a line of the largest slope leaves its middle row
    row = np.round(y - slope * (x - width / 2)).astype(np.intp) + reach
    count = np.bincount(row, minlength=height + 2 * reach)
    full = count > width / 2
    near = full.copy()
    near[1:] |= full[:-1]
    near[:-1] |= full[1:]
    return np.asarray(near[row])


def _strokes(parts: Components, ink: _Ink) -> list[int]:
    """Choose the parts that may be strokes of digits: no specks, no edges of page or shadow."""
    if len(parts) == 0:
        return []
    height, width = ink.mask.shape
    wide, high = parts.right - parts.left, parts.bottom - parts.top
    extent = np.maximum(wide, high)
    sides = np.stack(
        [parts.left == 0, parts.top == 0, parts.right == width, parts.bottom == height]
    ).sum(axis=0)
    edge = ((sides > 1) | _along_border(parts, 0.5)) & (not ink.tight)
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


def _mark(glyph: Glyph, parts: Components, ink: _Ink, picture: Picture) -> Mark:
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
    near = _extreme(np.pad(own, reach), 2 * reach + 1, np.logical_or)
    stroke[~near | foreign] = 0
    lacking = MIN_STROKE * pixel - _stroke_width(own)
    if lacking > 0:
        grow = int(np.ceil(lacking / 2))
        stroke = _extreme(np.pad(stroke, 2 * grow), 2 * grow + 1, np.maximum)
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


def _extreme(
    values: NDArray[_Scalar],
    size: int,
    best: Callable[[NDArray[_Scalar], NDArray[_Scalar]], NDArray[_Scalar]],
    axes: tuple[int, ...] = (0, 1),
) -> NDArray[_Scalar]:
    """Running maximum or minimum over `size` pixels along each axis; `size - 1` are lost of each.

    The window is doubled until it is reached, so the cost grows with the logarithm of its size.
    """
    for axis in axes:
        values = np.moveaxis(values, axis, 0)
        reach = 1
        while reach < size:
            step = min(reach, size - reach)
            values = best(values[:-step], values[step:])
            reach += step
        values = np.moveaxis(values, 0, axis)
    return values
