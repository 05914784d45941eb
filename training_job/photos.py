"""Paints MNIST strokes as photographs of paper and boards, seeded, with the truth beside them.

These pictures serve development and tests; they are no substitute for real photographs, and the
figures that they give say how robust the preprocessing is, not how good the product is.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from training_job.data import BUNDLED, TRAINED

Level = Literal["easy", "medium", "hard"]
Digits28 = NDArray[np.uint8]
Plane = NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """One painted picture.

    Attributes
    ----------
    data : bytes
        PNG or JPEG.
    text : str
        The digits that were painted, in reading order, lines joined by newlines.
    scene : str
        What was painted on, for finding out where errors come from.
    """

    data: bytes
    text: str
    scene: str


@dataclass(frozen=True)
class _Style:
    """What distinguishes the levels; each pair is a range that is drawn from uniformly."""

    scenes: tuple[str, ...]
    size: tuple[float, float]  # height of the digit as a share of the picture's short side
    contrast: tuple[float, float]  # of ink on paper, as a share of the paper's brightness
    turn: float  # largest rotation either way, degrees
    gradient: float  # largest fall of the light across the picture, as a share
    noise: tuple[float, float]  # standard deviation, grey levels
    blur: tuple[float, float]  # radius, in thousandths of the long side
    quality: tuple[int, int]  # of the JPEG


_STYLES: dict[Level, _Style] = {
    "easy": _Style(("paper",), (0.4, 0.8), (0.6, 0.9), 5, 0.15, (0.5, 3.0), (0.0, 1.0), (80, 96)),
    "medium": _Style(
        ("paper", "paper", "soft shadow", "board"),
        (0.25, 0.7),
        (0.4, 0.85),
        10,
        0.4,
        (2.0, 6.0),
        (0.5, 2.5),
        (60, 92),
    ),
    "hard": _Style(
        ("ruled", "squared", "board", "cast shadow", "page edge", "faint"),
        (0.2, 0.55),
        (0.3, 0.8),
        13,
        0.5,
        (3.0, 9.0),
        (0.5, 3.0),
        (45, 90),
    ),
}


def load(*, held_out: bool) -> tuple[Digits28, NDArray[np.uint8]]:
    """MNIST training images and labels: uint8 (n, 28, 28) white on black, and uint8 (n,).

    Pictures for tuning are painted from those that are trained on, the ones whose figures are
    reported from those that are held out.
    """
    with np.load(BUNDLED, allow_pickle=False) as arrays:
        chosen = slice(TRAINED, None) if held_out else slice(0, TRAINED)
        return arrays["x_train"][chosen], arrays["y_train"][chosen]


def photo(digit: Digits28, label: int, *, level: Level, seed: int) -> Sample:
    """Paint one digit, uint8 (28, 28), as a photograph of the given difficulty."""
    return _paint([_trimmed(digit)], str(label), level, np.random.default_rng(seed))


def number(
    digits: Sequence[Digits28], labels: Sequence[int], *, level: Level, seed: int, lines: int = 1
) -> Sample:
    """Paint digits side by side, in `lines` lines of equal length, as one photograph."""
    rng = np.random.default_rng(seed)
    per_line = len(digits) // lines
    rows = [
        _row([_trimmed(digit) for digit in digits[start : start + per_line]], rng)
        for start in range(0, per_line * lines, per_line)
    ]
    text = "".join(str(label) for label in labels)
    parts = [text[start : start + per_line] for start in range(0, per_line * lines, per_line)]
    return _paint(rows, "\n".join(parts), level, rng)


def blank(*, level: Level, seed: int) -> Sample:
    """Paint the paper or board alone: light, shadow, noise, but neither ink nor ruled lines."""
    rng = np.random.default_rng(seed)
    style = _STYLES[level]
    scene = str(rng.choice([s for s in style.scenes if s not in {"ruled", "squared", "page edge"}]))
    height, width = _picture_size(rng)
    return _photograph(np.zeros((height, width)), scene, "", style, rng)


def _paint(rows: list[Plane], text: str, level: Level, rng: np.random.Generator) -> Sample:
    style = _STYLES[level]
    height, width = _picture_size(rng)
    stroke = np.zeros((height, width))
    share = rng.uniform(*style.size)
    turn = rng.uniform(-style.turn, style.turn)
    block = _block(rows)
    # A stroke is thresholded at full size, so that its edge is as sharp as a pen's.
    scale = min(share * min(height, width) / block.shape[0], 0.8 * width / block.shape[1])
    if len(text) > 1:
        scale = 0.8 * min(width / block.shape[1], height / block.shape[0]) * rng.uniform(0.6, 1)
    size = (max(1, round(block.shape[1] * scale)), max(1, round(block.shape[0] * scale)))
    large = Image.fromarray(block.astype(np.float32)).resize(size, Image.Resampling.BICUBIC)
    turned = np.asarray(large.rotate(turn, Image.Resampling.BILINEAR, expand=True))
    level_of_edge = rng.uniform(0.4, 0.6)
    ink = np.clip((turned - level_of_edge) * max(scale / 2, 2) + 0.5, 0, 1)
    ink = ink[:height, :width]
    top = rng.integers(0, height - ink.shape[0] + 1)
    left = rng.integers(0, width - ink.shape[1] + 1)
    margin = 0.06 * min(height, width)
    top = int(np.clip(top, min(margin, (height - ink.shape[0]) // 2), height - ink.shape[0]))
    left = int(np.clip(left, min(margin, (width - ink.shape[1]) // 2), width - ink.shape[1]))
    stroke[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
    return _photograph(stroke, str(rng.choice(style.scenes)), text, style, rng)


def _photograph(
    stroke: Plane, scene: str, text: str, style: _Style, rng: np.random.Generator
) -> Sample:
    height, width = stroke.shape
    contrast = rng.uniform(0.2, 0.3) if scene == "faint" else rng.uniform(*style.contrast)
    paper = rng.uniform(190, 250) * np.array([1, rng.uniform(0.94, 1), rng.uniform(0.82, 1)])
    ink = paper * (1 - contrast) * rng.uniform((0.7, 0.7, 0.7), (1.0, 1.0, 1.35))
    if scene == "board":
        paper = rng.uniform(30, 70) * rng.uniform((0.7, 0.9, 0.7), (1.0, 1.2, 1.0))
        ink = np.full(3, paper.max() + contrast * (250 - paper.max()))
    if scene in {"faint", "board"}:  # graphite and chalk leave gaps in the grain
        grain = rng.uniform(0.6, 1.0, (height // 2 + 1, width // 2 + 1)).repeat(2, 0).repeat(2, 1)
        stroke = stroke * grain[:height, :width]
    colour = paper + stroke[..., None] * (ink - paper)
    if scene in {"ruled", "squared"}:
        rules = _rules(height, width, rng, squared=scene == "squared")
        colour = np.where(stroke[..., None] > 0.5, colour, colour * (1 - rules[..., None]))
    if scene == "page edge":
        colour = np.where(_beyond_edge(height, width, rng)[..., None], 40.0, colour)
    colour = colour * _light(height, width, scene, style, rng)[..., None]
    picture = Image.fromarray(np.clip(colour, 0, 255).astype(np.uint8))
    radius = rng.uniform(*style.blur) * max(height, width) / 1000
    blurred = np.asarray(picture.filter(ImageFilter.GaussianBlur(radius)), np.float64)
    noisy = blurred + rng.normal(0, rng.uniform(*style.noise), (height, width, 1))
    final = Image.fromarray(np.clip(np.round(noisy), 0, 255).astype(np.uint8))
    buffer = io.BytesIO()
    if rng.random() < 0.3:
        final.save(buffer, "PNG", compress_level=1)
    else:
        final.save(buffer, "JPEG", quality=int(rng.integers(*style.quality)))
    return Sample(buffer.getvalue(), text, scene)


def _light(height: int, width: int, scene: str, style: _Style, rng: np.random.Generator) -> Plane:
    """Light on each pixel, (height, width), 1 where nothing takes any away."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    angle = rng.uniform(0, 2 * np.pi)
    along = (x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle)
    light = 1 - rng.uniform(0, style.gradient) * (along + 0.71) / 1.42
    if "shadow" in scene:
        angle = rng.uniform(0, 2 * np.pi)
        edge = (x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle) + rng.uniform(-0.25, 0.25)
        penumbra = 0.15 if scene == "soft shadow" else rng.uniform(0.01, 0.04)
        light *= 1 - rng.uniform(0.3, 0.55) * np.clip(edge / penumbra + 0.5, 0, 1)
    return np.asarray(light)


def _rules(height: int, width: int, rng: np.random.Generator, *, squared: bool) -> Plane:
    """Printed lines, (height, width), as the share of light that they take."""
    spacing = rng.uniform(0.05, 0.12) * max(height, width)
    thickness = max(1.0, rng.uniform(0.002, 0.004) * max(height, width))
    slope = rng.uniform(-0.04, 0.04)
    y, x = np.mgrid[:height, :width].astype(np.float64)
    lines = (y + slope * x + rng.uniform(0, spacing)) % spacing < thickness
    if squared:
        lines |= (x - slope * y + rng.uniform(0, spacing)) % spacing < thickness
    return np.asarray(lines * rng.uniform(0.12, 0.35))


def _beyond_edge(height: int, width: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Where the table shows beside the page, (height, width)."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    slope = rng.uniform(-0.05, 0.05)
    edge = rng.uniform(0.01, 0.05)
    return np.asarray(
        (x + slope * (y - height / 2) < edge * width)
        if rng.random() < 0.5
        else (y + slope * (x - width / 2) > (1 - edge) * height)
    )


def _picture_size(rng: np.random.Generator) -> tuple[int, int]:
    long, short = int(rng.integers(420, 1000)), rng.uniform(0.65, 1.0)
    return (long, int(long * short)) if rng.random() < 0.5 else (int(long * short), long)


def _trimmed(digit: Digits28) -> Plane:
    rows, columns = np.flatnonzero(digit.max(1) > 60), np.flatnonzero(digit.max(0) > 60)
    inner = digit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] / 255
    return np.pad(inner, 2)


def _row(digits: list[Plane], rng: np.random.Generator) -> Plane:
    """Set digits side by side with a writer's uneven gaps, (h, w)."""
    height = max(digit.shape[0] for digit in digits) + 4
    columns = []
    for digit in digits:
        above = int(rng.integers(0, height - digit.shape[0] + 1))
        columns.append(np.pad(digit, ((above, height - digit.shape[0] - above), (0, 0))))
        columns.append(np.zeros((height, int(rng.integers(0, 9)))))
    return np.concatenate(columns, axis=1)


def _block(rows: list[Plane]) -> Plane:
    """Set rows of digits below each other, (h, w)."""
    width = max(row.shape[1] for row in rows)
    return np.concatenate([np.pad(row, ((3, 3), (0, width - row.shape[1]))) for row in rows])
