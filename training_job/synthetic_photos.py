"""Render digits as synthetic photos of paper and boards, from a seed, with their truth.

The photos serve training, development and tests. They do not replace real photos: accuracy on them
measures how robust the preprocessing is, not the accuracy on people's photos. All ranges and
probabilities were chosen by eye.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFilter

from training_job.data import BUNDLED, TRAINING_IMAGES

Level = Literal["easy", "medium", "hard"]
Digits28 = NDArray[np.uint8]
Plane = NDArray[np.float64]
Range = tuple[float, float]
Chances = dict[str, float]


@dataclass(frozen=True)
class SyntheticPhoto:
    """One synthetic photo.

    Attributes
    ----------
    data : bytes
        The image file.
    text : str
        The digits in reading order, lines joined by newlines.
    conditions : dict
        Its paper, pen, light and other conditions, to break errors down by.
    box : tuple of four int, or None
        x, y, width and height of all ink, in pixels of the upright image; None without ink.
    """

    data: bytes
    text: str
    conditions: dict[str, str]
    box: tuple[int, int, int, int] | None


@dataclass(frozen=True)
class _Style:
    """Parameters of one level: relative frequencies of kinds, and ranges of uniform choices."""

    paper: Chances
    light: Chances
    size: Range  # height of the digit as a share of the picture's short side
    contrast: Range  # of ink on paper, as a share of the paper's brightness
    turn: float  # largest rotation either way, degrees
    gradient: Range  # fall of the light across the picture, as a share
    shadow: Range  # share of the light that a shadow takes
    noise: Range  # standard deviation, grey levels
    blur: Range  # radius, in thousandths of the long side
    quality: tuple[int, int]  # of the JPEG
    long_side: tuple[int, int]  # pixels
    specks: float  # probability of specks
    skips: float  # probability of a gap where the pen skips
    touching: float  # probability that two neighbours in a number touch
    pens: Chances = field(default_factory=lambda: {"pen": 4, "marker": 1, "pencil": 1})


# Pixels of a row of digits with its margins; its digits are about 100 pixels high.
# Pixels of a row of digits with its margins; its digits are about 100 pixels high.
ROW_HEIGHT = 140
_EMPTY = 0.2  # of full ink, 0 to 1; fainter rows and columns at the edges are cropped
_INK = 0.3  # of full ink; from it on a pixel counts as ink for boxes and gaps
_EMPTY = 0.2  # of full ink, 0 to 1; fainter rows and columns at the edges are cropped
_INK = 0.3  # of full ink; from it on a pixel counts as ink for boxes and gaps

_STYLES: dict[Level, _Style] = {
    "easy": _Style(
        paper={"plain": 4, "coloured": 1},
        light={"even": 1, "gradient": 1},
        size=(0.35, 0.85),
        contrast=(0.55, 0.9),
        turn=6,
        gradient=(0.05, 0.2),
        shadow=(0, 0),
        noise=(0.3, 3.0),
        blur=(0.0, 1.0),
        quality=(80, 96),
        long_side=(300, 1400),
        specks=0,
        skips=0,
        touching=0.03,
    ),
    "medium": _Style(
        paper={"plain": 3, "coloured": 1, "ruled": 1, "squared": 1, "dotted": 1, "board": 2},
        light={"even": 1, "gradient": 2, "soft shadow": 2, "cast shadow": 0.7},
        size=(0.22, 0.75),
        contrast=(0.4, 0.85),
        turn=10,
        gradient=(0.1, 0.4),
        shadow=(0.2, 0.4),
        noise=(1.0, 6.0),
        blur=(0.3, 2.5),
        quality=(60, 92),
        long_side=(220, 1400),
        specks=0.15,
        skips=0.05,
        touching=0.06,
    ),
    "hard": _Style(
        paper={"plain": 1, "coloured": 1, "ruled": 2, "squared": 2, "dotted": 1, "board": 2,
               "page edge": 1.5},
        light={"even": 0.5, "gradient": 1, "soft shadow": 1, "cast shadow": 2, "lamp": 1},
        size=(0.16, 0.6),
        contrast=(0.25, 0.8),
        turn=14,
        gradient=(0.1, 0.55),
        shadow=(0.3, 0.6),
        noise=(2.0, 9.0),
        blur=(0.5, 3.5),
        quality=(35, 90),
        long_side=(160, 1400),
        specks=0.35,
        skips=0.15,
        touching=0.1,
        pens={"pen": 3, "marker": 1, "pencil": 2, "faint": 1.5},
    ),
}  # fmt: skip


@cache
def load(*, held_out: bool) -> tuple[Digits28, NDArray[np.uint8]]:
    """Return MNIST's training images, uint8 (n, 28, 28) white on black, and labels, uint8 (n,).

    Photos for training and tuning are rendered from the first 55,000, photos for reported figures
    from the 5,000 that are held out.
    """
    with np.load(BUNDLED, allow_pickle=False) as arrays:
        chosen = slice(TRAINING_IMAGES, None) if held_out else slice(0, TRAINING_IMAGES)
        return arrays["x_train"][chosen], arrays["y_train"][chosen]


def random_digit(rng: np.random.Generator, *, held_out: bool) -> tuple[Digits28, int]:
    """Return one of MNIST's training images, uint8 (28, 28), and its label; see `load`."""
    pixels, truths = load(held_out=held_out)
    place = int(rng.integers(len(truths)))
    return pixels[place], int(truths[place])


def stroke(digit: Digits28, edge: float = 0.5) -> Plane:
    """Enlarge a drawing of few pixels to ink with sharp edges, float64 (h, w) in 0..1.

    Strokes end where the drawing is at the level `edge`, in 0..1: a lower one makes them thicker.
    """
    rows, columns = np.flatnonzero(digit.max(1) > 60), np.flatnonzero(digit.max(0) > 60)
    inner = digit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] / np.float32(255)
    padded = Image.fromarray(np.pad(inner, 2))
    size = (padded.width * 5, padded.height * 5)
    large = np.asarray(padded.resize(size, Image.Resampling.BICUBIC), np.float64)
    return crop_to_ink(np.clip((large - edge) * 4 + 0.5, 0, 1))


def crop_to_ink(plane: Plane) -> Plane:
    """Crop an ink plane to its ink."""
    rows, columns = np.flatnonzero(plane.max(1) > _EMPTY), np.flatnonzero(plane.max(0) > _EMPTY)
    return plane[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def photo(digit: Digits28 | Plane, label: int | str, *, level: Level, seed: int) -> SyntheticPhoto:
    """Render one digit as a photo of the given level.

    `digit` is an image like MNIST's, uint8 (28, 28), or ink as `stroke` and `strokes.digit` return.
    """
    rng = np.random.default_rng(seed)
    return _rendered([_as_ink(digit, rng)], str(label), level, rng)


def number(
    digits: Sequence[Digits28 | Plane],
    labels: Sequence[int | str],
    *,
    level: Level,
    seed: int,
    lines: int = 1,
) -> SyntheticPhoto:
    """Render digits side by side, in `lines` text lines of about equal length, as one photo."""
    rng = np.random.default_rng(seed)
    every = [_as_ink(digit, rng) for digit in digits]
    places = np.array_split(np.arange(len(every)), lines)
    touching = _STYLES[level].touching
    rows = [row([every[place] for place in line], touching, rng) for line in places]
    texts = ["".join(str(labels[place]) for place in line) for line in places]
    return _rendered(rows, "\n".join(texts), level, rng)


def blank(*, level: Level, seed: int) -> SyntheticPhoto:
    """Render paper or a board without ink, with light, shadow, noise and ruling lines."""
    rng = np.random.default_rng(seed)
    height, width = _picture_size(_STYLES[level], rng)
    return photograph(np.zeros((height, width)), "", level, {"size": "none", "turn": "none"}, rng)


def _as_ink(digit: Digits28 | Plane, rng: np.random.Generator) -> Plane:
    if digit.dtype == np.uint8:
        return stroke(np.asarray(digit, np.uint8), rng.uniform(0.35, 0.65))
    return np.asarray(digit, np.float64)


def _rendered(
    rows: list[Plane], text: str, level: Level, rng: np.random.Generator
) -> SyntheticPhoto:
    style = _STYLES[level]
    height, width = _picture_size(style, rng)
    share = rng.uniform(*style.size)
    turn = rng.uniform(-style.turn, style.turn) * (1 if len(text) < 3 else 0.6)
    block = _block(rows, rng)
    room = 0.88 * min(width / block.shape[1], height / block.shape[0])
    if len(text) > 1:
        scale = room * rng.uniform(0.5, 1)
    else:
        scale = min(share * min(height, width) / max(block.shape), room)
    if rng.random() < style.skips:
        block = with_pen_skip(block, rng)
    size = (max(1, round(block.shape[1] * scale)), max(1, round(block.shape[0] * scale)))
    small = Image.fromarray(block.astype(np.float32)).resize(size, Image.Resampling.BOX)
    ink = np.asarray(small.rotate(turn, Image.Resampling.BILINEAR, expand=True), np.float64)
    ink = ink[:height, :width]
    margin = 0.05 * min(height, width)
    top, left = (
        int(np.clip(rng.uniform(0, free), min(margin, free / 2), max(free - margin, free / 2)))
        for free in (height - ink.shape[0], width - ink.shape[1])
    )
    page = np.zeros((height, width))
    page[top : top + ink.shape[0], left : left + ink.shape[1]] = np.clip(ink, 0, 1)
    shown = max(ink.shape) / min(height, width)
    conditions = {
        "size": "small" if shown < 0.3 else "large" if shown > 0.6 else "middling",
        "turn": f"{int(abs(turn)) // 5 * 5} to {int(abs(turn)) // 5 * 5 + 5} degrees",
    }
    return photograph(page, text, level, conditions, rng)


def photograph(
    page: Plane, text: str, level: Level, conditions: dict[str, str], rng: np.random.Generator
) -> SyntheticPhoto:
    """Render an ink plane, float64 (h, w) in 0..1, as a photo: paper, pen, light, camera, file."""
    style = _STYLES[level]
    height, width = page.shape
    paper, pen, lit = (_choice(chances, rng) for chances in (style.paper, style.pens, style.light))
    if paper == "board":
        pen = "chalk"
    colour = _on_paper(page, paper, pen, style, rng)
    if rng.random() < style.specks:
        colour = _with_specks(colour, rng)
    colour = colour * light(height, width, lit, level, rng)[..., None]
    picture = Image.fromarray(np.clip(colour, 0, 255).astype(np.uint8))
    radius = rng.uniform(*style.blur) * max(height, width) / 1000
    blurred = np.asarray(picture.filter(ImageFilter.GaussianBlur(radius)), np.float32)
    noise = rng.normal(0, rng.uniform(*style.noise), (height, width, 1))
    final = Image.fromarray(np.clip(np.round(blurred + noise), 0, 255).astype(np.uint8))
    data, kind = _encoded(final, style, rng)
    blur = radius * 1000 / max(height, width)
    conditions = conditions | {
        "paper": paper,
        "pen": pen,
        "light": lit,
        "blur": "sharp" if blur < 1 else "soft" if blur < 2 else "blurred",
        "file": kind,
        "pixels": "under 400" if max(height, width) < 400 else "400 and more",
    }
    return SyntheticPhoto(data, text, conditions, _bounds(page))


def _bounds(page: Plane) -> tuple[int, int, int, int] | None:
    """Return x, y, width and height of all ink."""
    rows, columns = np.flatnonzero(page.max(1) > _INK), np.flatnonzero(page.max(0) > _INK)
    if len(rows) == 0:
        return None
    left, top = int(columns[0]), int(rows[0])
    return left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top


def _on_paper(
    page: Plane, paper: str, pen: str, style: _Style, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Colour an ink plane: paper, ruling lines and ink, float64 (h, w, 3) in 0..255."""
    height, width = page.shape
    contrast = rng.uniform(0.18, 0.3) if pen == "faint" else rng.uniform(*style.contrast)
    ground = rng.uniform(190, 250) * np.array([1, rng.uniform(0.94, 1), rng.uniform(0.82, 1)])
    if paper == "coloured":
        ground = rng.uniform(110, 250, 3)
    ink = ground * (1 - contrast) * rng.uniform((0.7, 0.7, 0.7), (1.0, 1.0, 1.35))
    if paper == "board":
        ground = rng.uniform(25, 80) * rng.uniform((0.7, 0.9, 0.7), (1.0, 1.25, 1.0))
        ink = np.full(3, ground.max() + contrast * (250 - ground.max()))
    if pen in {"faint", "pencil", "chalk"}:  # graphite and chalk leave gaps in the grain
        grain = rng.uniform(0.5, 1.0, (height // 2 + 1, width // 2 + 1)).repeat(2, 0).repeat(2, 1)
        page = page * grain[:height, :width]
    if pen == "marker":
        soft = Image.fromarray(np.round(page * 255).astype(np.uint8))
        soft = soft.filter(ImageFilter.GaussianBlur(max(height, width) / 400))
        page = np.clip(np.asarray(soft, np.float64) / 255 * 2.2, 0, 1)
    colour = ground + page[..., None] * (ink - ground)
    if paper in {"ruled", "squared", "dotted"}:
        rules = _ruling_lines(height, width, paper, rng)
        colour = np.where(page[..., None] > 0.5, colour, colour * (1 - rules[..., None]))
    if paper == "page edge":
        table = rng.uniform(20, 120)
        colour = np.where(_background_mask(height, width, rng)[..., None], table, colour)
    return colour


def _with_specks(colour: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Add one to six dark spots, as of dust."""
    height, width, _ = colour.shape
    y, x = np.mgrid[:height, :width]
    for _ in range(int(rng.integers(1, 7))):
        row, column = rng.uniform(0, height), rng.uniform(0, width)
        radius = rng.uniform(0.002, 0.007) * max(height, width)
        spot = (y - row) ** 2 + (x - column) ** 2 < radius**2
        colour[spot] *= rng.uniform(0.3, 0.8)
    return colour


def light(height: int, width: int, kind: str, level: Level, rng: np.random.Generator) -> Plane:
    """Return the share of light on each pixel, (height, width); 1 is full light."""
    style = _STYLES[level]
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j] - 0.5
    if kind == "even":
        return np.ones((height, width))
    if kind == "lamp":
        far = np.hypot(y - rng.uniform(-0.4, 0.4), x - rng.uniform(-0.4, 0.4))
        return np.asarray(1 - rng.uniform(*style.gradient) * np.clip(far, 0, 1.2) ** 2)
    angle = rng.uniform(0, 2 * np.pi)
    along = x * np.cos(angle) + y * np.sin(angle)
    falling = 1 - rng.uniform(*style.gradient) * (along + 0.71) / 1.42
    if "shadow" in kind:
        angle = rng.uniform(0, 2 * np.pi)
        along = x * np.cos(angle) + y * np.sin(angle)
        across = y * np.cos(angle) - x * np.sin(angle)
        edge = along + rng.uniform(-0.3, 0.3) + rng.uniform(-0.8, 0.8) * across**2
        penumbra = rng.uniform(0.1, 0.3) if kind == "soft shadow" else rng.uniform(0.008, 0.05)
        falling *= 1 - rng.uniform(*style.shadow) * np.clip(edge / penumbra + 0.5, 0, 1)
    return np.asarray(falling)


def _ruling_lines(height: int, width: int, kind: str, rng: np.random.Generator) -> Plane:
    """Return ruled, squared or dotted lines, (height, width), as the share of light they absorb."""
    spacing = rng.uniform(0.04, 0.14) * max(height, width)
    thickness = max(1.0, rng.uniform(0.002, 0.004) * max(height, width))
    slope = rng.uniform(-0.04, 0.04)
    y, x = np.mgrid[:height, :width].astype(np.float64)
    across = (y + slope * x + rng.uniform(0, spacing)) % spacing < thickness
    down = (x - slope * y + rng.uniform(0, spacing)) % spacing < thickness
    lines = {"ruled": across, "squared": across | down, "dotted": across & down}[kind]
    if kind == "ruled" and rng.random() < 0.3:  # with a margin
        margin = x - slope * y - rng.uniform(0.06, 0.15) * width
        lines = lines | ((margin > 0) & (margin < thickness))
    return np.asarray(lines * rng.uniform(0.12, 0.4))


def _background_mask(height: int, width: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return the mask of the background beside the sheet, on one or two sides, (height, width)."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    slope = rng.uniform(-0.05, 0.05)
    edge = rng.uniform(0.01, 0.05)
    beside = {
        "left": x + slope * (y - height / 2) < edge * width,
        "right": x + slope * (y - height / 2) > (1 - edge) * width,
        "below": y + slope * (x - width / 2) > (1 - edge) * height,
        "above": y + slope * (x - width / 2) < edge * height,
    }
    sides = rng.choice(list(beside), int(rng.integers(1, 3)), replace=False)
    return np.asarray(np.logical_or.reduce([beside[side] for side in sides]))


def _encoded(final: Image.Image, style: _Style, rng: np.random.Generator) -> tuple[bytes, str]:
    """Encode the photo in a random format; return the file and the name of the format."""
    kind = _choice(
        {"JPEG": 12, "PNG": 4, "WEBP": 1, "palette": 1, "CMYK": 1, "16 bits": 1, "turned": 1}, rng
    )
    quality = int(rng.integers(*style.quality))
    options: dict[str, Any] = {"format": "JPEG", "quality": quality}
    if kind == "turned":
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = 6
        options["exif"] = exif
        final = final.transpose(Image.Transpose.ROTATE_90)
    elif kind == "PNG":
        options = {"format": "PNG", "compress_level": 1}
    elif kind == "WEBP":
        options["format"] = "WEBP"
    elif kind == "palette":
        final, options = final.quantize(64), {"format": "PNG"}
    elif kind == "CMYK":
        final = final.convert("CMYK")
    elif kind == "16 bits":
        deep = np.asarray(final.convert("L"), np.uint16) * 257
        final, options = Image.fromarray(deep), {"format": "PNG", "compress_level": 1}
    buffer = io.BytesIO()
    final.save(buffer, **options)
    return buffer.getvalue(), kind


def _choice(chances: Chances, rng: np.random.Generator) -> str:
    weights = np.array(list(chances.values()))
    return str(rng.choice(list(chances), p=weights / weights.sum()))


def _picture_size(style: _Style, rng: np.random.Generator) -> tuple[int, int]:
    long = int(np.exp(rng.uniform(*np.log(style.long_side))))
    short = int(long * rng.uniform(0.65, 1.0))
    return (long, short) if rng.random() < 0.5 else (short, long)


def with_pen_skip(block: Plane, rng: np.random.Generator) -> Plane:
    """Remove the ink in a narrow band across the strokes, where the pen skipped."""
    y, x = np.mgrid[: block.shape[0], : block.shape[1]]
    angle = rng.uniform(0, np.pi)
    along = x * np.cos(angle) + y * np.sin(angle)
    at = rng.uniform(*np.percentile(along[block > 0.5], (15, 85)))
    return np.where(np.abs(along - at) < rng.uniform(0.008, 0.022) * max(block.shape), 0, block)


def row(digits: list[Plane], touching: float, rng: np.random.Generator) -> Plane:
    """Set digits side by side, (h, w), with uneven sizes, gaps and baseline.

    Gaps are distances between the ink, so that the boxes of slanted neighbours may overlap.
    """
    row = np.zeros((ROW_HEIGHT, 0))
    for start, digit in row_layout(digits, touching, rng):
        row = _overlaid(row, digit, start)
    return np.asarray(row[row.max(axis=1) > 0.1])


def row_layout(
    digits: list[Plane], touching: float, rng: np.random.Generator
) -> list[tuple[int, Plane]]:
    """Lay out the digits of a `row`.

    Returns
    -------
    list of tuple of int and float64 (ROW_HEIGHT, w)
        For each digit the column of its left side, and its ink with the margins above and below.
    """
    height = 100
    row = np.zeros((ROW_HEIGHT, 0))
    found = []
    for digit in digits:
        scale = height * rng.uniform(0.85, 1.1) / max(digit.shape)
        size = (max(1, round(digit.shape[1] * scale)), max(1, round(digit.shape[0] * scale)))
        image = Image.fromarray(digit.astype(np.float32)).resize(size, Image.Resampling.BOX)
        small = np.asarray(image, np.float64)
        slack = row.shape[0] - small.shape[0]
        above = int(np.clip(rng.normal(0.5, 0.12), 0, 1) * slack)
        tall = np.pad(small, ((above, slack - above), (0, 0)))
        gap = -rng.uniform(1, 5) if rng.random() < touching else rng.uniform(4, 35)
        start = _next_column(row, tall, round(gap))
        row = _overlaid(row, tall, start)
        found.append((start, tall))
    return found


def _next_column(row: Plane, digit: Plane, gap: int) -> int:
    """Return the column where the next digit begins, for a distance of `gap` pixels of ink."""
    if row.shape[1] == 0:
        return 0
    ink, other = row > _INK, digit > _INK
    free_right = np.where(ink.any(axis=1), ink[:, ::-1].argmax(axis=1), 10_000)
    free_left = np.where(other.any(axis=1), other.argmax(axis=1), 10_000)
    reach = max(1, gap)
    near = np.min([np.roll(free_left, shift) for shift in range(-reach, reach + 1)], axis=0)
    apart = int((free_right + near).min())
    if apart > 9_000:  # no ink in the same rows
        apart = 0
    return max(int(row.shape[1]) // 2, int(row.shape[1]) - apart + gap)


def _overlaid(row: Plane, digit: Plane, start: int) -> Plane:
    together = np.zeros((row.shape[0], max(row.shape[1], start + digit.shape[1])))
    together[:, : row.shape[1]] = row
    part = together[:, start : start + digit.shape[1]]
    np.maximum(part, digit, out=part)
    return together


def _block(rows: list[Plane], rng: np.random.Generator) -> Plane:
    """Set rows of digits below each other, (h, w), with random indents."""
    if len(rows) == 1:
        return rows[0]
    starts = [int(rng.integers(0, 40)) for _ in rows]
    width = max(row.shape[1] + start for row, start in zip(rows, starts, strict=True))
    parts = []
    for row, start in zip(rows, starts, strict=True):
        below = int(rng.integers(25, 70))
        parts.append(np.pad(row, ((0, below), (start, width - row.shape[1] - start))))
    return crop_to_ink(np.concatenate(parts))
