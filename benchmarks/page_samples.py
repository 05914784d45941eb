"""Render pages for benchmarks, with their truth.

Digits, signs and print are the held-out ones of `training_job.synthesis`. Doodles, layouts and the
rendering of photos are those of this module, so that a reader trained on synthetic scenes has not
seen them. Probabilities and ranges were chosen by eye, to look like real pictures of each kind.
Lengths are pixels. A kind and a number always give the same page.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from benchmarks import mnist
from benchmarks.samples import LARGE_JPEG
from digits.results import Mode
from training_job import strokes, synthetic_photos
from training_job.synthesis import marks, printed
from training_job.synthesis.marks import DrawnMark
from training_job.synthesis.pages import PageLayers

Rng = np.random.Generator
DrawnPage = tuple[PageLayers, str]
"""A page and its text, line by line."""
Span = tuple[float, float]

_MARGIN = 0.08  # margin on each side, as a share of a page's side
_LIGHTS = {"even": 0.4, "gradient": 0.35, "soft shadow": 0.2, "cast shadow": 0.05}  # shares
_PENS = (0.05, 0.15)  # log-uniform range of the width of a page's pen, in heights of a digit
_THINNEST = 1.8  # pixels; smallest width of a pen
_LIKE = 1.4  # largest ratio between the width of a digit's strokes and of the page's pen
_COARSER = 8  # light is computed for blocks of 8×8 pixels, because it changes slowly


@dataclass(frozen=True)
class PageSample:
    """One picture with its truth.

    Attributes
    ----------
    kind : str
        The kind of page, one of `KINDS`, or the kind of a real picture.
    data : bytes
        The image file.
    text : str
        The text, line by line; empty if there is no digit.
    mode : Mode
        How to classify it.
    """

    kind: str
    data: bytes
    text: str
    mode: Mode = "multiple"


@dataclass(frozen=True)
class _Camera:
    """How the pages of a kind are photographed.

    Attributes
    ----------
    turn : float
        Largest rotation of the page in both directions, degrees.
    dark : tuple of two float
        Range of the share of light that ink absorbs.
    grain : float
        Largest share of the ink that the paper's grain leaves out, as with a pencil.
    noise : tuple of two float
        Range of the noise's standard deviation, grey levels.
    quality : tuple of two int
        Range of the JPEG quality.
    inside : float
        Share of the page's sides that the picture shows; at 1 or more it shows the whole page and
        some background.
    """

    turn: float = 3
    dark: Span = (0.5, 0.95)
    grain: float = 0
    noise: Span = (0.5, 5)
    quality: tuple[int, int] = (70, 95)
    inside: float = 1


@dataclass(frozen=True)
class _Kind:
    draw: Callable[[Rng], DrawnPage]
    camera: _Camera = _Camera()
    mode: Mode = "multiple"


def sample(kind: str, number: int) -> PageSample:
    """Render page number `number` of a kind, one of `KINDS`."""
    rng = np.random.default_rng([number, *kind.encode()])
    if kind == _STRIP:
        return _strip(rng)
    what = _PAGES[kind]
    page, text = what.draw(rng)
    picture = _photographed(page, what.camera, rng)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=int(rng.integers(*what.camera.quality)))
    return PageSample(kind, buffer.getvalue(), text, what.mode)


def _strip(rng: Rng) -> PageSample:
    """Return 5 to 40 of MNIST's test images side by side, unchanged."""
    images, labels = mnist.test_images()
    chosen = rng.integers(0, len(images), rng.integers(5, 41))
    text = "".join(map(str, labels[chosen]))
    return PageSample(_STRIP, mnist.png(np.hstack(list(images[chosen]))), text)


def _sheet(height: int, width: int) -> PageLayers:
    ink, print_ = np.zeros((2, height, width), np.float32)
    return PageLayers(ink, np.zeros((height, width), np.uint16), print_, np.ones_like(ink))


def _sides(rng: Rng, shortest: float, longest: float) -> tuple[int, int]:
    """Choose height and width of a portrait or landscape page, its longer side in a range."""
    long = float(np.exp(rng.uniform(np.log(shortest), np.log(longest))))
    sides = round(long), round(long * rng.uniform(0.6, 1))
    return sides if rng.random() < 0.6 else sides[::-1]


class _Writer:
    """Writes the marks of one page, all with a pen of the same width."""

    def __init__(self, rng: Rng) -> None:
        self._rng = rng
        self._pen = np.exp(rng.uniform(*np.log(_PENS)))

    def digit(self, height: float) -> DrawnMark:
        """Draw a digit whose strokes are about as wide as the pen."""
        pen = max(self._pen * height, _THINNEST)
        while True:
            mark = marks.digit(height, self._rng, held_out=True)
            if pen / _LIKE < _stroke_width(mark.plane) < pen * _LIKE:
                return mark

    def sign(self, height: float) -> DrawnMark:
        """Draw a sign, no smaller than a dot of the pen."""
        pen = max(self._pen * height, _THINNEST)
        while True:
            mark = marks.sign(height, self._rng, held_out=True)
            if mark.plane.sum() > 0.6 * pen**2:
                return mark

    def digits(self, height: float, count: int) -> list[DrawnMark]:
        """Draw `count` digits."""
        return [self.digit(height) for _ in range(count)]


def _stroke_width(plane: NDArray[np.float32]) -> float:
    """Return the mean width of strokes, pixels: their area divided by half the length of edges."""
    padded = np.pad(plane, 1)
    slope = np.hypot(np.diff(padded, axis=0)[:, 1:], np.diff(padded, axis=1)[1:])
    return float(2 * plane.sum() / slope.sum())


def _row(
    page: PageLayers,
    items: Sequence[DrawnMark],
    left: float,
    base: float,
    height: float,
    gap: float,
    rng: Rng,
) -> str:
    """Write marks side by side on a baseline, about `gap` pixels apart; return their text."""
    for mark in items:
        top = base + (mark.top - 1) * height + rng.normal(0, 0.03) * height
        page.write(mark, left, top)
        left += mark.plane.shape[1] + gap * rng.uniform(0.6, 1.4)
    return "".join(mark.text for mark in items)


def _rows(page: PageLayers, rows: Sequence[Sequence[DrawnMark]], height: float, rng: Rng) -> str:
    """Write a block of left-aligned text lines at a random place; return their text."""
    tall, wide = page.ink.shape
    gap = rng.uniform(0.08, 0.35) * height
    lengths = [sum(mark.plane.shape[1] + gap for mark in row) for row in rows]
    free = max(wide * (1 - 2 * _MARGIN) - max(lengths), 0)
    start = wide * _MARGIN + rng.uniform(0, 0.8) * free
    room = tall * (1 - 2 * _MARGIN)
    spacing = min(rng.uniform(1.5, 2.4) * height, room / len(rows))
    first = tall * _MARGIN + height + rng.uniform(0, max(room - spacing * len(rows), 0))
    return "\n".join(
        _row(page, row, start + rng.uniform(0, 0.2) * free, first + place * spacing, height, gap,
             rng)
        for place, row in enumerate(rows)
    )  # fmt: skip


def _large(lines: int) -> Callable[[Rng], DrawnPage]:
    """Return a layout of `lines` text lines of ten digits, on a sheet as large as a phone photo."""

    def draw(rng: Rng) -> DrawnPage:
        page = _sheet(*LARGE_JPEG)
        height = LARGE_JPEG[0] * (1 - 2 * _MARGIN) / lines * rng.uniform(0.4, 0.65)
        height = min(height, 0.05 * LARGE_JPEG[1])
        writer = _Writer(rng)
        rows = [writer.digits(height, 10) for _ in range(lines)]
        return page, _rows(page, rows, height, rng)

    return draw


def _note(rng: Rng, *, signs: float = 0) -> DrawnPage:
    """One to eight numbers, one per line; `signs` is the probability of a sign after a digit."""
    page = _sheet(*_sides(rng, 800, 2_600))
    tall, wide = page.ink.shape
    lengths = rng.integers(2 if signs else 1, 9, rng.integers(1, 9))
    most = max(lengths) * (1 + signs)
    room = 0.84 * min(tall / len(lengths) / 1.5, wide / most, 0.3 * min(tall, wide))
    height = room * rng.uniform(0.5, 0.9)
    writer, rows = _Writer(rng), []
    for length in lengths:
        row = writer.digits(height, length)
        after = rng.random(length - 1) < signs
        after[:1] |= signs > 0  # each line has at least one sign
        for place in np.flatnonzero(after)[::-1]:
            row.insert(place + 1, writer.sign(height))
        rows.append(row)
    return page, _rows(page, rows, height, rng)


def _signs(rng: Rng) -> DrawnPage:
    return _note(rng, signs=0.35)


def _form(rng: Rng) -> DrawnPage:
    return _fields(rng) if rng.random() < 0.6 else _table(rng)


def _fields(rng: Rng) -> DrawnPage:
    """Printed labels, each followed by boxes, a comb or a line; some of them hold a number."""
    page = _sheet(*_sides(rng, 1_200, 2_600))
    tall, wide = page.ink.shape
    count, cells = int(rng.integers(3, 9)), int(rng.integers(4, 11))
    kind = rng.choice(("boxes", "comb", "line"))
    pitch = min(0.5 * wide / cells, 0.55 * tall / count)
    height, box = pitch * rng.uniform(0.6, 0.85), pitch * rng.uniform(1, 1.3)
    left = wide * 0.4
    canvas = Image.new("L", (wide, tall))
    draw = ImageDraw.Draw(canvas)
    thick = max(1, round(pitch * rng.uniform(0.02, 0.06)))
    writer = _Writer(rng)
    lines: list[str] = []
    for base in np.linspace(tall * _MARGIN + 1.1 * box, 0.92 * tall, count):
        label = printed.text(height * rng.uniform(0.35, 0.6), int(rng.integers(4, 9)), rng, True)
        page.print(label[:, : round(0.3 * wide)], wide * _MARGIN, base - label.shape[0])
        for cell in range(cells):
            x = left + cell * pitch
            if kind == "boxes":
                draw.rectangle((x, base - box, x + pitch, base), outline=255, width=thick)
            else:
                high = box / 3 if kind == "comb" else 0
                draw.line((x, base - high, x, base, x + pitch, base, x + pitch, base - high),
                          fill=255, width=thick)  # fmt: skip
        written = 0 if lines and rng.random() < 0.3 else int(rng.integers(1, cells + 1))
        number = ""
        for cell in range(written):
            mark = writer.digit(height)
            middle = left + (cell + 0.5) * pitch + rng.normal(0, 0.05) * pitch
            low = base - (box - height) * rng.uniform(0.2, 0.6)
            number += _row(page, [mark], middle - mark.plane.shape[1] / 2, low, height, 0, rng)
        if number:
            lines.append(number)
    page.print(np.asarray(canvas, np.float32) / np.float32(255))
    return page, "\n".join(lines)


def _table(rng: Rng) -> DrawnPage:
    """A ruled table with a printed header row, numbers in some cells and print in others."""
    page = _sheet(*_sides(rng, 1_200, 2_600))
    tall, wide = page.ink.shape
    rows, columns = int(rng.integers(3, 10)), int(rng.integers(2, 6))
    down, across = 0.82 * tall / (rows + 1), 0.84 * wide / columns
    height = min(down * rng.uniform(0.4, 0.7), across / 3.5)
    canvas = Image.new("L", (wide, tall))
    draw = ImageDraw.Draw(canvas)
    thick = max(1, round(height * rng.uniform(0.03, 0.08)))
    left, top = wide * _MARGIN, tall * _MARGIN
    for row in range(rows + 2):
        draw.line((left, top + row * down, left + columns * across, top + row * down),
                  fill=255, width=thick)  # fmt: skip
    for column in range(columns + 1):
        draw.line((left + column * across, top, left + column * across, top + (rows + 1) * down),
                  fill=255, width=thick)  # fmt: skip
    writer = _Writer(rng)
    lines: list[str] = []
    for row in range(rows + 1):
        base, line = top + (row + 0.8) * down, ""
        for column in range(columns):
            x = left + (column + 0.12) * across
            chance = rng.random()
            if row == 0 or (chance < 0.15 and lines):
                text = printed.text(0.6 * height, int(rng.integers(2, 6)), rng, True)
                page.print(text[:, : round(0.8 * across)], x, base - text.shape[0])
            elif chance < 0.8 or not lines:
                items = writer.digits(height, int(rng.integers(1, 4)))
                line += _row(page, items, x, base, height, 0.12 * height, rng)
        if line:
            lines.append(line)
    page.print(np.asarray(canvas, np.float32) / np.float32(255))
    return page, "\n".join(lines)


def _sizes(rng: Rng) -> DrawnPage:
    """Digits whose sizes differ by up to a factor of 8, in rows with a clear reading order."""
    page = _sheet(*_sides(rng, 1_200, 2_400))
    tall, wide = page.ink.shape
    largest = rng.uniform(0.22, 0.34) * min(tall, wide)
    heights = largest / np.exp(rng.uniform(0, np.log(8), rng.integers(4, 10)))
    heights[:2] = largest, largest / 8
    rows: list[list[float]] = [[]]
    for height in rng.permutation(heights):
        if rows[-1] and 1.3 * (sum(rows[-1]) + height) > 0.8 * wide:
            rows.append([])
        rows[-1].append(height)
    needed = sum(1.25 * max(row) for row in rows)
    scale = min(1, 0.84 * tall / needed)
    top = tall * _MARGIN + rng.uniform(0, 1) * max(0.84 * tall - needed, 0)
    writer, lines = _Writer(rng), []
    for row in rows:
        high = max(row) * scale
        spare = 0.84 * wide - 1.1 * scale * sum(row)
        left, text = wide * _MARGIN, ""
        for height in np.multiply(row, scale):
            left += rng.uniform(0.2, 0.9) * spare / len(row)
            base = top + high / 2 + height / 2 + rng.normal(0, 0.1) * (high - height)
            mark = writer.digit(height)
            text += _row(page, [mark], left, base, height, 0, rng)
            left += mark.plane.shape[1]
        lines.append(text)
        top += 1.25 * high
    return page, "\n".join(lines)


def _doodles(rng: Rng, most: int = 4) -> DrawnPage:
    """One to `most` doodles, and no digit."""
    page = _sheet(*_sides(rng, 300, 1_600))
    tall, wide = page.ink.shape
    count = int(rng.integers(1, most + 1))
    for place in range(count):
        skeleton = _DOODLES[rng.integers(len(_DOODLES))]
        bend, lean = rng.normal(0, 0.03, (4, 4, 2)), rng.normal(0, 0.1)
        lines = [strokes.by_hand(np.array(line), bend, 1, lean, rng) for line in skeleton]
        plane = strokes.drawn(lines, rng.uniform(0.02, 0.08), rng)
        side = rng.uniform(0.35, 0.75) * min(tall, wide / count)
        size = [max(8, round(length * side / max(plane.shape))) for length in plane.shape[::-1]]
        image = Image.fromarray(plane.astype(np.float32)).resize(size, Image.Resampling.BICUBIC)
        mark = DrawnMark(np.asarray(image).clip(0, 1), "", 0)
        left = (place + 0.5) * wide / count - size[0] / 2
        page.write(mark, left, rng.uniform(0.12, 0.88) * (tall - size[1]))
    return page, ""


def _doodle(rng: Rng) -> DrawnPage:
    return _doodles(rng, 1)


def _cell(rng: Rng) -> DrawnPage:
    """A cropped cell of a form with some of its ruling lines, without handwriting."""
    height = round(float(np.exp(rng.uniform(np.log(40), np.log(260)))))
    width = round(height * rng.uniform(0.7, 1.5))
    page = _sheet(height, width)
    canvas = Image.new("L", (width, height))
    draw = ImageDraw.Draw(canvas)
    thick = max(1, round(height * rng.uniform(0.01, 0.05)))
    shift = np.array([height, width, height, width]) * rng.uniform(-0.02, 0.14, 4)
    comb = rng.random() < 0.25  # open at the top
    top = height - shift[2] - height / 3 if comb else shift[0]
    lines = (
        (-1, shift[0], width, shift[0]), (-1, height - shift[2], width, height - shift[2]),
        (shift[3], top, shift[3], height), (width - shift[1], top, width - shift[1], height),
    )  # fmt: skip
    for number, line in enumerate(lines):
        if not (comb and number == 0) and rng.random() < 0.85:
            draw.line(line, fill=255, width=thick)
    page.print(np.asarray(canvas, np.float32) / np.float32(255 * rng.uniform(1, 1.6)))
    return page, ""


# Drawings in a unit square with y down, each a tuple of strokes; none looks like a digit or sign.
_DOODLES: tuple[strokes.Skeleton, ...] = (
    (((0.5, 0), (0.05, 0.15), (0, 0.6), (0.5, 1), (1, 0.6), (0.95, 0.15), (0.5, 0)),
     ((0.3, 0.3), (0.31, 0.42)), ((0.7, 0.3), (0.69, 0.42)),
     ((0.25, 0.65), (0.5, 0.82), (0.75, 0.65))),  # a smiling face
    (((0, 0.5), (0.35, 0.15), (0.75, 0.5)), ((0.75, 0.5), (1, 0.2), (1, 0.8), (0.75, 0.5)),
     ((0.75, 0.5), (0.35, 0.85), (0, 0.5)), ((0.2, 0.42), (0.22, 0.46))),  # a fish
    (((0.5, 1), (0.5, 0.55)), ((0.5, 0.55), (0.1, 0.5), (0.2, 0.1), (0.5, 0), (0.8, 0.1),
     (0.9, 0.5), (0.5, 0.55)), ((0.5, 0.8), (0.7, 0.65))),  # a tree
    (((0.5, 0.35), (0.35, 0.5), (0.5, 0.65), (0.65, 0.5), (0.5, 0.35)), ((0.5, 0.25), (0.5, 0)),
     ((0.5, 0.75), (0.5, 1)), ((0.25, 0.5), (0, 0.5)), ((0.75, 0.5), (1, 0.5)),
     ((0.3, 0.3), (0.12, 0.12)), ((0.7, 0.7), (0.88, 0.88)), ((0.7, 0.3), (0.88, 0.12)),
     ((0.3, 0.7), (0.12, 0.88))),  # a sun
    (((0.05, 0.6), (0.05, 0.95), (0.95, 0.95)), ((0.95, 0.95), (0.95, 0.6), (0.05, 0.6)),
     ((0.05, 0.6), (0.5, 0.1), (0.95, 0.6)), ((0.4, 0.95), (0.4, 0.72), (0.6, 0.72),
     (0.6, 0.95))),  # a house
    (((0.2, 0.35), (0.25, 0), (0.42, 0.22)), ((0.58, 0.22), (0.75, 0), (0.8, 0.35)),
     ((0.5, 0.2), (0.15, 0.45), (0.3, 0.95), (0.7, 0.95), (0.85, 0.45), (0.5, 0.2)),
     ((0.35, 0.5), (0.36, 0.54)), ((0.65, 0.5), (0.64, 0.54)), ((0.4, 0.72), (0, 0.65)),
     ((0.6, 0.72), (1, 0.65))),  # a cat
    (((0.5, 1), (0.1, 0.5), (0, 0.2), (0.25, 0), (0.5, 0.3), (0.75, 0), (1, 0.2), (0.9, 0.5),
      (0.5, 1)), ((0, 0.9), (1, 0.1))),  # a heart and an arrow
    (((0.1, 0.6), (0.2, 0.35), (0.75, 0.35), (0.95, 0.6), (0.1, 0.6)),
     ((0.25, 0.6), (0.17, 0.75), (0.25, 0.82), (0.33, 0.72), (0.25, 0.6)),
     ((0.75, 0.6), (0.67, 0.75), (0.75, 0.82), (0.83, 0.72), (0.75, 0.6))),  # a car
    (((0.5, 0.4), (0.3, 0.1), (0.5, 0), (0.7, 0.1), (0.5, 0.4)),
     ((0.5, 0.4), (0.85, 0.25), (0.95, 0.45), (0.85, 0.6), (0.5, 0.4)),
     ((0.5, 0.4), (0.15, 0.25), (0.05, 0.45), (0.15, 0.6), (0.5, 0.4)),
     ((0.5, 0.4), (0.52, 1))),  # a flower
    (((0, 0.2), (0.25, 0), (0.45, 0.45), (0.1, 0.7), (0.4, 1), (0.7, 0.6), (0.5, 0.1), (0.9, 0.3),
      (0.6, 0.9), (1, 1), (0.8, 0.5), (0.2, 0.3), (0.9, 0.8)),),  # a tangle
)  # fmt: skip

_STRIP = "strip"
_TELEPHONE = _Camera(noise=(3, 6), quality=(85, 96))  # files of some megabytes
_PAGES = {
    "a4": _Kind(_large(20), _TELEPHONE),
    "lines": _Kind(_note, _Camera(turn=10)),
    "signs": _Kind(_signs, _Camera(turn=10)),
    "form": _Kind(_form),
    "sizes": _Kind(_sizes),
    # The darkest pixels of the faintest ink have 60 % of the paper's brightness.
    "faint": _Kind(_note, _Camera(dark=(0.4, 0.5), grain=0.4, noise=(0.5, 3))),
    "doodles": _Kind(_doodles),
    "doodles, single": _Kind(_doodle, mode="single"),
    "empty": _Kind(_cell, _Camera(inside=0.94), "single"),
    "hundred": _Kind(_large(10), _TELEPHONE),
}
KINDS = ("a4", _STRIP, *[kind for kind in _PAGES if kind != "a4"])


def _photographed(page: PageLayers, camera: _Camera, rng: Rng) -> Image.Image:
    """Render a page as a photo in colours, of the same size."""
    drawn = _seen(page, camera, rng)
    height, width = drawn.ink.shape
    paper = rng.uniform(170, 250) * np.array([1, rng.uniform(0.95, 1), rng.uniform(0.85, 1)])
    takes = rng.uniform(*camera.dark) * np.array([1, *np.sort(rng.uniform(0.7, 1, 2))[::-1]])
    print_ = drawn.printed * np.float32(rng.uniform(0.4, 0.95))
    ink = drawn.ink
    if camera.grain:
        ink = ink * rng.uniform(1 - camera.grain, 1, ink.shape).astype(np.float32)
    kind = rng.choice(list(_LIGHTS), p=list(_LIGHTS.values()))
    light = synthetic_photos.light(
        height // _COARSER + 1, width // _COARSER + 1, kind, "medium", rng
    )
    lit = _resized(light.astype(np.float32), width, height)
    table = _table_top(height, width, rng)
    tone = rng.uniform(0.8, 1, 3)
    planes = []
    for at, takes_at, tone_at in zip(paper, takes, tone, strict=True):
        sheet = np.float32(at) * (1 - ink * np.float32(takes_at)) * (1 - print_)
        plane = table * np.float32(tone_at) * (1 - drawn.sheet) + sheet * drawn.sheet
        planes.append((plane * lit).clip(0, 255).astype(np.uint8))
    picture = Image.fromarray(np.dstack(planes))
    blurred = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 1.2)))
    noise = rng.standard_normal((height, width, 1), np.float32)
    noise *= np.float32(rng.uniform(*camera.noise))
    return Image.fromarray((np.asarray(blurred) + noise).clip(0, 255).astype(np.uint8))


def _seen(page: PageLayers, camera: _Camera, rng: Rng) -> PageLayers:
    """Return the page as the picture shows it: rotated, and slightly in perspective."""
    height, width = page.ink.shape
    angle = np.radians(rng.uniform(-camera.turn, camera.turn))
    cos, sin = np.cos(angle), np.sin(angle)
    across, down = abs(cos) + abs(sin) * height / width, abs(cos) + abs(sin) * width / height
    shown = max(across, down) * rng.uniform(1, 1.1) if camera.inside >= 1 else camera.inside
    corners = np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]]) * (width / 2, height / 2) * shown
    corners = corners * (1 + rng.uniform(-0.015, 0.015, (4, 1)))
    corners = corners @ np.array([[cos, sin], [-sin, cos]]) + (width / 2, height / 2)
    quad = tuple(corners.ravel().tolist())  # upper left, lower left, lower right, upper right

    def seen(plane: NDArray[np.float32]) -> NDArray[np.float32]:
        image = Image.fromarray(plane)
        how = Image.Resampling.BILINEAR
        return np.asarray(image.transform(image.size, Image.Transform.QUAD, quad, how), np.float32)

    return PageLayers(seen(page.ink), page.owner, seen(page.printed), seen(page.sheet), page.texts)


def _table_top(height: int, width: int, rng: Rng) -> NDArray[np.float32]:
    """Render a background in grey levels: one tone with streaks, as of wood."""
    streaks = rng.uniform(-1, 1, (max(2, height // 12), max(2, width // 200))).astype(np.float32)
    tone, depth = rng.uniform(20, 200), rng.uniform(0, 0.25)
    plane = np.float32(tone) * (1 + np.float32(depth) * _resized(streaks, width, height))
    return np.asarray(plane, np.float32)


def _resized(plane: NDArray[np.float32], width: int, height: int) -> NDArray[np.float32]:
    image = Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image, np.float32)
