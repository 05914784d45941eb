"""Grey picture to ink: what was written, whatever the paper, the pen and the light.

No one way of telling ink from paper suits every picture, so there are several, the likeliest first;
which of them shows digits is for the recogniser to say.
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

ENLARGED = 64  # pixels of the longer side that a smaller picture is brought to
TINY = 40  # pixels of the longer side below which a picture is a digit cut from a form
BOLD_EDGE = 0.2  # darkness at which ink begins there: a stroke is a pixel or two, and none is clean
# Windows of the closing, as shares of the longer side: any marker's stroke is narrower than the
# first, a pen's than the second, and fewer shadows are.
WINDOWS = (1 / 4, 1 / 9)
NEAR = 1 / 6  # the same window where it is known about where the ink is
LIKELY = 0.35  # from which a pixel may be ink there
MIN_CONTRAST = 0.06  # of ink, as a share of the paper's brightness
NOISE_FACTOR = 4.5  # standard deviations of the paper's grain that ink must exceed
EDGE = 0.34  # of its stroke's darkest: where the stroke ends
WIDE = 0.1  # of a stroke, as a share of the longer side: fragments of it may pass for digits
MAX_EDGE = 0.005  # of the picture: what may be left out as an edge without doubts
MIN_APART = 0.7  # of a crop's ink and paper, as Otsu's eta
CROP_CONTRAST = 0.25  # of a crop's ink, as a share of the paper's brightness
SLOPES = 41  # of printed lines that are tried, from a tenth down to a tenth up
MANY = 4  # lines of one slope, which may be shorter then
MIN_SLOPE = 4 * 255  # at the edge of a stroke, grey levels over the picture's longer side


@dataclass(frozen=True)
class Ink:
    """A picture's ink, told from paper in one way.

    Attributes
    ----------
    grey : uint8 (h, w)
        The picture, inverted where ink is lighter than paper.
    amount : float32 (h, w)
        How much of the paper's light each pixel takes, 0 to 1.
    mask : bool (h, w)
        Where that is enough to be ink.
    steep : bool (h, w)
        Where grey levels change as fast as at the edge of a stroke.
    tight : bool
        Whether the picture is taken for a tight crop, whose digit may touch its border.
    sure : bool
        Whether no stroke can have been taken for a shadow, so that what was read can be trusted.
    """

    grey: Grey
    amount: Plane
    mask: Mask
    steep: Mask
    tight: bool
    sure: bool


def readings(grey: Grey) -> Iterator[Iterator[Ink]]:
    """Tell ink from paper in several ways, the likeliest first.

    As dark on light or light on dark, whichever there is more sign of, then the other way round;
    each by wide strokes, by narrow ones, and as a tight crop on paper of one brightness.
    """
    tiny = max(grey.shape) < TINY
    grey = _enlarged(grey)
    smooth = _blurred(grey, 1)
    calm = _blurred(smooth, 3)
    steep = _steep(grey)
    dark = _dark_on_light(grey)
    for light in (not dark, dark):
        turn = np.invert if light else np.asarray
        yield _ways(turn(grey), turn(smooth), turn(calm), steep, tiny=tiny)


def where_likely(grey: Grey, likely: Plane) -> Ink:
    """Tell ink from paper where it is known about where the ink is.

    Ink is what is darker there than the paper around it, or lighter, whichever most of it is.

    Parameters
    ----------
    grey : uint8 (h, w)
        The picture.
    likely : float32 (h, w)
        How likely each pixel is ink, 0 to 1; somewhere it must be more than a half.
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


def _ways(grey: Grey, smooth: Grey, calm: Grey, steep: Mask, *, tiny: bool) -> Iterator[Ink]:
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
    """Whether a square of `width` pixels fits into the ink."""
    if min(mask.shape) < width:
        return False
    return bool(extreme(mask, max(width, 2), np.logical_and).any())


def _on_page(smooth: Grey, calm: Grey, steep: Mask, window: int, *, sure: bool) -> Ink:
    """Ink as what is darker than the paper around it, narrower than a window, no printed line.

    It is not `sure` where much is left out as the edge of a page or shadow: writing may be in it.
    """
    amount, floor = _darkness(smooth, _closing(smooth, calm, window))
    weak = _without_rules(amount > floor)
    parts = connected(weak)
    edge = along_border(parts, 0.5)
    sure = sure and int(parts.area[edge].sum()) < MAX_EDGE * weak.size
    return Ink(smooth, amount, _strong(amount, weak, parts, ~edge), steep, tight=False, sure=sure)


def _on_crop(grey: Grey, steep: Mask, dark: Mask, paper: float, *, sure: bool) -> Ink:
    """Ink as what is darker than paper of one brightness, as in digits cut from forms."""
    amount = np.clip(1 - grey / np.float32(paper), 0, 1)
    return Ink(grey, amount, _without_bands(dark), steep, tight=True, sure=sure)


def _dark(grey: Grey, *, bold: bool) -> tuple[Mask, float]:
    """What is darker than paper of one brightness, and that; nothing if they are not well apart."""
    sample = grey if grey.size < 10_000 else grey[::2, ::2]
    paper = max(float(percentile(sample, 95)), 32.0)
    threshold, apart, contrast = _otsu(sample)
    if apart < MIN_APART or contrast < CROP_CONTRAST * paper:
        return np.zeros(grey.shape, np.bool_), paper
    level = max(threshold, paper * (1 - BOLD_EDGE)) if bold else threshold
    return grey < min(level, paper * (1 - MIN_CONTRAST)), paper


def _without_bands(mask: Mask) -> Mask:
    """Take out the parts that touch most of one side of the picture: a band or a frame."""
    parts = connected(mask)
    return parts.where(~_along_a_side(parts))


def _enlarged(grey: Grey) -> Grey:
    """Enlarge a small picture, so that strokes are several pixels wide."""
    factor = -(-ENLARGED // max(grey.shape))
    if factor <= 1:
        return grey
    size = (grey.shape[1] * factor, grey.shape[0] * factor)
    return np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.LANCZOS))


def _blurred(grey: Grey, radius: int) -> Grey:
    """Mean of squares of 2 `radius` + 1 pixels: Pillow's `BoxBlur`, quicker for small ones."""
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
    """Whether ink seems darker than what it is on.

    Narrow dark things are looked for and narrow light ones, and the stronger kind is ink; a shadow
    is neither. Strokes too wide for that, or loops as narrow as strokes, leave it open: then ink is
    the rarer extreme, which is the sign of the grey levels' skewness about their surroundings.
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
    """Sum of the third powers. By products: NumPy's own power takes ten times as long."""
    values = values.astype(np.float32)
    return float((values * values * values).sum())


def _closing(grey: Grey, calm: Grey, window: int) -> Grey:
    """The paper under the ink: grey closing, uint8 (h, w), by a square of `window` pixels.

    It keeps every shadow, fold or gradient that is wider than the window and covers what is
    narrower (Serra, "Image Analysis and Mathematical Morphology", 1982). The picture goes on beyond
    its border as the point reflection of `calm`, which is the picture without its grain.
    """
    size = window | 1
    margin = min(size, *grey.shape) - 1
    wide = _reflected(calm, margin)
    wide[margin : margin + grey.shape[0], margin : margin + grey.shape[1]] = grey
    if margin < size - 1:
        wide = np.pad(wide, size - 1 - margin, mode="edge")
    return extreme(extreme(wide, size, np.maximum), size, np.minimum)


def _reflected(grey: Grey, margin: int) -> Grey:
    """A plane and `margin` pixels beyond each border, as its point reflection there."""
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
    """How much of the paper's light each pixel takes, float32 (h, w) in 0..1, and its floor.

    The floor is what the paper's own grain does not reach, told from the side on which there is no
    ink. Grain also lifts a closing above the paper's mean; the median brings that back to zero.
    """
    share = (paper - grey) / np.maximum(paper, 32).astype(np.float32)
    sample = share[::4, ::4]
    below, middle = percentile(sample, np.float64(16)), percentile(sample, np.float64(50))
    floor = max(MIN_CONTRAST, NOISE_FACTOR * float(middle - below))
    return np.clip(share - np.float32(middle), 0, 1), floor


def _strong(amount: Plane, weak: Mask, parts: Components, kept: Mask) -> Mask:
    """What is ink: in each part of what is weak, what is at least `EDGE` of the darkest there.

    Each part has a threshold of its own (a hysteresis, as Canny's edge detector has one, 1986), so
    that faint writing survives beside dark, and what clings to dark writing does not.
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
    """Where grey levels change as fast as at the edge of a stroke: a gradient's never do."""
    levels = grey.astype(np.int16)
    change = np.zeros(grey.shape, np.int16)
    change[1:-1] = np.abs(levels[2:] - levels[:-2])
    change[:, 1:-1] = np.maximum(change[:, 1:-1], np.abs(levels[:, 2:] - levels[:, :-2]))
    return np.asarray(change > 2 * MIN_SLOPE / max(grey.shape))


def _otsu(grey: Grey) -> tuple[float, float, float]:
    """The level that best parts the dark from the light, how well it does, and their distance.

    Otsu, "A threshold selection method from gray-level histograms", 1979; how well is his eta, the
    share of the variance that the parting explains: 0.75 for levels that are spread evenly, up to 1
    for two groups. The distance is that of the means, in grey levels.
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
    """Which parts touch the border with more than a share of their longer side, (n,).

    The table beside the page, the rim of a shadow.
    """
    labels = parts.labels
    border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    contact = np.bincount(border, minlength=len(parts) + 1)[1:]
    extent = np.maximum(parts.right - parts.left, parts.bottom - parts.top)
    return np.asarray(contact > share * extent)


def _along_a_side(parts: Components) -> Mask:
    """Which parts touch most of one side of the picture, (n,): a band or a frame, no digit."""
    labels = parts.labels
    sides = (labels[0], labels[-1], labels[:, 0], labels[:, -1])
    touched = [np.bincount(side, minlength=len(parts) + 1)[1:] / len(side) for side in sides]
    return np.asarray(np.max(touched, axis=0) > 0.8)


def _without_rules(mask: Mask) -> Mask:
    """Take out printed lines and squares: thin, straight, and right across the picture."""
    upright: Mask = _without_lines(_without_lines(mask).T).T
    return upright


def _without_lines(mask: Mask) -> Mask:
    """Take out near-horizontal lines as wide as half of the picture; or a quarter, if many are.

    A Hough transform over small slopes (Duda and Hart, 1972), on those pixels only whose stroke is
    no thicker than a printed line, so that a digit's strokes survive where a line crosses them.
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
    # How far a line of each slope is below its middle, at each column, in whole rows.
    slopes = np.linspace(-0.1, 0.1, SLOPES)
    below = np.rint(np.outer(np.arange(width) - width / 2, slopes)).astype(np.intp)
    # The row in which a line of each slope through each pixel crosses the middle column.
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
    """Which rows of a Hough transform's `count`, (slopes, rows), are lines or beside one."""
    full, several = count > width / 2, count > width / 4
    many = np.count_nonzero(several[:, 1:] & ~several[:, :-1], axis=1) >= MANY
    full |= several & many[:, None]
    lines: Mask = full.copy()
    lines[:, 1:] |= full[:, :-1]
    lines[:, :-1] |= full[:, 1:]
    return lines
