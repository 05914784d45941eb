"""Render pages as photos, scans or screenshots: paper, pen, background, light, camera, file."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from digits.morphology import extreme, padded
from digits.recognition.outputs import BACKGROUND, DIGIT, MARK, PAPER, PRINT
from training_job.synthesis.marks import Plane
from training_job.synthesis.pages import INKED, PageLayers, page

# Chosen by eye; see the package.
_MARGIN = 1.5  # side of a page in sides of its picture: room to rotate it
_PRINTED = 0.18  # share of light that print absorbs, 0 to 1; from it on a pixel is print
_HEIGHTS = (8.0, 110.0)  # pixels; log-uniform range of the digits' heights in a picture
_COARSE = 20.0  # pixels of a digit's height from which a picture may be reduced and enlarged again


@dataclass(frozen=True)
class SyntheticScene:
    """A picture with the truth of its pixels.

    Attributes
    ----------
    grey : uint8 (h, w)
        The picture.
    kind : uint8 (h, w)
        The kind of each pixel, one of those of `digits.recognition.outputs`.
    owner : uint16 (h, w)
        The mark that handwriting belongs to, from 1; 0 elsewhere.
    texts : tuple of str
        The text of each mark, in the order of `owner`: a digit, a sign, or empty.
    """

    grey: NDArray[np.uint8]
    kind: NDArray[np.uint8]
    owner: NDArray[np.uint16]
    texts: tuple[str, ...]


def scene(seed: int, side: int = 256, held_out: bool = False) -> SyntheticScene:
    """Lay out a page and render a part of it.

    Parameters
    ----------
    seed
        Seed of all random choices.
    side
        Width and height of the picture, pixels.
    held_out
        Whether to use the digits, typefaces and strokes that are held out of training.
    """
    rng = np.random.default_rng([seed, 0x5CE2, held_out])
    height = float(np.exp(rng.uniform(*np.log(_HEIGHTS))))
    drawn = _warped(page(round(_MARGIN * side), height, rng, held_out), side, rng)
    grey = _photographed(drawn, height, rng)
    owner, beyond = drawn.owner, drawn.sheet <= 0.5
    owner[(drawn.ink <= INKED) | beyond] = 0
    kind = np.where(drawn.printed > _PRINTED, PRINT, PAPER).astype(np.uint8)
    kind_of = np.array([PAPER, *(DIGIT if text.isdigit() else MARK for text in drawn.texts)])
    kind[owner > 0] = kind_of[owner[owner > 0]]
    kind[beyond] = BACKGROUND
    return SyntheticScene(grey, kind, owner, tuple(drawn.texts))


def _warped(drawn: PageLayers, side: int, rng: np.random.Generator) -> PageLayers:
    """Return the part of a page that the picture shows: rotated, in perspective, and cropped."""
    turn = rng.normal(0, 4) if rng.random() < 0.75 else rng.uniform(-20, 20)  # degrees
    if rng.random() < 0.35:
        turn = 0.0  # scans and screenshots are straight
    angle = np.radians(turn)
    corners = side / 2 * np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]], np.float64)
    if turn and rng.random() < 0.4:
        corners = corners * (1 + rng.uniform(-0.12, 0.12, (4, 1)))
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    corners = corners @ rotation + drawn.side / 2 + rng.uniform(-0.08, 0.08, 2) * side
    quad = tuple(corners.ravel())  # upper left, lower left, lower right, upper right

    def warped(plane: NDArray[Any], how: Image.Resampling) -> NDArray[Any]:
        image = Image.fromarray(plane)
        return np.array(image.transform((side, side), Image.Transform.QUAD, quad, how))

    soft = Image.Resampling.BILINEAR if turn else Image.Resampling.NEAREST
    ink, printed, sheet = (warped(one, soft) for one in (drawn.ink, drawn.printed, drawn.sheet))
    owner = warped(drawn.owner.astype(np.int32), Image.Resampling.NEAREST).astype(np.uint16)
    # Nearest-neighbour sampling leaves some pixels at a thin stroke's edge without an owner.
    bare = (ink > INKED) & (owner == 0)
    owner[bare] = extreme(padded(owner, 1), 3, np.maximum)[bare]
    return PageLayers(ink, owner, printed, sheet, drawn.texts)


def _photographed(drawn: PageLayers, height: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Render a page as a grey picture; its digits are `height` pixels tall."""
    clean = rng.random() < 0.25  # drawn on a screen, or a cleaned scan
    picture = _inked(drawn, height, rng, clean=clean)
    if not clean:
        texture = np.float32(rng.uniform(0, 0.06)) * (rng.random() < 0.6)
        radius = np.exp(rng.uniform(-0.5, 3))
        picture *= 1 + texture * (2 * _cloud(drawn.side, radius, rng) - 1)
    if (drawn.sheet < 0.5).any():
        picture = _on_background(picture, drawn.sheet, rng)
    if not clean:
        picture = picture * _light(drawn.side, rng)
    blur = 0.0 if clean and rng.random() < 0.6 else rng.uniform(0, 0.5 + height / 45)
    if blur > 0.3:
        picture = _as_floats(_image(picture).filter(ImageFilter.GaussianBlur(min(blur, 2.5))))
    if height > _COARSE and rng.random() < 0.15:
        picture = _coarse(picture, height, rng)
    if not clean:
        most = 25 if rng.random() < 0.06 else 9
        deviation = np.exp(rng.uniform(np.log(0.3), np.log(most)))  # grey levels
        picture = picture + rng.standard_normal(picture.shape, np.float32) * np.float32(deviation)
        if rng.random() < 0.3:  # another camera's tone curve
            gamma = np.float32(np.exp(rng.uniform(-0.5, 0.5)))
            picture = 255 * (picture.clip(0, 255) / 255) ** gamma
    if rng.random() < 0.13:  # chalk on a board, or white on black
        picture = 255 - picture
    image = _image(picture)
    if rng.random() < 0.6:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=int(rng.integers(25, 96)))
        image = Image.open(buffer)
    return np.asarray(image)


def _inked(drawn: PageLayers, height: float, rng: np.random.Generator, *, clean: bool) -> Plane:
    """Render paper with print and ink of random darkness, in grey levels."""
    paper = rng.uniform(235, 255) if clean else 250 - 140 * rng.random() ** 1.5
    if clean and rng.random() < 0.7:
        paper = 255
    dark = rng.uniform(0.6, 1.0) if rng.random() < 0.65 else rng.uniform(0.22, 0.6)
    if clean and rng.random() < 0.12:  # faint, as a thin pen on a large canvas that was reduced
        dark = rng.uniform(0.07, 0.25)
    ink = drawn.ink * np.float32(dark)
    pen = rng.random()
    if pen < 0.2 and not clean:  # graphite and chalk leave gaps in the grain
        grain = rng.uniform(rng.uniform(0.2, 0.7), 1.0, ink.shape)
        ink = ink * grain.astype(np.float32)
    elif pen < 0.35:  # the pen's pressure changes along the stroke
        lighter = np.float32(rng.uniform(0.1, 0.5))
        ink = ink * (1 - lighter * _cloud(drawn.side, 6 + height / 3, rng))
    printed = drawn.printed * np.float32(rng.uniform(0.3, 1.0))
    return np.asarray(np.float32(paper) * (1 - printed) * (1 - ink), np.float32)


def _on_background(picture: Plane, sheet: Plane, rng: np.random.Generator) -> Plane:
    """Put a background around the sheet, in half of the pictures with the sheet's shadow."""
    background = _background(len(picture), rng)
    if rng.random() < 0.5:
        blurred = _image(sheet * 255).filter(ImageFilter.GaussianBlur(rng.uniform(1, 6)))
        background *= 1 - np.float32(rng.uniform(0.1, 0.6)) * _as_floats(blurred) / np.float32(255)
    return np.asarray(picture * sheet + background * (1 - sheet), np.float32)


def _image(picture: Plane) -> Image.Image:
    return Image.fromarray(picture.clip(0, 255).astype(np.uint8))


def _as_floats(image: Image.Image) -> Plane:
    return np.asarray(image, np.float32)


def _coarse(picture: Plane, height: float, rng: np.random.Generator) -> Plane:
    """Reduce the picture to few pixels and enlarge it again."""
    side = len(picture)
    few = max(16, round(side * rng.uniform(9, 20) / height))
    how = (Image.Resampling.BICUBIC, Image.Resampling.BILINEAR, Image.Resampling.NEAREST)
    small = Image.fromarray(picture).resize((few, few), Image.Resampling.BOX)
    return _as_floats(small.resize((side, side), how[rng.choice(3, p=(0.5, 0.3, 0.2))]))


def _cloud(side: int, radius: float, rng: np.random.Generator) -> Plane:
    """Return smooth noise in 0..1, with a correlation length of about `radius` pixels."""
    step = max(1, int(radius))
    small = rng.integers(0, 256, (side // step + 2, side // step + 2), np.uint8)
    image = Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(_as_floats(image) / np.float32(255), np.float32)


def _light(side: int, rng: np.random.Generator) -> Plane:
    """Return the share of light on each pixel: even, gradient, lamp, soft or hard shadows."""
    y, x = np.mgrid[:side, :side] / side - 0.5
    lit = np.ones((side, side))
    if rng.random() < 0.6:
        angle = rng.uniform(0, 2 * np.pi)
        along = x * np.cos(angle) + y * np.sin(angle)
        lit -= rng.uniform(0.05, 0.5) * (along + 0.7) / 1.4
    if rng.random() < 0.15:
        far = np.hypot(y - rng.uniform(-0.5, 0.5), x - rng.uniform(-0.5, 0.5))
        lit *= 1 - rng.uniform(0.1, 0.5) * far.clip(0, 1) ** 2
    for _ in range(rng.choice(3, p=(0.6, 0.3, 0.1))):  # shadows, of a hand or of the phone
        angle = rng.uniform(0, 2 * np.pi)
        along = x * np.cos(angle) + y * np.sin(angle)
        across = y * np.cos(angle) - x * np.sin(angle) + rng.uniform(-0.3, 0.3)
        bend = rng.uniform(-1, 1) * (1 if rng.random() < 0.5 else 4)
        edge = along + rng.uniform(-0.4, 0.4) + bend * across**2
        penumbra = np.exp(rng.uniform(np.log(0.006), np.log(0.4)))
        lit *= 1 - rng.uniform(0.1, 0.7) * np.clip(edge / penumbra + 0.5, 0, 1)
    return lit.astype(np.float32)


def _background(side: int, rng: np.random.Generator) -> Plane:
    """Render a background in grey levels: plain, wood, cloth, fibres, tiles or boards."""
    plane = np.full((side, side), rng.uniform(15, 235), np.float32)
    kind = rng.choice(("plain", "wood", "cloth", "boards", "tiles", "fibres"))
    y, x = np.mgrid[:side, :side].astype(np.float32)
    if kind in {"wood", "boards"}:
        streaks = rng.integers(0, 256, (side, max(2, side // 40)), np.uint8)
        image = Image.fromarray(streaks).resize((side, side), Image.Resampling.BICUBIC)
        if rng.random() < 0.5:
            image = image.transpose(Image.Transpose.ROTATE_90)
        image = image.rotate(rng.uniform(-20, 20), Image.Resampling.BILINEAR)
        plane += np.float32(rng.uniform(0.05, 0.4)) * (_as_floats(image) - 128)
    elif kind == "cloth":
        period = rng.uniform(3, 14)
        weave = np.sin(x * 2 * np.pi / period) * np.sin(y * 2 * np.pi / period)
        plane += np.float32(rng.uniform(5, 40)) * weave
    if kind == "fibres" or rng.random() < 0.2:
        plane = _fibres(plane, rng)
    if kind in {"boards", "tiles"}:  # joints and edges
        for _ in range(int(rng.integers(1, 7))):
            angle = rng.uniform(0, np.pi)
            along = x * np.cos(angle) + y * np.sin(angle) - rng.uniform(0, 1.2) * side
            joint = rng.random() < 0.5
            darker = np.abs(along) < rng.uniform(0.5, 4) if joint else along > 0
            plane[darker] *= np.float32(rng.uniform(0.3, 1.6))
    if rng.random() < 0.4:
        plane = _with_objects(plane, rng)
    plane += np.float32(rng.uniform(0, 40)) * (_cloud(side, np.exp(rng.uniform(0, 4)), rng) - 0.5)
    return plane.clip(0, 255)


def _fibres(plane: Plane, rng: np.random.Generator) -> Plane:
    """Add short fibres, as of vinyl, carpet and stone, which look like faint strokes."""
    image = _image(plane)
    draw = ImageDraw.Draw(image)
    count, length = int(rng.integers(100, 900)), np.exp(rng.uniform(np.log(3), np.log(40)))
    turn, spread = rng.uniform(0, np.pi), rng.choice((0.1, 0.5, 3.0))
    contrast = rng.uniform(4, 40)
    for x, y in rng.uniform(0, len(plane), (count, 2)):
        angle = turn + rng.normal(0, spread)
        far = length * rng.uniform(0.4, 1.6) / 2
        ends = (x - far * np.cos(angle), y - far * np.sin(angle),
                x + far * np.cos(angle), y + far * np.sin(angle))  # fmt: skip
        tone = plane[int(y), int(x)] + rng.normal(0, contrast)
        draw.line(ends, fill=int(np.clip(tone, 0, 255)), width=int(rng.choice((1, 1, 2))))
    return _as_floats(image)


def _with_objects(plane: Plane, rng: np.random.Generator) -> Plane:
    """Add objects to the background: boxes, discs and cords of any tone."""
    image = _image(plane)
    draw = ImageDraw.Draw(image)
    side = len(plane)
    for _ in range(int(rng.integers(1, 9))):
        x, y = rng.uniform(-0.1, 1.1, 2) * side
        wide, high = np.exp(rng.uniform(np.log(0.02), np.log(0.6), 2)) * side / 2
        tone, kind = int(rng.integers(256)), rng.integers(3)
        if kind == 0:
            draw.rectangle((x - wide, y - high, x + wide, y + high), fill=tone)
        elif kind == 1:
            draw.ellipse((x - wide, y - high, x + wide, y + high), fill=tone)
        else:
            points = np.array([x, y]) + rng.normal(0, 0.4 * side, (3, 2))
            width = int(rng.integers(1, 8))
            draw.line(points.ravel().tolist(), fill=tone, width=width, joint="curve")
    return _as_floats(image)
