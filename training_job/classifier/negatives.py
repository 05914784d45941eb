"""Frames of negatives: drawings that are not digits, for training and testing the OOD output.

Outlier exposure (Hendrycks, Mazeika and Dietterich, "Deep Anomaly Detection with Outlier
Exposure", ICLR 2019): a network trained on many kinds of negatives also rejects kinds that it has
not seen. Ranges and probabilities of all drawings were chosen by hand.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from digits import preprocess
from digits.recognition.classification import ClassifyFrames
from training_job import glyphs, strokes, synthetic_photos
from training_job.data import Mnist
from training_job.glyphs import Glyphs

Plane = NDArray[np.float64]
Frames = NDArray[np.float32]
Digits28 = NDArray[np.uint8]
DrawNegative = Callable[["_GlyphSource", np.random.Generator], Plane]


class _GlyphSource:
    """Source of the digits and letters that negatives are made from.

    Parameters
    ----------
    digits, truths : uint8 (n, 28, 28), uint8 (n,)
        Images of digits and their labels.
    held_out
        Whether letters are taken from the held-out typefaces.
    """

    def __init__(self, digits: Digits28, truths: NDArray[np.uint8], *, held_out: bool) -> None:
        self.digits, self.truths = digits, truths
        self.letters: Glyphs = glyphs.load(held_out=held_out, digits=False)

    def digit(self, rng: np.random.Generator, only: str = "0123456789") -> Plane:
        """Draw a digit, one of those in `only`, as ink: of the images, or stroke by stroke."""
        while True:
            place = int(rng.integers(len(self.truths)))
            truth = int(self.truths[place])
            if str(truth) not in only:
                continue
            if rng.random() < 0.75:
                return synthetic_photos.stroke(self.digits[place], rng.uniform(0.35, 0.65))
            return strokes.digit(truth, rng)


def frames(
    count: int,
    digits: Digits28,
    truths: NDArray[np.uint8],
    rng: np.random.Generator,
    *,
    held_out: bool = False,
) -> dict[str, Frames]:
    """Draw frames of negatives of every kind, about `count` in all.

    Parameters
    ----------
    count
        Number of frames; each kind gets its share of it, and at least one.
    digits, truths : uint8 (n, 28, 28), uint8 (n,)
        Images of digits and their labels, for merged, cut and rotated digits.
    rng
        Source of all random choices.
    held_out
        Whether letters are taken from the held-out typefaces.

    Returns
    -------
    dict of str to float32 (n, 28, 28)
        The frames by kind.
    """
    source = _GlyphSource(digits, truths, held_out=held_out)
    total = sum(share for share, _ in _KINDS.values())
    return {
        kind: np.stack([
            preprocess.frame_of(draw(source, rng).astype(np.float32))
            for _ in range(max(1, round(count * share / total)))
        ])
        for kind, (share, draw) in _KINDS.items()
    }  # fmt: skip


def rejection_rates(
    classify_frames: ClassifyFrames, mnist: Mnist, count: int
) -> dict[str, dict[str, float]]:
    """Measure which share of about `count` negatives a model rejects, kind by kind.

    The negatives are made from the held-out digits and typefaces.

    Returns
    -------
    dict
        By kind, the number of `frames` and the share `refused` of them that is not accepted.
    """
    pixels = np.round(mnist.held_out.x[..., 0] * 255).astype(np.uint8)
    rng = np.random.default_rng(count)
    drawn = frames(count, pixels, mnist.held_out.y, rng, held_out=True)
    return {
        kind: {"frames": len(made), "refused": float((~classify_frames(made).accepted).mean())}
        for kind, made in drawn.items()
    }


def _letter(source: _GlyphSource, rng: np.random.Generator) -> Plane:
    glyph = source.letters.images[rng.integers(len(source.letters))]
    return _rotated(synthetic_photos.stroke(glyph, rng.uniform(0.3, 0.7)), 12, rng)


def _sign(source: _GlyphSource, rng: np.random.Generator) -> Plane:
    return _rotated(strokes.sign(rng), 12, rng)


def _scribble(source: _GlyphSource, rng: np.random.Generator) -> Plane:
    return _rotated(strokes.scribble(rng), 180, rng)


def _merged(source: _GlyphSource, rng: np.random.Generator) -> Plane:
    """Two to four digits in one frame that touch or nearly touch."""
    count = int(rng.choice([2, 3, 4], p=[0.75, 0.17, 0.08]))
    return synthetic_photos.row([source.digit(rng) for _ in range(count)], 0.7, rng)


def _stacked(source: _GlyphSource, rng: np.random.Generator) -> Plane:
    """Two digits, one above the other."""
    pair = [source.digit(rng) for _ in range(2)]
    width = max(part.shape[1] for part in pair)
    return np.concatenate([
        np.pad(part, ((0, int(rng.integers(0, 12))), (0, width - part.shape[1]))) for part in pair
    ])  # fmt: skip


def _cut(source: _GlyphSource, rng: np.random.Generator) -> Plane:
    """Half of a digit; a slim half is drawn again, since it may look like a 1."""
    while True:
        whole = source.digit(rng, only="023568")
        share = rng.uniform(0.35, 0.65)
        height, width = whole.shape
        if rng.random() < 0.5:
            part = (
                whole[: int(share * height)] if rng.random() < 0.5 else whole[int(share * height) :]
            )
        else:
            part = (
                whole[:, : int(share * width)]
                if rng.random() < 0.5
                else whole[:, int(share * width) :]
            )
        part = synthetic_photos.crop_to_ink(part)
        if part.shape[1] / part.shape[0] > 0.55:
            return part


def _mirrored(source: _GlyphSource, rng: np.random.Generator) -> Plane:
    if rng.random() < 0.6:
        return source.digit(rng, only="3479")[:, ::-1]
    return source.digit(rng, only="47")[::-1]


def _lying(source: _GlyphSource, rng: np.random.Generator) -> Plane:
    """A digit rotated by 90 degrees. Rotated, 0 and 1 may look like digits: they are left out."""
    return np.rot90(source.digit(rng, only="23456789"), int(rng.choice([1, 3])))


def _crossed_out(source: _GlyphSource, rng: np.random.Generator) -> Plane:
    """A digit with a scribble or a sign over it."""
    digit = source.digit(rng)
    over = strokes.scribble(rng) if rng.random() < 0.6 else strokes.sign(rng)
    size = (
        max(4, int(digit.shape[1] * rng.uniform(0.8, 1.5))),
        max(4, int(digit.shape[0] * rng.uniform(0.7, 1.3))),
    )
    over = np.asarray(Image.fromarray(over.astype(np.float32)).resize(size), np.float64)
    height, width = (max(a, b) for a, b in zip(digit.shape, over.shape, strict=True))
    both = np.zeros((height, width))
    for plane in (digit, over):
        top, left = (height - plane.shape[0]) // 2, (width - plane.shape[1]) // 2
        part = both[top : top + plane.shape[0], left : left + plane.shape[1]]
        np.maximum(part, plane, out=part)
    return both


def _texture(source: _GlyphSource, rng: np.random.Generator) -> Plane:
    """Smooth noise above a threshold, as of gravel, stains or leaves."""
    side = 96
    noise = rng.normal(size=(side, side)).astype(np.float32)
    coarse = Image.fromarray(np.round(127 + 127 * np.clip(noise / 3, -1, 1)).astype(np.uint8))
    calm = np.asarray(
        coarse.filter(ImageFilter.GaussianBlur(float(np.exp(rng.uniform(-1, 2.7))))), np.float64
    )
    level = np.quantile(calm, rng.uniform(0.4, 0.95))
    spread = max(float(calm.std()), 1e-3)
    plane = np.clip((calm - level) / spread * 2 + 0.5, 0, 1)
    if rng.random() < 0.5:  # cut to an ellipse
        y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
        plane = plane * (np.hypot(y / rng.uniform(0.5, 1), x / rng.uniform(0.5, 1)) < 1)
    return synthetic_photos.crop_to_ink(plane) if plane.max() > 0.6 else _texture(source, rng)


def _shadow(source: _GlyphSource, rng: np.random.Generator) -> Plane:
    """Wedges, bows, corners and bands, as shadows, page edges and table tops leave them."""
    side = 96
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    plane = np.ones((side, side))
    for _ in range(int(rng.integers(1, 4))):
        angle = rng.uniform(0, 2 * np.pi)
        along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        edge = along + rng.uniform(-0.6, 0.6) + rng.uniform(-0.8, 0.8) * across**2
        if rng.random() < 0.4:  # a band along it
            edge = rng.uniform(0.03, 0.35) - np.abs(edge)
        plane = plane * np.clip(edge / rng.uniform(0.02, 0.3) + 0.5, 0, 1)
    if rng.random() < 0.4:
        plane = plane * (
            rng.random((side // 3, side // 3)).repeat(3, 0).repeat(3, 1) > rng.uniform(0, 0.5)
        )
    if plane.max() < 0.6 or (plane > 0.5).mean() < 0.01:
        return _shadow(source, rng)
    return _redrawn_if_upright(synthetic_photos.crop_to_ink(plane), lambda: _shadow(source, rng))


def _grid(source: _GlyphSource, rng: np.random.Generator) -> Plane:
    """Parts of ruled or squared paper."""
    side = 96
    y, x = np.mgrid[:side, :side].astype(np.float64)
    spacing, thick = rng.uniform(8, 50), rng.uniform(1.5, 9)
    slope = rng.uniform(-0.1, 0.1)
    lines = (y + slope * x + rng.uniform(0, spacing)) % spacing < thick
    if rng.random() < 0.7:
        lines |= (x - slope * y + rng.uniform(0, spacing)) % spacing < thick
    plane = np.where(lines, rng.uniform(0.5, 1), 0)
    window = [slice(int(rng.integers(0, 40)), int(rng.integers(56, side))) for _ in range(2)]
    plane = plane[window[0], window[1]]
    if plane.max() < 0.5:
        return _grid(source, rng)
    return _redrawn_if_upright(synthetic_photos.crop_to_ink(plane), lambda: _grid(source, rng))


def _spots(source: _GlyphSource, rng: np.random.Generator) -> Plane:
    """One to five round or square spots: specks, dots, a full stop, a colon."""
    side = 96
    y, x = np.mgrid[:side, :side]
    plane = np.zeros((side, side))
    for _ in range(int(rng.integers(1, 6))):
        row, column, radius = rng.uniform(10, 86), rng.uniform(10, 86), rng.uniform(4, 22)
        far = np.hypot(y - row, x - column)
        if rng.random() < 0.3:
            far = np.maximum(np.abs(y - row), np.abs(x - column) * rng.uniform(0.4, 1))
        plane = np.maximum(plane, np.clip((radius - far) / rng.uniform(1, 6) + 0.5, 0, 1))
    return _redrawn_if_upright(synthetic_photos.crop_to_ink(plane), lambda: _spots(source, rng))


def _dash(source: _GlyphSource, rng: np.random.Generator) -> Plane:
    """A horizontal line: a dash, or the rest of a ruling line."""
    width = int(rng.integers(60, 110))
    y, x = np.mgrid[: width // 2, :width]
    middle = width / 4 + rng.uniform(-0.18, 0.18) * (x - width / 2)
    plane = np.clip((rng.uniform(0.015, 0.1) * width - np.abs(y - middle)) / 2 + 0.5, 0, 1)
    return synthetic_photos.crop_to_ink(plane)


def _redrawn_if_upright(plane: Plane, again: Callable[[], Plane]) -> Plane:
    """Return the plane; if it is upright and slim, and may look like a 1, return `again()`."""
    return again() if plane.shape[1] < 0.6 * plane.shape[0] else plane


def _rotated(plane: Plane, most: float, rng: np.random.Generator) -> Plane:
    image = Image.fromarray(np.pad(plane, 2).astype(np.float32))
    turned = image.rotate(rng.uniform(-most, most), Image.Resampling.BILINEAR, expand=True)
    return synthetic_photos.crop_to_ink(np.asarray(turned, np.float64))


# The kinds of negatives: relative frequency, and the function that draws one.
_KINDS: dict[str, tuple[float, DrawNegative]] = {
    "letters": (32, _letter),
    "signs": (7, _sign),
    "scribbles": (12, _scribble),
    "merged": (12, _merged),
    "stacked": (2, _stacked),
    "cut": (4, _cut),
    "mirrored": (4, _mirrored),
    "lying": (4, _lying),
    "crossed out": (3, _crossed_out),
    "textures": (7, _texture),
    "shades": (8, _shadow),
    "grids": (4, _grid),
    "spots": (4, _spots),
    "bars": (2, _dash),
}
