"""Grey picture to ink: what was written, whatever the paper, the pen and the light."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from digits.components import Components, connected
from digits.image import Grey
from digits.morphology import extreme

Plane = NDArray[np.float32]
Mask = NDArray[np.bool_]

MIN_CONTRAST = 0.06  # of ink, as a share of the paper's brightness
NOISE_FACTOR = 5  # standard deviations of the paper's grain that ink must exceed
MIN_SLOPE = 4 * 255  # at the edge of a stroke, grey levels over the picture's longer side
TIGHT = 0.05  # share of wide ink above which a picture is a tight crop of a digit
TIGHT_STROKE = 4  # how wide that is, in 64ths of the longer side


@dataclass(frozen=True)
class Ink:
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


def ink_of(grey: Grey) -> Ink:
    """Separate ink from paper, whatever the light."""
    grey = _enlarged(grey)
    grey = grey if _dark_on_light(grey) else 255 - grey
    if _tightly_cropped(grey):
        paper = np.percentile(grey, 95).astype(np.float32)
        amount = np.clip(1 - grey / max(paper, np.float32(32)), 0, 1)
        return Ink(amount, _thresholded(amount, MIN_CONTRAST), _steep(grey), tight=True)
    smooth = np.asarray(Image.fromarray(grey).filter(ImageFilter.BoxBlur(1)))
    amount, floor = _darkness(smooth, _closing(smooth, max(grey.shape) // 4))
    amount = np.where(_without_edges(_without_rules(amount > floor)), amount, np.float32(0))
    return Ink(amount, _thresholded(amount, floor), _steep(grey), tight=False)


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
    inner = extreme(dark, TIGHT_STROKE, np.logical_and)
    wide = extreme(np.pad(inner, TIGHT_STROKE - 1), TIGHT_STROKE, np.logical_or)
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
    return extreme(extreme(wide, size, np.maximum), size, np.minimum)


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
    edge = np.concatenate([[False], along_border(parts, 0.5)])
    return np.asarray(mask & ~edge[parts.labels])


def along_border(parts: Components, share: float) -> Mask:
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
    thick = extreme(extreme(padded, size, np.logical_and, (0,)), size, np.logical_or, (0,))
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
