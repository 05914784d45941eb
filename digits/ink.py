"""Binarisation: find the ink of a picture by its darkness and width.

No single binarisation suits every paper, pen and light. There are therefore several, the likeliest
first; `digits.reading` chooses the one whose result is best.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from digits.components import Components, connected
from digits.image import Grey
from digits.morphology import extreme, padded, running_sums
from digits.order import percentile

Plane = NDArray[np.float32]
Mask = NDArray[np.bool_]

# All chosen by eye on development pictures.
ENLARGED = 64  # pixels, longer side to which smaller pictures are enlarged
TINY = 40  # pixels, longer side below which a picture is taken for a digit cut from a form
# Darkness, share of the paper's brightness, from which a pixel of such a crop or of a bold stroke
# is ink. It is low, because strokes of one or two pixels never have full contrast.
BOLD_EDGE = 0.2
# Windows of the closing, shares of the longer side: a marker's stroke is narrower than the first, a
# pen's than the second. The narrower the window, the fewer shadows are taken for ink.
WINDOWS = (1 / 4, 1 / 9)
NEAR = 1 / 6  # window of the closing if the probability of ink is known; share of the longer side
LIKELY = 0.35  # least probability of ink, if that is known
MIN_CONTRAST = 0.06  # least contrast of ink, share of the paper's brightness
NOISE_FACTOR = 4.5  # least contrast of ink in standard deviations of the paper's grain
EDGE = 0.34  # share of a component's greatest darkness from which a pixel is ink
WIDE = 0.1  # width of a bold stroke, share of the longer side; its fragments may look like digits
MAX_EDGE = 0.005  # share of the picture's pixels: more removed as edges makes a result uncertain
MIN_APART = 0.7  # least separation of a crop's ink and paper, as Otsu's eta
CROP_CONTRAST = 0.25  # least contrast of a crop's ink, share of the paper's brightness
SLOPES = 41  # slopes of ruling lines that are tried, from -0.1 to 0.1
MANY = 4  # lines of one slope from which they count with half of the length
# Least gradient at the edge of a stroke: grey levels a pixel, times the longer side in pixels.
MIN_SLOPE = 4 * 255


@dataclass(frozen=True)
class Ink:
    """A binarisation of a picture.

    Attributes
    ----------
    grey : uint8 (h, w)
        The picture, inverted if ink is lighter than paper.
    amount : float32 (h, w)
        Amount of ink: the share of the paper's brightness that each pixel lacks, 0 to 1.
    mask : bool (h, w)
        The pixels that are ink.
    steep : bool (h, w)
        Where grey levels change as fast as at the edge of a stroke.
    tight : bool
        Whether the picture is taken for a tight crop, whose digit may touch its border.
    sure : bool
        Whether the binarisation cannot have removed a stroke as a shadow.
    """

    grey: Grey
    amount: Plane
    mask: Mask
    steep: Mask
    tight: bool
    sure: bool


def binarisations(grey: Grey) -> Iterator[Iterator[Ink]]:
    """Yield the binarisations of a picture, the likeliest first, grouped by polarity.

    The likelier polarity is first. For each, there is one with a window for wide strokes, one for
    narrow strokes, and one of a tight crop on paper of uniform brightness; see `_by_polarity`.
    """
    tiny = max(grey.shape) < TINY
    grey = _enlarged(grey)
    smooth = _blurred(grey, 1)
    calm = _blurred(smooth, 3)
    steep = _steep(grey)
    dark = _dark_on_light(grey)
    for light in (not dark, dark):
        turn = np.invert if light else np.asarray
        yield _by_polarity(turn(grey), turn(smooth), turn(calm), steep, tiny=tiny)


def binarise_where(grey: Grey, likely: Plane) -> Ink:
    """Binarise a picture where ink is likely.

    The polarity is that of most of the likely pixels, compared with their surroundings.

    Parameters
    ----------
    grey : uint8 (h, w)
        The picture.
    likely : float32 (h, w)
        Probability of ink at each pixel, 0 to 1; above a half for at least one.
    """
    side = max(grey.shape)
    inked = likely > 0.5
    around = _blurred(grey, max(2, side // 40))
    if float(grey[inked].mean()) > float(around[inked].mean()):
        grey = ~grey
    smooth = _blurred(grey, 1)
    amount, _ = _darkness(smooth, _closing(smooth, _blurred(smooth, 3), round(side * NEAR)))
    amount *= np.clip(2 * likely / LIKELY - 1, 0, 1)
    weak = (amount > MIN_CONTRAST) & (likely > LIKELY)
    parts = connected(weak)
    mask = _strong(amount, weak, parts, np.ones(len(parts), np.bool_))
    return Ink(smooth, amount, mask, np.ones_like(mask), tight=False, sure=True)


def _by_polarity(grey: Grey, smooth: Grey, calm: Grey, steep: Mask, *, tiny: bool) -> Iterator[Ink]:
    """Yield the binarisations of a picture with dark ink.

    A tiny picture has one only, as a crop with bold strokes. A picture with wide dark areas also
    starts with that one.
    """
    if tiny:
        yield _on_crop(grey, steep, *_dark(grey, bold=True), sure=True)
        return
    width = round(WIDE * max(grey.shape))
    dark, paper = _dark(grey, bold=False)
    wide = _has_wide(dark, width) and _has_wide(_without_bands(dark), width)
    if wide:
        yield _on_crop(grey, steep, *_dark(grey, bold=True), sure=True)
    for share in WINDOWS:
        sure = share == WINDOWS[0] and not wide
        yield _on_page(smooth, calm, steep, round(share * max(grey.shape)), sure=sure)
    if not wide:
        yield _on_crop(grey, steep, dark, paper, sure=False)


def _has_wide(mask: Mask, width: int) -> bool:
    """Whether a square of `width` pixels fits into the mask."""
    if min(mask.shape) < width:
        return False
    return bool(extreme(mask, max(width, 2), np.logical_and).any())


def _on_page(smooth: Grey, calm: Grey, steep: Mask, window: int, *, sure: bool) -> Ink:
    """Binarise by the darkness relative to the paper around, without ruling lines and edges.

    Strokes are narrower than `window`. The result is not `sure` if more than `MAX_EDGE` is removed
    as the edge of a page or of a shadow, because that may contain writing.
    """
    amount, floor = _darkness(smooth, _closing(smooth, calm, window))
    weak = _without_rules(amount > floor)
    parts = connected(weak)
    edge = along_border(parts, 0.5)
    sure = sure and int(parts.area[edge].sum()) < MAX_EDGE * weak.size
    return Ink(smooth, amount, _strong(amount, weak, parts, ~edge), steep, tight=False, sure=sure)


def _on_crop(grey: Grey, steep: Mask, dark: Mask, paper: float, *, sure: bool) -> Ink:
    """Binarise a tight crop on paper of uniform brightness, such as a digit cut from a form."""
    amount = np.clip(1 - grey / np.float32(paper), 0, 1)
    return Ink(grey, amount, _without_bands(dark), steep, tight=True, sure=sure)


def _dark(grey: Grey, *, bold: bool) -> tuple[Mask, float]:
    """Return the pixels darker than paper of uniform brightness, and that brightness.

    The mask is empty if ink and paper are not well separated. With `bold`, the threshold is at
    least `BOLD_EDGE` below the paper.
    """
    sample = grey if grey.size < 10_000 else grey[::2, ::2]
    paper = max(float(percentile(sample, 95)), 32.0)
    threshold, apart, contrast = _otsu(sample)
    if apart < MIN_APART or contrast < CROP_CONTRAST * paper:
        return np.zeros(grey.shape, np.bool_), paper
    level = max(threshold, paper * (1 - BOLD_EDGE)) if bold else threshold
    return grey < min(level, paper * (1 - MIN_CONTRAST)), paper


def _without_bands(mask: Mask) -> Mask:
    """Remove the components that touch most of one side of the picture: bands and frames."""
    parts = connected(mask)
    return parts.where(~_along_a_side(parts))


def _enlarged(grey: Grey) -> Grey:
    """Enlarge a small picture to `ENLARGED`, so that strokes are several pixels wide."""
    factor = -(-ENLARGED // max(grey.shape))
    if factor <= 1:
        return grey
    size = (grey.shape[1] * factor, grey.shape[0] * factor)
    return np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.LANCZOS))


def _blurred(grey: Grey, radius: int) -> Grey:
    """Blur by squares of 2 `radius` + 1 pixels, as Pillow's `BoxBlur`, but faster if small."""
    size, (height, width) = 2 * radius + 1, grey.shape
    wide = np.empty((height + 2 * radius, width + 2 * radius), np.uint16)
    rows, columns = slice(radius, radius + height), slice(radius, radius + width)
    wide[rows, columns] = grey
    wide[rows, :radius], wide[rows, columns.stop :] = grey[:, :1], grey[:, -1:]
    wide[:radius], wide[rows.stop :] = wide[radius], wide[rows.stop - 1]
    across = (running_sums(wide, size, (1,)) + np.uint16(radius)) // np.uint16(size)
    down = running_sums(across, size, (0,)) + np.uint16(radius)
    return np.asarray(down // size, np.uint8)


def _dark_on_light(grey: Grey) -> bool:
    """Estimate whether ink is darker than the paper.

    The response of narrow dark structures is compared with that of narrow light ones; shadows are
    neither. If the two are similar, as for very wide strokes or narrow loops, ink is assumed to be
    the rarer extreme: the sign of the skewness of the grey levels relative to their surroundings.
    """
    image = Image.fromarray(grey).reduce(max(1, max(grey.shape) // 128))
    small = np.asarray(image.filter(ImageFilter.BoxBlur(0.5)))
    window = max(small.shape) // 14
    dark, light = (
        _cubes(_closing(side, side, window) - side) for side in (small, np.invert(small))
    )
    if max(dark, light) > 3 * min(dark, light):
        return dark > light
    around = image.filter(ImageFilter.GaussianBlur(max(image.size) / 5))
    return _cubes(np.asarray(image, np.float32) - np.asarray(around, np.float32)) <= 0


def _cubes(values: NDArray[Any]) -> float:
    """Return the sum of the third powers; as products, because `**` takes ten times as long."""
    values = values.astype(np.float32)
    return float((values * values * values).sum())


def _closing(grey: Grey, calm: Grey, window: int) -> Grey:
    """Estimate the paper under the ink: grey closing by a square of `window` pixels, uint8 (h, w).

    It preserves shadows, folds and gradients that are wider than the window, and removes darker
    structures that are narrower (Serra, "Image Analysis and Mathematical Morphology", 1982). Beyond
    its border the picture is continued by the point reflection of `calm`, the smoothed picture.
    """
    size = window | 1
    margin = min(size, *grey.shape) - 1
    wide = _reflected(calm, margin)
    wide[margin : margin + grey.shape[0], margin : margin + grey.shape[1]] = grey
    if margin < size - 1:
        wide = np.pad(wide, size - 1 - margin, mode="edge")
    return extreme(extreme(wide, size, np.maximum), size, np.minimum)


def _reflected(grey: Grey, margin: int) -> Grey:
    """Pad a plane by `margin` pixels of its point reflection at each border."""
    height, width = grey.shape
    wide = np.empty((height + 2 * margin, width + 2 * margin), np.int16)
    wide[margin : margin + height, margin : margin + width] = grey
    columns = slice(margin, margin + width)
    for plane, side in ((wide[:, columns], height), (wide.T, width)):
        last = margin + side - 1
        plane[:margin] = 2 * plane[margin] - plane[2 * margin : margin : -1]
        plane[last + 1 :] = 2 * plane[last] - plane[last - margin : last][::-1]
    return np.asarray(wide.clip(0, 255), np.uint8)


def _darkness(grey: Grey, paper: Grey) -> tuple[Plane, float]:
    """Return the amount of ink at each pixel, float32 (h, w) in 0..1, and its least value for ink.

    The least value is above the paper's grain, whose standard deviation is estimated from the
    pixels that are lighter than the median. Grain also raises a closing above the paper's mean;
    subtracting the median corrects that.
    """
    share = (paper - grey) / np.maximum(paper, 32).astype(np.float32)
    sample = share[::4, ::4]
    below, middle = percentile(sample, np.float64(16)), percentile(sample, np.float64(50))
    floor = max(MIN_CONTRAST, NOISE_FACTOR * float(middle - below))
    return np.clip(share - np.float32(middle), 0, 1), floor


def _strong(amount: Plane, weak: Mask, parts: Components, kept: Mask) -> Mask:
    """Threshold each kept component at the share `EDGE` of its greatest darkness.

    Each component has its own threshold, similar to the hysteresis of Canny's edge detector (1986).
    Faint writing is thus preserved, and the faint surroundings of dark writing are removed.
    """
    inside = np.flatnonzero(weak)
    owner, own = parts.labels.ravel()[inside], amount.ravel()[inside]
    peak = np.zeros(len(parts) + 1, np.float32)
    np.maximum.at(peak, owner, own)
    limit = np.concatenate([[np.inf], np.where(kept, EDGE * peak[1:], np.inf)]).astype(np.float32)
    strong = np.zeros(amount.shape, np.bool_)
    strong.ravel()[inside] = own > limit[owner]
    return strong


def _steep(grey: Grey) -> Mask:
    """Return where grey levels change as fast as at the edge of a stroke; shadows change slower."""
    levels = grey.astype(np.int16)
    change = np.zeros(grey.shape, np.int16)
    change[1:-1] = np.abs(levels[2:] - levels[:-2])
    change[:, 1:-1] = np.maximum(change[:, 1:-1], np.abs(levels[:, 2:] - levels[:, :-2]))
    return np.asarray(change > 2 * MIN_SLOPE / max(grey.shape))


def _otsu(grey: Grey) -> tuple[float, float, float]:
    """Return Otsu's threshold, its separation eta, and the distance of the two means.

    Otsu, "A threshold selection method from gray-level histograms", 1979. Eta is the share of the
    variance between the two classes: 0.75 for evenly distributed levels, 1 for two distinct levels.
    The distance is in grey levels.
    """
    count = np.bincount(grey.ravel(), minlength=256)
    level = np.arange(256)
    dark = np.cumsum(count)
    light = dark[-1] - dark
    total = np.cumsum(count * level)
    distance = (total[-1] - total) / light.clip(1) - total / dark.clip(1)
    between = dark * light * distance**2 / float(dark[-1]) ** 2
    best = int(np.argmax(between))
    variance = float((count * level**2).sum() / dark[-1] - (total[-1] / dark[-1]) ** 2)
    if variance < 1:
        return 0.0, 0.0, 0.0
    return best + 0.5, float(between[best]) / variance, float(distance[best])


def along_border(parts: Components, share: float) -> Mask:
    """Return which components touch the border with more than a share of their longer side, (n,).

    Such components are not writing, but the table beside the page or the edge of a shadow.
    """
    labels = parts.labels
    border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    contact = np.bincount(border, minlength=len(parts) + 1)[1:]
    extent = np.maximum(parts.right - parts.left, parts.bottom - parts.top)
    return np.asarray(contact > share * extent)


def _along_a_side(parts: Components) -> Mask:
    """Return which components touch most of one side of the picture, (n,): bands and frames."""
    labels = parts.labels
    sides = (labels[0], labels[-1], labels[:, 0], labels[:, -1])
    touched = [np.bincount(side, minlength=len(parts) + 1)[1:] / len(side) for side in sides]
    return np.asarray(np.max(touched, axis=0) > 0.8)


def _without_rules(mask: Mask) -> Mask:
    """Remove ruling lines, horizontal and vertical: thin, straight, and across the picture."""
    upright: Mask = _without_lines(_without_lines(mask).T).T
    return upright


def _without_lines(mask: Mask) -> Mask:
    """Remove nearly horizontal lines longer than half of the picture's width.

    If at least `MANY` lines have one slope, a quarter of the width suffices. The lines are found by
    a Hough transform over small slopes (Duda and Hart, 1972). Only pixels of thin strokes are used
    and removed, so that a digit's strokes are preserved where a line crosses them.
    """
    height, width = mask.shape
    thickness = max(3, round(0.012 * max(height, width)))
    size = (thickness + 1) | 1
    wide = padded(mask, size - 1, 0)
    thick = extreme(extreme(wide, size, np.logical_and, (0,)), size, np.logical_or, (0,))
    thin = np.flatnonzero(mask & ~thick)
    if not width / 2 < len(thin) < mask.size // 5:
        return mask
    y, x = np.divmod(thin, width)
    # For each slope and column: whole rows by which a line is below its middle.
    slopes = np.linspace(-0.1, 0.1, SLOPES)
    below = np.rint(np.outer(np.arange(width) - width / 2, slopes)).astype(np.intp)
    # For each pixel and slope: the row where the line through the pixel crosses the middle column.
    reach = width // 16 + 2
    rows = height + 2 * reach
    middle = (reach + rows * np.arange(SLOPES) - below)[x]
    middle += y[:, None]
    count = np.bincount(middle.ravel(), minlength=SLOPES * rows).reshape(SLOPES, rows)
    lines = _lines(count, width)
    slope = int((count * lines).sum(axis=1).argmax())
    on_line = lines.ravel()[middle[:, slope]]
    kept: Mask = mask.copy()
    kept[y[on_line], x[on_line]] = False
    return kept


def _lines(count: NDArray[np.intp], width: int) -> Mask:
    """Return which cells of a Hough transform, (slopes, rows), are lines or adjacent to one."""
    full, several = count > width / 2, count > width / 4
    many = np.count_nonzero(several[:, 1:] & ~several[:, :-1], axis=1) >= MANY
    full |= several & many[:, None]
    lines: Mask = full.copy()
    lines[:, 1:] |= full[:, :-1]
    lines[:, :-1] |= full[:, 1:]
    return lines
