"""Normalisation: a glyph to its frame, as MNIST's digits are normalised.

What makes the frames has a version, `config.PREPROCESSING`: a classifier is served only with the
frames that it was trained on.

Part of the page reader in development; not in service.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from digits.layout import stroke_width
from digits.morphology import extreme, padded, running_sums
from digits.order import percentile
from digits.recognition.glyphs import Glyph, Grey, Mask, Plane

SIDE = 28  # pixels, of a frame
FIT = 20  # pixels, the box inside it that a glyph is scaled to
MIN_STROKE = 1.8  # pixels of a frame, of a pen; nineteen in twenty of MNIST's are wider than 1.6

# All chosen by eye from the development pictures.
_MARGIN = 0.3  # of a glyph's longer side: how far around it the paper is looked at
_PAPER = 25, 60  # of 255, probabilities of handwriting and of print below which a pixel is paper
_NEAR = 0.15  # of a glyph's longer side: how near to a pixel the paper is that it is compared with
_STROKE = 0.3  # of a glyph's darkness: where its strokes end
_EDGE = 0.5  # of a glyph's darkness: where its box ends
_FULL = 90  # of 255, probability of handwriting from which a pixel's darkness counts whole
_SAMPLE = 400  # pixels of paper that the plane of its brightness is fitted to
_MEDIAN_OF_NORMAL = 0.6745  # median of a normal deviation, in standard deviations
_DARKEST = 32  # of 255: paper counts as at least so bright
_FEW = 8  # pixels; from fewer the paper's brightness cannot be told


def frame_of(glyph: Glyph) -> Plane:
    """The frame of a glyph: float32 (28, 28), white ink on black in 0..1.

    Darkness is measured against the brightness of the paper around each pixel. Other glyphs and
    print are left out.
    """
    return frame_and_contrast(glyph)[0]


def frame_and_contrast(glyph: Glyph) -> tuple[Plane, float]:
    """As `frame_of`, and how far the glyph stands out of the grain of its paper.

    The contrast is in standard deviations of that grain. A digit may be seen in noise; its darkness
    then is that of the paper's darkest grains.
    """
    level = glyph.level
    window, own = _surroundings(glyph)
    handwriting = level.handwriting[window]
    grey = level.grey[window].astype(np.float32)
    paper, blank = _paper_around(glyph, window, own)
    darkness = paper - grey
    # The median, for at the edge of a shadow the paper is not what its surroundings are.
    grain = float(np.median(np.abs(darkness[blank]))) / _MEDIAN_OF_NORMAL
    mean = float(darkness[own].mean())
    amount = _share(darkness, paper, dark=mean > 0)
    amount *= np.clip(handwriting / np.float32(_FULL), 0, 1)
    stroke = own & (amount > _STROKE * percentile(amount[own], 90))
    if not stroke.any():
        stroke = own
    others = (level.owner[window] >= 0) & ~np.isin(level.owner[window], glyph.numbers)
    rows, columns = np.flatnonzero(stroke.any(1)), np.flatnonzero(stroke.any(0))
    cut = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    frame = frame_of_ink(amount[cut], stroke[cut], others[cut] & (handwriting[cut] > 127))
    return frame, abs(mean) / max(grain, 1.0)


def box_of(glyph: Glyph, grey: Grey, scale: float) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of a glyph's ink in pixels of the picture, by a finer view of it.

    Parameters
    ----------
    glyph
        The glyph; one that is on a level finer than `grey` has the box of its mask.
    grey : uint8 (h, w)
        The picture.
    scale
        Pixels of `grey` in one of the picture.
    """
    times = scale / glyph.level.scale
    if times <= 1:
        return glyph.box
    window, own = _surroundings(glyph)
    paper, _ = _paper_around(glyph, window, own)
    darkness = paper - glyph.level.grey[window]
    dark = bool(darkness[own].mean() > 0)
    full = percentile(_share(darkness, paper, dark=dark)[own], 90)
    near = extreme(padded(own, 1), 3, np.logical_or)
    rows, columns = np.flatnonzero(near.any(1)), np.flatnonzero(near.any(0))
    cut = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    top, left = window[0].start + rows[0], window[1].start + columns[0]
    first, last = (
        (round(y * times), round(x * times))
        for y, x in ((top, left), (top + len(near[cut]), left + near[cut].shape[1]))
    )
    seen = grey[first[0] : last[0], first[1] : last[1]].astype(np.float32)
    size = seen.shape[::-1]
    if min(size) == 0:
        return glyph.box
    near = np.asarray(Image.fromarray(near[cut]).resize(size, Image.Resampling.NEAREST))
    paper = np.asarray(Image.fromarray(paper[cut]).resize(size, Image.Resampling.BILINEAR))
    stroke = near & (_share(paper - seen, paper, dark=dark) > _EDGE * full)
    if not stroke.any():
        return glyph.box
    rows, columns = np.flatnonzero(stroke.any(1)), np.flatnonzero(stroke.any(0))
    return (
        (first[1] + columns[0]) / scale, (first[0] + rows[0]) / scale,
        (first[1] + columns[-1] + 1) / scale, (first[0] + rows[-1] + 1) / scale,
    )  # fmt: skip


def _paper_around(glyph: Glyph, window: tuple[slice, slice], own: Mask) -> tuple[Plane, Mask]:
    """The brightness of the paper in a window around a glyph, and which pixels are paper."""
    level = glyph.level
    blank = (level.handwriting[window] < _PAPER[0]) & (level.printed[window] < _PAPER[1])
    if np.count_nonzero(blank) < _FEW:
        blank = ~own if np.count_nonzero(~own) >= _FEW else np.ones_like(own)
    grey = level.grey[window].astype(np.float32)
    return _paper(grey, blank, max(glyph.mask.shape)), blank


def _share(darkness: Plane, paper: Plane, *, dark: bool) -> Plane:
    """Share of the light that ink takes, 0 to 1; or of what the paper lacks to white, if lighter.

    The light on the paper may differ: half of it may be in the shade.
    """
    share = darkness / paper.clip(_DARKEST) if dark else -darkness / 255
    return np.asarray(np.clip(share, 0, 1), np.float32)


def frame_of_strokes(strokes: Plane) -> Plane:
    """The frame of strokes without a picture around them, as `frame_of`.

    Parameters
    ----------
    strokes : float32 (h, w)
        Ink in 0..1, of any size, cut to what is written.
    """
    own = strokes > 0.45
    return frame_of_ink(strokes, own, np.zeros_like(own))


def frame_of_ink(amount: Plane, own: Mask, others: Mask) -> Plane:
    """The frame of ink that is cut out, as `frame_of`.

    Parameters
    ----------
    amount : float32 (h, w)
        How much of the paper's light each pixel takes, 0 to 1.
    own, others : bool (h, w)
        The pixels of the glyph, which touch all four sides, and those of other ink.
    """
    return _framed(_stroke_shape(amount, own, others))


def already_normal(grey: Grey) -> tuple[Plane, tuple[int, int, int, int]] | None:
    """The frame, and the ink's box, of a picture made as MNIST's are; None of any other.

    Normalising one again would only blur it. It is one if it has 28 by 28 pixels, a flat
    background, full contrast, ink no larger than the 20 by 20 box and its centre of mass in the
    middle, in either polarity.

    Parameters
    ----------
    grey : uint8 (h, w)

    Returns
    -------
    frame : float32 (28, 28)
        As `frame_of`.
    box : tuple of four int
        x, y, width and height of the ink, pixels.
    """
    if grey.shape != (SIDE, SIDE):
        return None
    half = grey.size // 2
    levels = grey if np.count_nonzero(grey < 128) > half else np.invert(grey)
    if np.count_nonzero(levels <= 8) <= half or levels.max() < 240:
        return None
    columns, rows = (np.flatnonzero((levels > 32).any(axis)) for axis in (0, 1))
    left, top = int(columns[0]), int(rows[0])
    width, height = int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top
    x, y = _centre_of_mass(levels)
    if max(width, height) > FIT or max(abs(x - SIDE / 2), abs(y - SIDE / 2)) > 1:
        return None
    return levels / np.float32(255), (left, top, width, height)


def _framed(stroke: Plane) -> Plane:
    """Scale strokes, float32 (h, w) in 0..1, to 20x20 and centre their mass in 28x28.

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


def _surroundings(glyph: Glyph) -> tuple[tuple[slice, slice], Mask]:
    """A window of the glyph's level around it, and the glyph's own pixels there."""
    height, width = glyph.mask.shape
    margin = max(3, round(_MARGIN * max(height, width)))
    top, left = max(0, glyph.top - margin), max(0, glyph.left - margin)
    rows = slice(top, min(glyph.level.grey.shape[0], glyph.top + height + margin))
    columns = slice(left, min(glyph.level.grey.shape[1], glyph.left + width + margin))
    own = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.bool_)
    y, x = glyph.top - top, glyph.left - left
    own[y : y + height, x : x + width] = glyph.mask
    return (rows, columns), own


def _paper(grey: Plane, blank: Mask, side: int) -> Plane:
    """The brightness that the paper has at each pixel, float32 (h, w).

    The mean of the blank pixels near it, so that the edge of a shadow does not pass for ink; where
    there are none, a plane through all of them by least squares.
    """
    y, x = np.nonzero(blank)
    step = max(1, len(y) // _SAMPLE)
    y, x = y[::step], x[::step]
    known = np.stack([np.ones(len(y)), x, y], axis=1)
    (level, across, down), *_ = np.linalg.lstsq(known, grey[y, x], rcond=None)
    rows, columns = np.arange(grey.shape[0]), np.arange(grey.shape[1])
    plane = (level + across * columns + down * rows[:, None]).astype(np.float32)
    reach = max(2, round(_NEAR * side))
    apart = np.where(blank, grey - plane, np.float32(0))
    sums = running_sums(padded(apart, reach), 2 * reach + 1)
    counts = running_sums(padded(blank.astype(np.float32), reach), 2 * reach + 1)
    return np.asarray(plane + sums / (counts + reach), np.float32)


def _stroke_shape(amount: Plane, own: Mask, others: Mask) -> Plane:
    """Strokes at full intensity with soft edges, thick enough for the frame, float32 in 0..1.

    Pencil and ballpoint thus look as MNIST's pens do. Soft edges reach one pixel of the frame
    beyond the mask, but not into `others`.
    """
    pixel = max(own.shape) / FIT
    full = max(float(percentile(amount[own], 90)), 1e-6)
    stroke: Plane = np.clip((amount / full - 0.2) / 0.8, 0, 1)
    reach = max(1, round(pixel))
    near = extreme(padded(own, reach), 2 * reach + 1, np.logical_or)
    stroke[~near | others] = 0
    lacking = MIN_STROKE * pixel - stroke_width(own)
    if lacking > 0:
        grow = int(np.ceil(lacking / 2))
        stroke = extreme(padded(stroke, 2 * grow), 2 * grow + 1, np.maximum)
    return stroke


def _centre_of_mass(levels: NDArray[np.float32] | Grey) -> tuple[float, float]:
    """Column and row of the centre of mass."""
    columns, rows = levels.sum(axis=0, dtype=np.float64), levels.sum(axis=1, dtype=np.float64)
    total = float(columns.sum()) or 1.0
    x, y = columns @ np.arange(len(columns)), rows @ np.arange(len(rows))
    return float(x) / total, float(y) / total
