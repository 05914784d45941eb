"""Render pages of handwriting with the truth of every pixel, for the segmentation network.

Pages are rendered from a seed and photographed by `training_job.synthetic_photos`, with further
degradations. Probabilities and ranges were chosen by eye.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from digits import image
from training_job import glyphs, strokes, synthetic_photos
from training_job.synthetic_photos import Level, Plane

_LEVELS: tuple[Level, ...] = ("easy", "medium", "hard")
_LEVEL_SHARES = (0.2, 0.35, 0.45)  # shares of the levels among the pages
_LONG_SIDE = (150, 480)  # pixels; log-uniform range of a page's longer side
# Probabilities that neighbours touch, one of which is chosen for a page.
_TOUCHING = (0.0, 0.1, 0.3, 0.8)
_FAINTEST = 0.05  # of full ink, 0 to 1; above it a pixel has an owner
_PEN_SKIP_SHARE = 0.12  # share of single glyphs and of blocks of lines with a gap of the pen


@dataclass(frozen=True)
class RenderedPage:
    """A photo of a page, with its truth.

    Attributes
    ----------
    grey : uint8 (h, w)
        The photo, decoded as in recognition.
    ink : float32 (h, w)
        The ink, 0 to 1, without paper, light or camera.
    owner : uint8 (h, w)
        The glyph that the ink at each pixel belongs to, from 1; 0 without ink.
    glyphs : tuple of int or None
        The digit of each glyph, in the order of `owner`; None for a glyph that is not a digit.
    """

    grey: NDArray[np.uint8]
    ink: NDArray[np.float32]
    owner: NDArray[np.uint8]
    glyphs: tuple[int | None, ...]


def render(seed: int, *, held_out: bool = False) -> RenderedPage:
    """Render one page: one glyph, text lines, scattered glyphs, or nothing.

    Glyphs are digits, and on some pages also letters, signs and scribbles.

    Parameters
    ----------
    seed
        Seed of all random choices.
    held_out
        Whether to use the digits and typefaces that are held out of training.
    """
    rng = np.random.default_rng([seed, 0x5CE, 1] if held_out else [seed, 0x5CE])
    level = _LEVELS[rng.choice(3, p=_LEVEL_SHARES)]
    long = np.exp(rng.uniform(*np.log(_LONG_SIDE)))
    short = long * rng.uniform(0.5, 1.0)
    height, width = (
        round(side) for side in ((long, short) if rng.random() < 0.5 else (short, long))
    )
    kind = rng.choice(
        4, p=(0.36, 0.5, 0.07, 0.07)
    )  # one glyph, text lines, scattered glyphs, blank
    if kind == 0:
        ink, owner, labels = _single_glyph(height, width, held_out, rng)
    elif kind == 1:
        ink, owner, labels = _lines(height, width, held_out, rng)
    elif kind == 2:
        ink, owner, labels = _scattered(height, width, held_out, rng)
    else:
        ink, owner, labels = np.zeros((height, width)), np.zeros((height, width), np.uint8), []
    photo = synthetic_photos.photograph(ink, "", level, {}, rng)
    grey = _degraded(image.decode(photo.data).grey, rng)
    owner = np.where(ink > _FAINTEST, owner, 0).astype(np.uint8)
    return RenderedPage(grey, ink.astype(np.float32), owner, tuple(labels))


Glyph = tuple[Plane, int | None]


def _glyph(held_out: bool, rng: np.random.Generator, other_share: float) -> Glyph:
    """Draw a digit, or with probability `other_share` a letter, a sign or a scribble.

    Returns
    -------
    float64 (h, w)
        Its ink, 0 to 1.
    int or None
        The digit; None for another glyph.
    """
    chance = rng.random()
    if chance < other_share:
        kind = rng.choice(3, p=(0.6, 0.15, 0.25))
        if kind == 0:
            letters = glyphs.load(held_out=held_out, digits=False)
            letter = letters.images[rng.integers(len(letters))]
            return synthetic_photos.stroke(letter, rng.uniform(0.3, 0.7)), None
        return strokes.sign(rng) if kind == 1 else strokes.scribble(rng), None
    kind = rng.choice(3, p=(0.6, 0.28, 0.12))
    if kind == 1:
        digit = int(rng.integers(10))
        return strokes.digit(digit, rng), digit
    source = synthetic_photos if kind == 0 else glyphs
    drawing, digit = source.random_digit(rng, held_out=held_out)
    return synthetic_photos.stroke(drawing, rng.uniform(0.3, 0.7)), digit


Layer = tuple[Plane, NDArray[np.uint8]]
LabelledInk = tuple[Plane, NDArray[np.uint8], list[int | None]]


def _single_glyph(height: int, width: int, held_out: bool, rng: np.random.Generator) -> LabelledInk:
    plane, digit = _glyph(held_out, rng, other_share=0.25)
    if rng.random() < _PEN_SKIP_SHARE:
        plane = synthetic_photos.crop_to_ink(synthetic_photos.with_pen_skip(plane, rng))
    share = np.exp(rng.uniform(np.log(0.12), np.log(0.92)))
    scale = share * min(height, width) / max(plane.shape)
    layer = _placed(plane, np.ones(plane.shape, np.uint8), scale, 15, height, width, rng)
    return *layer, [digit]


def _lines(height: int, width: int, held_out: bool, rng: np.random.Generator) -> LabelledInk:
    touching, other_share = rng.choice(_TOUCHING), rng.choice((0.0, 0.0, 0.15, 0.6))
    most = int(rng.integers(1, 7))
    rows: list[Layer] = []
    digits: list[int | None] = []
    for _ in range(int(rng.choice((1, 2, 3), p=(0.6, 0.3, 0.1)))):
        drawn = [
            _glyph(held_out, rng, other_share)
            for _ in range(max(1, most - int(rng.integers(0, 2))))
        ]
        placed = synthetic_photos.row_layout([plane for plane, _ in drawn], touching, rng)
        total = max(start + plane.shape[1] for start, plane in placed)
        ink, owner = (
            np.zeros((synthetic_photos.ROW_HEIGHT, total)),
            np.zeros((synthetic_photos.ROW_HEIGHT, total), np.uint8),
        )
        for (start, plane), (_, digit) in zip(placed, drawn, strict=True):
            digits.append(digit)
            _overlay(plane, len(digits), start, ink, owner)
        inked = ink.max(axis=1) > 0.1
        rows.append((ink[inked], owner[inked]))
    starts = [int(rng.integers(0, 40)) for _ in rows]
    total = max(row.shape[1] + start for (row, _), start in zip(rows, starts, strict=True))
    inks, owners = [], []
    for (ink, owner), start in zip(rows, starts, strict=True):
        below = int(rng.integers(8, 70))
        margins = ((0, below), (start, total - ink.shape[1] - start))
        inks.append(np.pad(ink, margins))
        owners.append(np.pad(owner, margins))
    ink, owner = np.concatenate(inks), np.concatenate(owners)
    room = min(width / ink.shape[1], height / ink.shape[0])
    scale = min(room * rng.uniform(0.4, 0.95), min(height, width) / synthetic_photos.ROW_HEIGHT)
    if rng.random() < _PEN_SKIP_SHARE:
        ink = synthetic_photos.with_pen_skip(ink, rng)
    return *_placed(ink, owner, scale, 9, height, width, rng), digits


def _scattered(height: int, width: int, held_out: bool, rng: np.random.Generator) -> LabelledInk:
    ink, owner = np.zeros((height, width)), np.zeros((height, width), np.uint8)
    digits: list[int | None] = []
    for number in range(1, int(rng.integers(2, 9))):
        plane, digit = _glyph(held_out, rng, other_share=0.3)
        digits.append(digit)
        scale = rng.uniform(0.08, 0.35) * min(height, width) / max(plane.shape)
        alone, _ = _placed(plane, np.ones(plane.shape, np.uint8), scale, 20, height, width, rng)
        _overlay(alone, number, 0, ink, owner)
    return ink, owner, digits


def _overlay(plane: Plane, number: int, left: int, ink: Plane, owner: NDArray[np.uint8]) -> None:
    """Add a glyph to a page; where glyphs cross, the pixel belongs to the darker one."""
    window = (slice(None), slice(left, left + plane.shape[1]))
    stronger = plane > ink[window]
    owner[window][stronger & (plane > _FAINTEST)] = number
    ink[window][stronger] = plane[stronger]


def _placed(
    ink: Plane, owner: NDArray[np.uint8], scale: float, most: float, height: int, width: int,
    rng: np.random.Generator,
) -> Layer:  # fmt: skip
    """Scale a block of ink, rotate it by up to `most` degrees, and put it at a random place."""
    size = tuple(max(2, round(side * scale)) for side in ink.shape[::-1])
    turn = rng.uniform(-most, most)
    small = Image.fromarray(ink.astype(np.float32)).resize(size, Image.Resampling.BOX)
    owned = Image.fromarray(owner).resize(size, Image.Resampling.NEAREST)
    turned = np.asarray(small.rotate(turn, Image.Resampling.BILINEAR, expand=True), np.float64)
    owner = np.asarray(owned.rotate(turn, Image.Resampling.NEAREST, expand=True))
    turned, owner = turned[:height, :width].clip(0, 1), owner[:height, :width]
    page, owners = np.zeros((height, width)), np.zeros((height, width), np.uint8)
    top, left = (
        int(rng.integers(0, side - own + 1))
        for side, own in ((height, turned.shape[0]), (width, turned.shape[1]))
    )
    window = (slice(top, top + turned.shape[0]), slice(left, left + turned.shape[1]))
    page[window], owners[window] = turned, owner
    # Rotating owners by nearest neighbours leaves some pixels of thin strokes without an owner.
    bare = (page > _FAINTEST) & (owners == 0)
    if bare.any() and (owners > 0).any():
        grown = np.asarray(Image.fromarray(owners).filter(ImageFilter.MaxFilter(5)))
        owners = np.where(bare, grown, owners).astype(np.uint8)
    return page, owners


def _degraded(grey: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Degrade a photo further: texture, shadows, ruling lines, a border, tone curve, polarity."""
    height, width = grey.shape
    picture: NDArray[Any] = grey.astype(np.float64)
    if rng.random() < 0.3:
        noise = rng.integers(0, 256, (height, width), np.uint8)
        radius = float(np.exp(rng.uniform(-0.5, 3)))
        cloud = np.asarray(Image.fromarray(noise).filter(ImageFilter.GaussianBlur(radius)), float)
        picture *= 1 + rng.uniform(0.01, 0.06) * (cloud - cloud.mean()) / (cloud.std() + 1e-6)
    if rng.random() < 0.2:
        kind = str(rng.choice(["lamp", "gradient", "soft shadow", "cast shadow"]))
        picture *= synthetic_photos.light(height, width, kind, "hard", rng)
    if rng.random() < 0.15:
        picture *= 1 - _ruling_lines(height, width, rng)
    if rng.random() < 0.1:
        border = rng.uniform(0.01, 0.12) * max(height, width)
        y, x = np.mgrid[:height, :width]
        slope = rng.uniform(-0.1, 0.1)
        sides = [y + slope * x, x + slope * y, height - y + slope * x, width - x + slope * y]
        beyond = sides[rng.integers(4)] < border
        picture = np.where(beyond, rng.uniform(0, 255), picture)
    if rng.random() < 0.3:  # another camera's tone curve
        picture = 255 * (picture.clip(0, 255) / 255) ** np.exp(rng.uniform(-0.5, 0.5))
    if rng.random() < 0.1:
        picture = 255 - picture
    return np.round(picture).clip(0, 255).astype(np.uint8)


def _ruling_lines(height: int, width: int, rng: np.random.Generator) -> Plane:
    """Return ruling lines of random slope, width and distance, as the share of absorbed light."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    angle = rng.uniform(-0.15, 0.15) + (np.pi / 2 if rng.random() < 0.3 else 0)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    spacing = rng.uniform(0.03, 0.3) * max(height, width)
    thick = max(0.8, rng.uniform(0.002, 0.008) * max(height, width))
    lines = (across + rng.uniform(0, spacing)) % spacing < thick
    if rng.random() < 0.5:
        lines |= (along + rng.uniform(0, spacing)) % spacing < thick
    return np.asarray(lines * rng.uniform(0.05, 0.45))
