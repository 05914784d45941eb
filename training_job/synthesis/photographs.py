"""Photographs, scans and screenshots of pages: paper, pen, background, light, camera and file."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from training_job.synthesis.pages import Page, page

Plane = NDArray[np.float32]

# What a pixel shows; `MARK` is handwriting that is no digit: a sign, a letter, a drawing.
PAPER, DIGIT, MARK, PRINT, BACKGROUND = range(5)
KINDS = 5

_MARGIN = 1.5  # sides of a page, in sides of its picture: room to turn it
_SEEN = 0.3  # of a pixel's light that ink or print takes: from it on the pixel shows them
_HEIGHTS = (9.0, 130.0)  # of digits in a picture, pixels


@dataclass(frozen=True)
class Scene:
    """A picture and the truth of its pixels.

    Attributes
    ----------
    grey : uint8 (h, w)
        The picture.
    kind : uint8 (h, w)
        `PAPER`, `DIGIT`, `MARK`, `PRINT` or `BACKGROUND`.
    owner : uint16 (h, w)
        The mark that handwriting belongs to, from 1; 0 elsewhere.
    texts : tuple of str
        What the first mark shows, the second, and so on; empty if neither digit nor sign.
    """

    grey: NDArray[np.uint8]
    kind: NDArray[np.uint8]
    owner: NDArray[np.uint16]
    texts: tuple[str, ...]


def scene(seed: int, side: int = 256) -> Scene:
    """Lay out a page and photograph a part of it, `side` by `side` pixels."""
    rng = np.random.default_rng([seed, 0x5CE2])
    height = float(np.exp(rng.uniform(*np.log(_HEIGHTS))))
    drawn = page(round(_MARGIN * side), height, rng)
    ink, printed, sheet, owner = _seen(drawn, side, rng)
    grey = _photographed(ink, printed, sheet, height, rng)
    owner[(ink <= _SEEN) | (sheet <= 0.5)] = 0
    kind = np.where(printed > _SEEN * 0.6, PRINT, PAPER).astype(np.uint8)
    kind_of = [PAPER, *(DIGIT if text.isdigit() else MARK for text in drawn.texts)]
    written = owner > 0
    kind[written] = np.array(kind_of, np.uint8)[owner[written]]
    kind[sheet <= 0.5] = BACKGROUND
    return Scene(grey, kind, owner, tuple(drawn.texts))


def _seen(
    drawn: Page, side: int, rng: np.random.Generator
) -> tuple[Plane, Plane, Plane, NDArray[np.uint16]]:
    """The page as the camera sees it: turned, in perspective, and cut by the picture's border."""
    whole = len(drawn.ink)
    turn = rng.normal(0, 4) if rng.random() < 0.75 else rng.uniform(-20, 20)
    if rng.random() < 0.35:
        turn = 0.0  # scans and screenshots are straight
    angle = np.radians(turn)
    half = side / 2 * np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]], np.float64)
    if turn and rng.random() < 0.4:
        half = half * (1 + rng.uniform(-0.12, 0.12, (4, 1)))
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    corners = half @ rotation + whole / 2 + rng.uniform(-0.08, 0.08, 2) * side
    quad = tuple(corners.ravel())  # upper left, lower left, lower right, upper right

    def warped(plane: NDArray[Any], how: Image.Resampling) -> NDArray[Any]:
        image = Image.fromarray(plane)
        return np.array(image.transform((side, side), Image.Transform.QUAD, quad, how))

    soft = Image.Resampling.BILINEAR if turn else Image.Resampling.NEAREST
    ink, printed, sheet = (warped(one, soft) for one in (drawn.ink, drawn.printed, drawn.sheet))
    owner = warped(drawn.owner.astype(np.int32), Image.Resampling.NEAREST).astype(np.uint16)
    bare = (ink > _SEEN) & (owner == 0)
    if bare.any():
        grown = np.array(Image.fromarray(owner.astype(np.uint8)).filter(ImageFilter.MaxFilter(3)))
        owner[bare] = grown[bare]
    return ink, printed, sheet, owner


def _photographed(
    ink: Plane, printed: Plane, sheet: Plane, height: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    side = len(ink)
    clean = rng.random() < 0.25  # drawn on a screen, or a scan cleaned up
    paper = np.float32(rng.uniform(235, 255) if clean else rng.uniform(110, 250))
    if clean and rng.random() < 0.7:
        paper = np.float32(255)
    dark = rng.uniform(0.6, 1.0) if rng.random() < 0.65 else rng.uniform(0.22, 0.6)
    ink = ink * np.float32(dark)
    pen = rng.random()
    if pen < 0.2 and not clean:  # graphite and chalk leave gaps in the grain
        grain = rng.uniform(rng.uniform(0.2, 0.7), 1.0, (side, side)).astype(np.float32)
        ink = ink * grain
    elif pen < 0.35:  # the pen's pressure changes along the way
        ink = ink * (1 - np.float32(rng.uniform(0.1, 0.5)) * _cloud(side, 6 + height / 3, rng))
    print_dark = np.float32(rng.uniform(0.3, 1.0))
    light = (1 - printed * print_dark) * (1 - ink)
    picture = paper * light
    if not clean:
        texture = np.float32(rng.uniform(0, 0.06)) * (rng.random() < 0.6)
        picture *= 1 + texture * (2 * _cloud(side, np.exp(rng.uniform(-0.5, 3)), rng) - 1)
    if (sheet < 0.5).any():
        picture = picture * sheet + _background(side, rng) * (1 - sheet)
        if rng.random() < 0.5:  # the sheet's shadow on what it lies on
            levels = Image.fromarray((sheet * 255).astype(np.uint8))
            blurred = levels.filter(ImageFilter.GaussianBlur(rng.uniform(1, 6)))
            shade = 1 - np.float32(rng.uniform(0.1, 0.6)) * (np.asarray(blurred, np.float32) / 255)
            picture = np.where(sheet < 0.5, picture * shade, picture)
    if not clean:
        picture = picture * _light(side, rng)
    radius = 0.0 if clean and rng.random() < 0.6 else rng.uniform(0, 0.5 + height / 45)
    image = Image.fromarray(picture.clip(0, 255).astype(np.uint8))
    if radius > 0.3:
        image = image.filter(ImageFilter.GaussianBlur(min(radius, 2.5)))
    picture = np.asarray(image, np.float32)
    if height > 20 and rng.random() < 0.15:
        picture = _coarse(picture, height, rng)
    if not clean:
        deviation = np.exp(rng.uniform(np.log(0.3), np.log(9)))
        picture = picture + rng.standard_normal((side, side), np.float32) * np.float32(deviation)
        if rng.random() < 0.3:
            picture = 255 * (picture.clip(0, 255) / 255) ** np.float32(np.exp(rng.uniform(-0.5, 0.5)))
    if rng.random() < 0.13:  # chalk on a board, or white on black
        picture = 255 - picture
    image = Image.fromarray(picture.clip(0, 255).astype(np.uint8))
    if rng.random() < 0.6:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=int(rng.integers(25, 96)))
        image = Image.open(buffer)
    return np.asarray(image.convert("L"))


def _coarse(picture: Plane, height: float, rng: np.random.Generator) -> Plane:
    """A picture of few pixels, enlarged."""
    side = len(picture)
    few = max(16, round(side * rng.uniform(9, 20) / height))
    if few >= side:
        return picture
    how = (Image.Resampling.BICUBIC, Image.Resampling.BILINEAR, Image.Resampling.NEAREST)
    small = Image.fromarray(picture).resize((few, few), Image.Resampling.BOX)
    return np.array(small.resize((side, side), how[rng.choice(3, p=(0.5, 0.3, 0.2))]))


def _cloud(side: int, radius: float, rng: np.random.Generator) -> Plane:
    """Smooth noise in 0..1 whose blots are about `radius` pixels wide."""
    step = max(1, int(radius))
    small = rng.integers(0, 256, (side // step + 2, side // step + 2), np.uint8)
    image = Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(image, np.float32) / 255


def _light(side: int, rng: np.random.Generator) -> Plane:
    """Light on each pixel: even, falling off, a lamp, or a shadow with a soft or hard edge."""
    y, x = (np.mgrid[:side, :side] / side - 0.5).astype(np.float32)
    lit = np.ones((side, side), np.float32)
    if rng.random() < 0.6:
        angle = rng.uniform(0, 2 * np.pi)
        along = x * np.cos(angle) + y * np.sin(angle)
        lit = lit - np.float32(rng.uniform(0.05, 0.5)) * (along + 0.7).astype(np.float32) / 1.4
    if rng.random() < 0.15:
        far = np.hypot(y - rng.uniform(-0.5, 0.5), x - rng.uniform(-0.5, 0.5))
        lit = lit * (1 - np.float32(rng.uniform(0.1, 0.5)) * far.clip(0, 1) ** 2)
    if rng.random() < 0.3:
        angle = rng.uniform(0, 2 * np.pi)
        along = x * np.cos(angle) + y * np.sin(angle)
        across = y * np.cos(angle) - x * np.sin(angle)
        edge = along + rng.uniform(-0.4, 0.4) + rng.uniform(-1, 1) * across**2
        soft = np.exp(rng.uniform(np.log(0.006), np.log(0.4)))
        shade = np.float32(rng.uniform(0.1, 0.65)) * np.clip(edge / soft + 0.5, 0, 1)
        lit = lit * (1 - shade)
    return np.asarray(lit, np.float32)


def _background(side: int, rng: np.random.Generator) -> Plane:
    """What a sheet lies on: plain, wood, cloth, tiles or clutter, grey levels."""
    level = rng.uniform(15, 235)
    kind = rng.integers(5)
    plane = np.full((side, side), level, np.float32)
    if kind in (1, 3):  # wood: streaks
        streaks = rng.integers(0, 256, (side, max(2, side // 40)), np.uint8)
        image = Image.fromarray(streaks).resize((side, side), Image.Resampling.BICUBIC)
        if rng.random() < 0.5:
            image = image.transpose(Image.Transpose.ROTATE_90)
        image = image.rotate(rng.uniform(-20, 20), Image.Resampling.BILINEAR)
        plane += np.float32(rng.uniform(0.05, 0.4)) * (np.asarray(image, np.float32) - 128)
    elif kind == 2:  # cloth
        y, x = np.mgrid[:side, :side].astype(np.float32)
        period = rng.uniform(3, 14)
        weave = np.sin(x * 2 * np.pi / period) * np.sin(y * 2 * np.pi / period)
        plane += np.float32(rng.uniform(5, 40)) * weave
    if kind >= 3:  # joints of tiles and boards, edges of things
        for _ in range(int(rng.integers(1, 7))):
            y, x = np.mgrid[:side, :side].astype(np.float32)
            angle = rng.uniform(0, np.pi)
            along = x * np.cos(angle) + y * np.sin(angle) - rng.uniform(0, 1.2) * side
            if rng.random() < 0.5:
                plane[np.abs(along) < rng.uniform(0.5, 4)] *= np.float32(rng.uniform(0.3, 1.5))
            else:
                plane[along > 0] *= np.float32(rng.uniform(0.4, 1.6))
    plane += np.float32(rng.uniform(0, 40)) * (_cloud(side, np.exp(rng.uniform(0, 4)), rng) - 0.5)
    return plane.clip(0, 255)
