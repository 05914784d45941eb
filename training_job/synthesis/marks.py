"""Handwritten marks as ink planes: digits, signs, letters, words and doodles.

A plane is float32 (h, w) in 0..1, cut to its ink. Digits come from MNIST, from strokes drawn by
`training_job.strokes` and from typefaces; those held out for measuring are never mixed with those
to train with.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from training_job import glyphs, photos, strokes

Plane = NDArray[np.float32]
Bytes = NDArray[np.uint8]

_DRAWN = 1_500  # digits drawn stroke by stroke that a process keeps: four seconds of work
_OTHERS = 300  # of each kind of mark that is no digit
_SOURCES = (0.6, 0.28, 0.12)  # shares of MNIST, strokes and typefaces among digits
_FAINTEST = 0.15  # ink below this share is no part of a mark

# Signs of written numbers as skeletons in a unit square of the digit's height, y down: strokes as
# in `strokes`, and how tall and how high the sign stands beside a digit of height 1.
_CIRCLE = tuple((0.5 + 0.5 * np.cos(a), 0.5 + 0.5 * np.sin(a)) for a in np.linspace(0, 6.4, 13))


def _dot(x: float, y: float, size: float) -> tuple[tuple[float, float], ...]:
    return tuple((x + size * (a - 0.5), y + size * (b - 0.5)) for a, b in _CIRCLE)


@dataclass(frozen=True)
class _Sign:
    skeletons: tuple[strokes.Skeleton, ...]
    size: tuple[float, float]  # longer side, in heights of a digit
    middle: tuple[float, float]  # of the sign, in heights of a digit below its top


_SIGNS: dict[str, _Sign] = {
    ".": _Sign(((_dot(0.5, 0.5, 1.0),),), (0.05, 0.16), (0.88, 1.02)),
    ",": _Sign(((((0.6, 0), (0.7, 0.4), (0.3, 1)),), (((0.7, 0), (0.2, 1)),)), (0.15, 0.35),
               (0.95, 1.15)),
    "-": _Sign(((((0, 0.5), (0.5, 0.49), (1, 0.5)),),), (0.25, 0.75), (0.4, 0.62)),
    "+": _Sign(((((0.5, 0), (0.5, 1)), ((0, 0.5), (1, 0.5))),), (0.35, 0.8), (0.4, 0.62)),
    "/": _Sign(((((0.6, 0), (0, 1)),), (((0.4, 0), (0, 1)),)), (0.9, 1.4), (0.4, 0.6)),
    ":": _Sign(((_dot(0.5, 0.1, 0.22), _dot(0.5, 0.9, 0.22)),), (0.35, 0.7), (0.5, 0.7)),
    "(": _Sign(((((0.4, 0), (0.05, 0.5), (0.4, 1)),),), (1.0, 1.4), (0.4, 0.6)),
    ")": _Sign(((((0, 0), (0.35, 0.5), (0, 1)),),), (1.0, 1.4), (0.4, 0.6)),
    "=": _Sign(((((0, 0.3), (1, 0.3)), ((0, 0.7), (1, 0.7))),), (0.35, 0.75), (0.4, 0.62)),
    "×": _Sign(((((0, 0), (1, 1)), ((1, 0), (0, 1))),), (0.35, 0.75), (0.42, 0.7)),
    "÷": _Sign((
        (((0, 0.5), (1, 0.5)), _dot(0.5, 0.15, 0.14), _dot(0.5, 0.85, 0.14)),
        (((0, 0.5), (1, 0.5)), _dot(0.5, 0.12, 0.28), _dot(0.5, 0.88, 0.28)),
    ), (0.4, 0.95), (0.4, 0.62)),
    "%": _Sign(((((0.9, 0), (0.1, 1)), _dot(0.2, 0.2, 0.35), _dot(0.8, 0.8, 0.35)),), (0.7, 1.0),
               (0.45, 0.55)),
}  # fmt: skip
SIGNS = "".join(_SIGNS)


@dataclass(frozen=True)
class Mark:
    """One mark as written.

    Attributes
    ----------
    plane : float32 (h, w)
        Its ink, 0 to 1.
    text : str
        The digit or sign that it shows; empty for any other mark.
    top : float
        Where its upper side is below the upper side of a digit beside it, in that digit's heights.
    """

    plane: Plane
    text: str
    top: float = 0.0


@dataclass(frozen=True)
class _Bank:
    """What one process draws once and uses in many pages."""

    drawn: list[tuple[Bytes, int]]
    signs: dict[str, list[Bytes]]
    words: list[Bytes]
    doodles: list[Bytes]


@cache
def _bank(held_out: bool) -> _Bank:
    rng = np.random.default_rng([0xBA, held_out])
    drawn = []
    for number in range(_DRAWN):
        drawn.append((_packed(strokes.digit(number % 10, rng)), number % 10))
    signs = {
        text: [_packed(_sign(sign, rng)) for _ in range(_OTHERS // 6)]
        for text, sign in _SIGNS.items()
    }
    words = [_packed(_word(rng)) for _ in range(_OTHERS)]
    doodles = [
        _packed(strokes.sign(rng) if number % 2 else strokes.scribble(rng))
        for number in range(_OTHERS)
    ]
    return _Bank(drawn, signs, words, doodles)


def digit(height: float, rng: np.random.Generator, *, held_out: bool = False) -> Mark:
    """A digit whose longer side is about `height` pixels."""
    source = rng.choice(3, p=_SOURCES)
    if source == 0:
        drawing, which = photos.any_digit(rng, held_out=held_out)
    elif source == 1:
        bank = _bank(held_out).drawn
        drawing, which = bank[rng.integers(len(bank))]
    else:
        drawing, which = glyphs.any_digit(rng, held_out=held_out)
    height *= np.exp(rng.normal(0, 0.08))
    return Mark(_sized(drawing, height, rng, sharpen=source != 1), str(which))


def sign(
    height: float, rng: np.random.Generator, text: str | None = None, *, held_out: bool = False
) -> Mark:
    """A sign beside digits `height` pixels tall; by default any of `SIGNS`."""
    text = text or SIGNS[rng.integers(len(SIGNS))]
    drawings = _bank(held_out).signs[text]
    size = rng.uniform(*_SIGNS[text].size)
    plane = _sized(drawings[rng.integers(len(drawings))], size * height, rng, sharpen=False)
    middle = rng.uniform(*_SIGNS[text].middle)
    return Mark(plane, text, middle - plane.shape[0] / height / 2)


def letter(height: float, rng: np.random.Generator, *, held_out: bool = False) -> Mark:
    """A letter or another character that is neither digit nor sign."""
    letters = glyphs.load(held_out=held_out, digits=False)
    drawing = letters.images[rng.integers(len(letters))]
    size = height * rng.uniform(0.6, 1.1)
    plane = _sized(drawing, size, rng, sharpen=True)
    return Mark(plane, "", 1 - plane.shape[0] / height)


def word(height: float, rng: np.random.Generator, *, held_out: bool = False) -> Mark:
    """A word in joined-up writing."""
    words = _bank(held_out).words
    drawing = words[rng.integers(len(words))]
    tall = height * rng.uniform(0.5, 1.2)
    scale = tall / drawing.shape[0]
    return Mark(_sized(drawing, scale * max(drawing.shape), rng, sharpen=False), "")


def doodle(height: float, rng: np.random.Generator, *, held_out: bool = False) -> Mark:
    """A drawing, a tick or a scribble."""
    doodles = _bank(held_out).doodles
    return Mark(_sized(doodles[rng.integers(len(doodles))], height, rng, sharpen=False), "")


def _packed(plane: NDArray[np.floating]) -> Bytes:
    return np.round(plane * 255).clip(0, 255).astype(np.uint8)


def _sized(drawing: Bytes, side: float, rng: np.random.Generator, *, sharpen: bool) -> Plane:
    """A drawing with its longer side at `side` pixels, leaning and turned a little."""
    drawing = _cut(drawing)
    image = Image.fromarray(np.pad(drawing, max(2, max(drawing.shape) // 12)))
    scale = max(side, 2.0) / max(drawing.shape)
    size = (max(2, round(image.width * scale)), max(2, round(image.height * scale)))
    image = image.resize(size, Image.Resampling.BICUBIC if scale > 1 else Image.Resampling.BOX)
    turn, lean = rng.normal(0, 4), rng.normal(0, 0.08)
    cos, sin = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    x, y = size[0] / 2, size[1] / 2
    a, b, d, e = cos, sin + lean, -sin, cos
    matrix = (a, b, x - a * x - b * y, d, e, y - d * x - e * y)
    image = image.transform(size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    plane = np.asarray(image, np.float32) / 255
    if sharpen:  # small drawings have soft edges when enlarged, pens do not
        edge, gain = rng.uniform(0.25, 0.65), max(1.0, 1.25 * scale)
        if scale > 0.8:
            plane = np.clip((plane - edge) * gain + 0.5, 0, 1)
    if side > 30 and rng.random() < 0.08:  # a bold marker
        width = int(rng.integers(1, max(2, side // 16))) * 2 + 1
        wide = Image.fromarray(_packed(np.pad(plane, width))).filter(ImageFilter.MaxFilter(width))
        plane = np.asarray(wide, np.float32) / 255
    return plane[_inked(plane)]


def _cut(drawing: Bytes) -> Bytes:
    return drawing[_inked(drawing / np.float32(255))]


def _inked(plane: Plane) -> tuple[slice, slice]:
    rows = np.flatnonzero(plane.max(1) > _FAINTEST)
    columns = np.flatnonzero(plane.max(0) > _FAINTEST)
    if len(rows) == 0:
        return slice(0, plane.shape[0]), slice(0, plane.shape[1])
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _sign(sign: _Sign, rng: np.random.Generator) -> NDArray[np.float64]:
    skeleton = sign.skeletons[rng.integers(len(sign.skeletons))]
    shift, bend = rng.normal(0, 0.03, (8, 2)), rng.normal(0, 0.02, (4, 4, 2))
    lines = []
    for number, stroke in enumerate(skeleton):
        points = np.array(stroke) + shift[number % 8]
        lines.append(strokes._by_hand(points, bend, 1.0, rng.normal(0, 0.06), rng))
    pen = np.exp(rng.uniform(np.log(0.05), np.log(0.2)))
    return strokes.drawn(lines, pen, rng)


def _word(rng: np.random.Generator) -> NDArray[np.float64]:
    """Loops and arches on a line, now and then one up or down: the look of joined-up writing."""
    points = []
    x = 0.0
    for _ in range(int(rng.integers(4, 16))):
        high = rng.choice((0.45, 1.0), p=(0.75, 0.25)) * rng.uniform(0.85, 1.15)
        low = -0.4 if rng.random() < 0.1 else rng.uniform(-0.05, 0.08)
        back = rng.uniform(-0.15, 0.12)
        points += [(x, low), (x + rng.uniform(0.1, 0.25), high), (x + 0.25 + back, low)]
        x += rng.uniform(0.25, 0.5)
    line = np.array(points) * (1, -1)
    pen = np.exp(rng.uniform(np.log(0.012), np.log(0.035)))
    return strokes.drawn([strokes.smooth(line)], pen, rng)
