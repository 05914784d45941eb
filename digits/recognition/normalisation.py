"""Normalisation: turn a glyph into a 28x28 frame as MNIST's digits are normalised.

The preprocessing has a version, `config.PREPROCESSING`: a classifier is served only with the
version that it was trained on.

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

SIDE = 28  # pixels, side of a frame
FIT = 20  # pixels, side of the centred box that a glyph is scaled to; both as in MNIST
# Pixels of a frame, least width of a stroke; thinner ones are thickened. The strokes of 95 % of
# MNIST's digits are wider than 1.6.
MIN_STROKE = 1.8

# All chosen by eye on development pictures.
_MARGIN = 0.3  # share of a glyph's longer side: width of the surroundings whose paper is measured
_PAPER = 25, 60  # of 255, probabilities of handwriting and of print below which a pixel is paper
_NEAR = 0.15  # share of a glyph's longer side: radius in which a pixel's paper is averaged
_STROKE = 0.3  # share of a glyph's darkness from which a pixel is part of its strokes
_EDGE = 0.5  # share of a glyph's darkness from which a pixel is inside its box
_FULL = 90  # of 255, probability of handwriting from which a pixel's darkness is not reduced
_SAMPLE = 400  # pixels of paper to which the plane of its brightness is fitted, about
_MEDIAN_OF_NORMAL = 0.6745  # median of the absolute value of a standard normal variable
_DARKEST = 32  # of 255, least brightness that the paper is assumed to have
_FEW = 8  # pixels of paper; from fewer its brightness is not estimated


def frame_of(glyph: Glyph) -> Plane:
    """Return the frame of a glyph: float32 (28, 28), white ink on black in 0..1.

    Ink is measured relative to the brightness of the paper around each pixel. Other glyphs and
    print are removed.
    """
    return frame_and_contrast(glyph)[0]


def frame_and_contrast(glyph: Glyph) -> tuple[Plane, float]:
    """Return the frame of a glyph as `frame_of`, and the glyph's contrast to its paper.

    The contrast is the mean difference in grey levels, in standard deviations of the paper's grain.
    It is low for digits that the networks detect in noise, because these are made of grain.
    """
    level = glyph.level
    window, own = _surroundings(glyph)
    handwriting = level.handwriting[window]
    grey = level.grey[window].astype(np.float32)
    paper, blank = _paper_around(glyph, window, own)
    darkness = paper - grey
    # By the median, because at the edge of a shadow a few pixels differ much from the estimate.
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
    """Return the bounding box of a glyph's ink, refined on a picture of higher resolution.

    Parameters
    ----------
    glyph
        The glyph. If its level is finer than `grey`, its own box is returned.
    grey : uint8 (h, w)
        The picture.
    scale
        Pixels of `grey` for one pixel of the full-size picture.

    Returns
    -------
    tuple of four float
        Left, top, right and bottom in pixels of the full-size picture.
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
    """Return the paper's brightness at each pixel of a window, and the mask of paper pixels."""
    level = glyph.level
    blank = (level.handwriting[window] < _PAPER[0]) & (level.printed[window] < _PAPER[1])
    if np.count_nonzero(blank) < _FEW:
        blank = ~own if np.count_nonzero(~own) >= _FEW else np.ones_like(own)
    grey = level.grey[window].astype(np.float32)
    return _paper(grey, blank, max(glyph.mask.shape)), blank


def _share(darkness: Plane, paper: Plane, *, dark: bool) -> Plane:
    """Return the amount of ink at each pixel, 0 to 1.

    Dark ink is measured as the share of the paper's brightness that it absorbs, which does not
    depend on shadows on the paper. Light ink is measured as the increase, as a share of white.
    """
    share = darkness / paper.clip(_DARKEST) if dark else -darkness / 255
    return np.asarray(np.clip(share, 0, 1), np.float32)


def frame_of_strokes(strokes: Plane) -> Plane:
    """Return the frame of strokes that are not part of a picture, as `frame_of`.

    Parameters
    ----------
    strokes : float32 (h, w)
        Ink in 0..1, cut to the strokes' bounding box; of any size.
    """
    own = strokes > 0.45
    return frame_of_ink(strokes, own, np.zeros_like(own))


def frame_of_ink(amount: Plane, own: Mask, others: Mask) -> Plane:
    """Return the frame of ink that is cut out of a picture, as `frame_of`.

    Parameters
    ----------
    amount : float32 (h, w)
        Amount of ink at each pixel, 0 to 1.
    own, others : bool (h, w)
        The pixels of the glyph, whose bounding box is the whole window, and those of other ink.
    """
    return _framed(_stroke_shape(amount, own, others))


def already_normal(grey: Grey) -> tuple[Plane, tuple[int, int, int, int]] | None:
    """Return the frame and the box of a picture that is already normalised like MNIST's.

    Normalising such a picture again would blur it. A picture is already normalised if it has 28 by
    28 pixels, a uniform background, full contrast, ink of at most 20 by 20 pixels, and the ink's
    centre of mass in the middle, in either polarity.

    Parameters
    ----------
    grey : uint8 (h, w)
        The picture.

    Returns
    -------
    frame : float32 (28, 28)
        As `frame_of`.
    box : tuple of four int
        x, y, width and height of the ink, pixels.
    None
        If the picture is not normalised.
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
    """Scale strokes, float32 (h, w) in 0..1, to 20x20 and centre their mass in a 28x28 frame.

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
    """Return a window of the level around a glyph, and the mask of the glyph's pixels in it."""
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
    """Estimate the paper's brightness at each pixel, float32 (h, w).

    It is the mean of the blank pixels within `_NEAR`, so that the edge of a shadow is not taken for
    ink. Where there are few or none, it approaches a plane fitted to all blank pixels.
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
    """Return strokes at full intensity with soft edges and a least width, float32 in 0..1.

    Faint and thin strokes of pencils and ballpoint pens become like those of MNIST's pens. Soft
    edges extend one pixel of the frame beyond the mask, but not into `others`.
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
    """Return column and row of the centre of mass."""
    columns, rows = levels.sum(axis=0, dtype=np.float64), levels.sum(axis=1, dtype=np.float64)
    total = float(columns.sum()) or 1.0
    x, y = columns @ np.arange(len(columns)), rows @ np.arange(len(rows))
    return float(x) / total, float(y) / total
