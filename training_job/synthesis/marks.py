"""Draw handwritten marks as ink planes: digits, signs, letters, words and drawings.

Digits are MNIST's, drawn by `training_job.strokes`, or of typefaces that imitate handwriting. The
sources of marks for training and of held-out marks are disjoint.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from training_job import glyphs, strokes, synthetic_photos
from training_job.synthesis.printed import is_print

Plane = NDArray[np.float32]
Bytes = NDArray[np.uint8]

_SOURCES = (0.6, 0.28, 0.12)  # shares of MNIST, strokes and typefaces among digits
# Sizes of the bank of drawings that each process draws once; drawing it takes seconds.
_DRAWN = 1_500  # digits
_WORDS = 300  # words, and as many drawings
_SIGNS_EACH = 50  # drawings of each sign
# Range of the pens' widths, as shares of a digit's height. The thinnest are as on large canvases,
# where strokes are one or two pixels wide.
_PENS = (0.01, 0.16)
_FAINTEST = 0.15  # of full ink; fainter rows and columns at a plane's edges are cropped
_STRAIGHT = 3  # the digits of every third ten have straight strokes, as with a ruler or a mouse
_BOLD = 30  # pixels of height from which a mark may be drawn with a bold marker
_SKIPPED = 0.06  # share of marks with a gap where the pen skipped

Points = tuple[tuple[float, float], ...]


def _ring(x: float, y: float, size: float) -> Points:
    """Return a circle of diameter `size` around (x, y), in the unit square of a sign."""
    angles = np.linspace(0, 6.4, 13)  # radians, a little more than once around
    return tuple((x + size / 2 * np.cos(angle), y + size / 2 * np.sin(angle)) for angle in angles)


@dataclass(frozen=True)
class _Sign:
    """How a sign is drawn.

    Attributes
    ----------
    skeletons : tuple
        Its forms in a unit square with y down, each a tuple of strokes.
    size : tuple of two float
        Range of its longer side, in heights of a digit.
    middle : tuple of two float
        Range of the distance of its middle from a digit's upper side, in heights of the digit.
    """

    skeletons: tuple[strokes.Skeleton, ...]
    size: tuple[float, float]
    middle: tuple[float, float]


_SIGNS: dict[str, _Sign] = {
    ".": _Sign(((_ring(0.5, 0.5, 1.0),),), (0.05, 0.16), (0.88, 1.02)),
    ",": _Sign(((((0.6, 0), (0.7, 0.4), (0.3, 1)),), (((0.7, 0), (0.2, 1)),)), (0.15, 0.35),
               (0.95, 1.15)),
    "-": _Sign(((((0, 0.5), (0.5, 0.49), (1, 0.5)),),), (0.25, 0.75), (0.4, 0.62)),
    "+": _Sign(((((0.5, 0), (0.5, 1)), ((0, 0.5), (1, 0.5))),), (0.35, 0.8), (0.4, 0.62)),
    "/": _Sign(((((0.6, 0), (0, 1)),), (((0.4, 0), (0, 1)),)), (0.9, 1.4), (0.4, 0.6)),
    ":": _Sign(((_ring(0.5, 0.1, 0.22), _ring(0.5, 0.9, 0.22)),), (0.35, 0.7), (0.5, 0.7)),
    "(": _Sign(((((0.4, 0), (0.05, 0.5), (0.4, 1)),),), (1.0, 1.4), (0.4, 0.6)),
    ")": _Sign(((((0, 0), (0.35, 0.5), (0, 1)),),), (1.0, 1.4), (0.4, 0.6)),
    "=": _Sign(((((0, 0.3), (1, 0.3)), ((0, 0.7), (1, 0.7))),), (0.35, 0.75), (0.4, 0.62)),
    "×": _Sign(((((0, 0), (1, 1)), ((1, 0), (0, 1))),), (0.35, 0.75), (0.42, 0.7)),
    "÷": _Sign((
        (((0, 0.5), (1, 0.5)), _ring(0.5, 0.15, 0.14), _ring(0.5, 0.85, 0.14)),
        (((0, 0.5), (1, 0.5)), _ring(0.5, 0.12, 0.28), _ring(0.5, 0.88, 0.28)),
    ), (0.4, 0.95), (0.4, 0.62)),
    "%": _Sign(((((0.9, 0), (0.1, 1)), _ring(0.2, 0.2, 0.35), _ring(0.8, 0.8, 0.35)),), (0.7, 1.0),
               (0.45, 0.55)),
}  # fmt: skip
SIGNS = "".join(_SIGNS)


@dataclass(frozen=True)
class DrawnMark:
    """One handwritten mark.

    Attributes
    ----------
    plane : float32 (h, w)
        Its ink, 0 to 1, cropped to the ink.
    text : str
        The digit or sign that it shows; empty for any other mark.
    top : float
        Distance of its upper side from the upper side of a digit beside it, downwards, in heights
        of the digit.
    """

    plane: Plane
    text: str
    top: float


@dataclass(frozen=True)
class _Bank:
    """Drawings that a process draws once and uses on many pages."""

    digits: list[tuple[Bytes, int]]
    signs: dict[str, list[Bytes]]
    words: list[Bytes]
    drawings: list[Bytes]


@cache
def _bank(held_out: bool) -> _Bank:
    rng = np.random.default_rng([0xBA, held_out])
    return _Bank(
        [(_bytes(_drawn_digit(number, rng)), number % 10) for number in range(_DRAWN)],
        {
            text: [_bytes(_drawn_sign(sign, rng)) for _ in range(_SIGNS_EACH)]
            for text, sign in _SIGNS.items()
        },
        [_bytes(_drawn_word(rng)) for _ in range(_WORDS)],
        [_bytes((strokes.sign, strokes.scribble)[number % 2](rng)) for number in range(_WORDS)],
    )


def _drawn_digit(number: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw one of the bank's digits: all ten in turn, and every third ten in straight lines."""
    draw = strokes.straight_digit if number // 10 % _STRAIGHT == 0 else strokes.digit
    return draw(number % 10, rng, _PENS)


@cache
def _typed(held_out: bool, *, digits: bool) -> list[tuple[Bytes, str]]:
    """Return the digits, or the other characters, of typefaces that imitate handwriting."""
    faces = glyphs.by_typeface(held_out=held_out)
    return [
        (drawing, character)
        for name, face in faces.items()
        if not is_print(name)
        for character, drawing in face.items()
        if character.isdigit() == digits
    ]


def digit(height: float, rng: np.random.Generator, held_out: bool) -> DrawnMark:
    """Draw a digit whose longer side is about `height` pixels."""
    source = rng.choice(3, p=_SOURCES)
    if source == 0:
        drawing, which = synthetic_photos.random_digit(rng, held_out=held_out)
    elif source == 1:
        digits = _bank(held_out).digits
        drawing, which = digits[rng.integers(len(digits))]
    else:
        digits_typed = _typed(held_out, digits=True)
        drawing, character = digits_typed[rng.integers(len(digits_typed))]
        which = int(character)
    side = height * np.exp(rng.normal(0, 0.08))
    return _standing(_written(drawing, side, rng, soft=source != 1), height, str(which))


def sign(height: float, rng: np.random.Generator, held_out: bool) -> DrawnMark:
    """Draw one of `SIGNS`, in its size and position beside digits `height` pixels tall."""
    text = SIGNS[rng.integers(len(SIGNS))]
    drawings = _bank(held_out).signs[text]
    size = height * rng.uniform(*_SIGNS[text].size)
    plane = _written(drawings[rng.integers(len(drawings))], size, rng)
    middle = rng.uniform(*_SIGNS[text].middle)
    return DrawnMark(plane, text, middle - plane.shape[0] / height / 2)


def letter(height: float, rng: np.random.Generator, held_out: bool) -> DrawnMark:
    """Draw a character of a typeface that is neither a digit nor one of `SIGNS`."""
    letters = _typed(held_out, digits=False)
    drawing, _ = letters[rng.integers(len(letters))]
    plane = _written(drawing, height * rng.uniform(0.6, 1.1), rng, soft=True)
    return _standing(plane, height)


def word(height: float, rng: np.random.Generator, held_out: bool) -> DrawnMark:
    """Draw lines like a word in cursive writing beside digits `height` pixels tall."""
    words = _bank(held_out).words
    drawing = words[rng.integers(len(words))]
    scale = height * rng.uniform(0.5, 1.2) / drawing.shape[0]
    return _standing(_written(drawing, scale * max(drawing.shape), rng), height)


def drawing(height: float, rng: np.random.Generator, held_out: bool) -> DrawnMark:
    """Draw a tick, a star, a scribble or the like, whose longer side is `height` pixels."""
    drawings = _bank(held_out).drawings
    return _standing(_written(drawings[rng.integers(len(drawings))], height, rng), height)


def _standing(plane: Plane, height: float, text: str = "") -> DrawnMark:
    """Return a mark whose lower side is on the baseline of digits `height` pixels tall."""
    return DrawnMark(plane, text, 1 - plane.shape[0] / height)


def _bytes(plane: NDArray[np.floating]) -> Bytes:
    return np.round(plane * 255).clip(0, 255).astype(np.uint8)


def _written(drawing: Bytes, side: float, rng: np.random.Generator, *, soft: bool = False) -> Plane:
    """Scale a drawing to a longer side of `side` pixels, and rotate and slant it a little.

    The edges of a `soft` drawing, one of few pixels, are sharpened when it is enlarged.
    """
    drawing = drawing[_inked(drawing / np.float32(255))]
    image = Image.fromarray(np.pad(drawing, max(2, max(drawing.shape) // 12)))
    scale = max(side, 2.0) / max(drawing.shape)
    size = (max(2, round(image.width * scale)), max(2, round(image.height * scale)))
    image = image.resize(size, Image.Resampling.BICUBIC if scale > 1 else Image.Resampling.BOX)
    turn, lean = np.radians(rng.normal(0, 4)), rng.normal(0, 0.08)
    cos, sin = np.cos(turn), np.sin(turn)
    x, y = size[0] / 2, size[1] / 2
    a, b, d, e = cos, sin + lean, -sin, cos
    matrix = (a, b, x - a * x - b * y, d, e, y - d * x - e * y)
    image = image.transform(size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    plane = np.asarray(image, np.float32) / np.float32(255)
    if soft and scale > 0.8:
        edge, gain = np.float32(rng.uniform(0.25, 0.65)), np.float32(max(1.0, 1.25 * scale))
        plane = np.clip((plane - edge) * gain + np.float32(0.5), 0, 1)
    if side > _BOLD and rng.random() < 0.08:
        width = int(rng.integers(1, max(2, int(side) // 16))) * 2 + 1
        wide = Image.fromarray(_bytes(np.pad(plane, width))).filter(ImageFilter.MaxFilter(width))
        plane = np.asarray(wide, np.float32) / np.float32(255)
    if rng.random() < _SKIPPED:
        plane = _with_a_gap(plane, rng)
    return np.asarray(plane[_inked(plane)], np.float32)


def _with_a_gap(plane: Plane, rng: np.random.Generator) -> Plane:
    """Remove a narrow band across one of the strokes, where the pen skipped."""
    rows, columns = np.nonzero(plane > _FAINTEST)
    if len(rows) == 0:
        return plane
    place, side = rng.integers(len(rows)), max(plane.shape)
    y, x = np.mgrid[: plane.shape[0], : plane.shape[1]].astype(np.float32)
    y, x = y - rows[place], x - columns[place]
    angle = rng.uniform(0, np.pi)
    across = np.abs(x * np.cos(angle) + y * np.sin(angle)) < rng.uniform(0.015, 0.05) * side
    near = np.hypot(y, x) < rng.uniform(0.15, 0.3) * side
    return np.where(across & near, np.float32(0), plane)


def _inked(plane: Plane) -> tuple[slice, slice]:
    """Return the window of a plane's ink; the whole plane if it has none."""
    rows = np.flatnonzero(plane.max(1) > _FAINTEST)
    columns = np.flatnonzero(plane.max(0) > _FAINTEST)
    if len(rows) == 0:
        return slice(None), slice(None)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _drawn_sign(sign: _Sign, rng: np.random.Generator) -> NDArray[np.float64]:
    skeleton = sign.skeletons[rng.integers(len(sign.skeletons))]
    bend = rng.normal(0, 0.02, (4, 4, 2))
    lines = [
        strokes.by_hand(
            np.array(stroke) + rng.normal(0, 0.03, 2), bend, 1.0, rng.normal(0, 0.06), rng
        )
        for stroke in skeleton
    ]
    return strokes.drawn(lines, np.exp(rng.uniform(np.log(0.05), np.log(0.2))), rng)


def _drawn_word(rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw loops and arches on a line, some with ascenders or descenders, like cursive writing."""
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
