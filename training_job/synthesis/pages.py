"""Lay out pages: handwritten marks, ruling lines and printed text on a sheet.

`training_job.synthesis.photographs` renders a page as a photo.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from training_job.synthesis import marks, printed
from training_job.synthesis.marks import DrawnMark, Plane

# Chosen by eye; see the package.
INKED = 0.3  # of full ink, 0 to 1; from it on a pixel belongs to the mark
_CLEARANCE = 3  # pixels between scattered marks at least
_SMALLEST = 8.0  # pixels of height; smaller marks are not legible
_ALONE = 28.0  # pixels; smallest height of a single mark
_FULL = 30  # text lines; more than fit on a page
_LABEL = 0.4  # share of a table's printed cells that hold one character

# Marks that are not digits, and their shares.
_OTHERS = (marks.sign, marks.letter, marks.word, marks.drawing)
_OTHER_SHARES = (0.45, 0.35, 0.05, 0.15)
# Numbers of digits in a number, and their probabilities.
_LENGTHS = (1, 2, 3, 4, 5, 6, 8, 10, 14)
_LENGTH_CHANCES = (0.12, 0.16, 0.16, 0.14, 0.12, 0.1, 0.1, 0.06, 0.04)
# Ranges of the gaps between the boxes of neighbours in a number, in heights of a digit, and their
# probabilities; marks overlap at negative gaps.
_GAPS = ((0.1, 0.35), (0.02, 0.2), (-0.12, 0.1), (0.3, 1.2))
_GAP_CHANCES = (0.4, 0.3, 0.1, 0.2)


@dataclass(frozen=True)
class PageLayers:
    """A page as separate layers, which a photo combines.

    Attributes
    ----------
    ink : float32 (h, w)
        Handwriting, 0 to 1.
    owner : uint16 (h, w)
        The mark that the handwriting at each pixel belongs to, from 1; 0 elsewhere.
    printed : float32 (h, w)
        Printed lines, boxes and text, 0 to 1.
    sheet : float32 (h, w)
        1 on the sheet, 0 on the background.
    texts : list of str
        The text of each mark: a digit, a sign, or empty for any other mark.
    """

    ink: Plane
    owner: NDArray[np.uint16]
    printed: Plane
    sheet: Plane
    texts: list[str] = field(default_factory=list)

    @classmethod
    def blank(cls, side: int) -> PageLayers:
        """Return an empty sheet of `side` by `side` pixels."""
        ink, print_ = np.zeros((2, side, side), np.float32)
        return cls(ink, np.zeros((side, side), np.uint16), print_, np.ones_like(ink))

    @property
    def side(self) -> int:
        """Width and height, pixels."""
        return len(self.ink)

    def write(self, mark: DrawnMark, left: float, top: float) -> None:
        """Add a mark; its parts outside the page are cropped."""
        window, part = _overlap(self.ink, mark.plane, round(left), round(top))
        if part.size == 0:
            return
        self.texts.append(mark.text)
        stronger = part > self.ink[window]
        self.owner[window][stronger & (part > INKED)] = len(self.texts)
        self.ink[window][stronger] = part[stronger]

    def print(self, plane: Plane, left: float = 0, top: float = 0) -> None:
        """Add an ink plane to the printed layer; its parts outside the page are cropped."""
        window, part = _overlap(self.printed, plane, round(left), round(top))
        np.maximum(self.printed[window], part, out=self.printed[window])


def _overlap(page: Plane, plane: Plane, left: int, top: int) -> tuple[tuple[slice, slice], Plane]:
    """Return the window of a page that a plane covers, and that part of the plane; may be empty."""
    height, width = page.shape
    rows = slice(min(max(top, 0), height), max(min(top + plane.shape[0], height), 0))
    columns = slice(min(max(left, 0), width), max(min(left + plane.shape[1], width), 0))
    part = plane[
        max(rows.start - top, 0) : max(rows.stop - top, 0),
        max(columns.start - left, 0) : max(columns.stop - left, 0),
    ]
    return (rows, columns), part


def page(side: int, height: float, rng: np.random.Generator, held_out: bool) -> PageLayers:
    """Lay out a page of `side` by `side` pixels, with digits about `height` pixels tall."""
    one = PageLayers.blank(side)
    layouts, chances = zip(*_LAYOUTS, strict=True)
    layout = layouts[rng.choice(len(layouts), p=chances)]
    layout(one, height, rng, held_out)
    chance = rng.random()
    if chance < 0.3:
        one.print(printed.ruling(side, height, rng))
    elif chance < 0.33:
        one.print(printed.waves(side, rng))
    if rng.random() < 0.15:
        _paragraph(one, rng, held_out)
    if rng.random() < 0.3:
        _cut_sheet(one, rng)
    if rng.random() < 0.05:
        _cross_out(one, height, rng)
    return one


def _single(page: PageLayers, height: float, rng: np.random.Generator, held_out: bool) -> None:
    """One mark near the middle of the page."""
    height = min(max(height, _ALONE), 0.62 * page.side)
    mark = _any_mark(height, rng, held_out, others=0.2)
    below, right = page.side - mark.plane.shape[0], page.side - mark.plane.shape[1]
    page.write(mark, right * rng.uniform(0.2, 0.8), below * rng.uniform(0.2, 0.8))


def _any_mark(height: float, rng: np.random.Generator, held_out: bool, others: float) -> DrawnMark:
    """Draw a digit, or with probability `others` another mark."""
    if rng.random() >= others:
        return marks.digit(height, rng, held_out)
    return _OTHERS[rng.choice(len(_OTHERS), p=_OTHER_SHARES)](height, rng, held_out)


def _row(
    page: PageLayers, items: list[DrawnMark], left: float, base: float, height: float,
    rng: np.random.Generator, gap: tuple[float, float] = (0, 0), slope: float = 0,
) -> float:  # fmt: skip
    """Write marks side by side on a baseline; return the x where the row ends.

    `gap` is a range in heights of a digit; `slope` is the baseline's, positive downwards.
    """
    start = left
    for mark in items:
        top = base + (mark.top - 1) * height + slope * (left - start)
        page.write(mark, left, top + rng.normal(0, 0.05 * height))
        left += mark.plane.shape[1] + rng.uniform(*gap) * height
    return left


def _number(
    height: float, rng: np.random.Generator, held_out: bool, signs: float, others: float
) -> list[DrawnMark]:
    """Draw the marks of a number: digits, with some signs and other marks."""
    items = []
    for number in range(rng.choice(_LENGTHS, p=_LENGTH_CHANCES)):
        if number and rng.random() < signs:
            items.append(marks.sign(height, rng, held_out))
        items.append(_any_mark(height, rng, held_out, others))
    return items


def _lines(page: PageLayers, height: float, rng: np.random.Generator, held_out: bool) -> None:
    """Text lines of one or several numbers."""
    signs, others = rng.choice((0.0, 0.1, 0.25, 0.5)), rng.choice((0.0, 0.0, 0.06, 0.4))
    gap = _GAPS[rng.choice(len(_GAPS), p=_GAP_CHANCES)]
    spacing = height * rng.uniform(1.2, 2.6)
    slope = rng.normal(0, 0.05)
    base = rng.uniform(0.3, 1.4) * height
    rows = int(rng.choice((1, 2, 3, _FULL), p=(0.35, 0.15, 0.1, 0.4)))
    if rows < _FULL:
        base = rng.uniform(height, max(page.side - rows * spacing, height + 1))
    for _ in range(rows):
        left = rng.uniform(-0.5, 2) * height
        while left < page.side:
            items = _number(height, rng, held_out, signs, others)
            left = _row(page, items, left, base, height, rng, gap, slope)
            left += rng.uniform(0.6, 3) * height
            if rows < _FULL and rng.random() < 0.6:
                break
        base += spacing * rng.uniform(0.9, 1.1)


def _practice(page: PageLayers, height: float, rng: np.random.Generator, held_out: bool) -> None:
    """Digits and some signs in loose columns and rows, as on a sheet for handwriting practice."""
    across, down = height * rng.uniform(1.2, 3.5), height * rng.uniform(1.4, 3.5)
    signs = 0.1 if rng.random() < 0.3 else 0.0
    for base in np.arange(rng.uniform(0.5, 1.5) * height, page.side + height, down):
        for left in np.arange(rng.uniform(-0.5, 1) * height, page.side, across):
            if rng.random() < 0.05:
                continue
            make = marks.sign if rng.random() < signs else marks.digit
            item = make(height, rng, held_out)
            _row(page, [item], left + rng.normal(0, 0.1) * height, base, height, rng)


def _scattered(page: PageLayers, height: float, rng: np.random.Generator, held_out: bool) -> None:
    """Marks of very different sizes at random places, without overlap."""
    taken = np.zeros_like(page.ink)
    others = rng.choice((0.0, 0.25))
    for _ in range(int(rng.integers(2, 14))):
        own = height * np.exp(rng.uniform(-1.1, 1.0))
        mark = _any_mark(min(max(own, _SMALLEST), 0.5 * page.side), rng, held_out, others)
        tall, wide = mark.plane.shape
        left = round(rng.uniform(-0.2, 1) * page.side - wide / 4)
        top = round(rng.uniform(-0.2, 1) * page.side - tall / 4)
        room = np.ones((tall + 2 * _CLEARANCE, wide + 2 * _CLEARANCE), np.float32)
        window, part = _overlap(taken, room, left - _CLEARANCE, top - _CLEARANCE)
        if part.size and not taken[window].any():
            taken[window] = 1
            page.write(mark, left, top)


def _table(page: PageLayers, height: float, rng: np.random.Generator, held_out: bool) -> None:
    """A printed table with handwriting in some cells, print in others, and empty cells."""
    square = rng.random() < 0.4
    down = height * rng.uniform(1.25, 2.4)
    shape = (0.95, 1.1) if square else (1.2, 4.0)
    rows = np.cumsum([rng.uniform(-1, 0.6) * down, *[down] * (int(page.side / down) + 2)])
    columns = [rng.uniform(-2, 1.2) * height]
    while columns[-1] < page.side:
        columns.append(columns[-1] + down * rng.uniform(*shape))
    if rng.random() < 0.6:  # the table ends within the picture
        rows = rows[: max(2, int(rng.uniform(0.3, 1) * len(rows)))]
        columns = columns[: max(2, int(rng.uniform(0.3, 1) * len(columns)))]
    page.print(printed.table(page.side, rows, np.array(columns), rng))
    filled, set_in_print = rng.uniform(0.3, 1), rng.choice((0.0, 0.15, 0.45))
    printed_digits = rng.random() < 0.5
    printed_columns = rng.random(len(columns)) < rng.choice((0.0, 0.35))
    for top, bottom in pairwise(rows):
        for number, (left, right) in enumerate(pairwise(columns)):
            if printed_columns[number] or rng.random() < set_in_print:
                # Single printed characters are the print most easily mistaken for handwriting.
                most = 2 if rng.random() < _LABEL else 4 if square else 9
                count, own = int(rng.integers(1, most)), rng.uniform(0.45, 0.9)
                text = printed.text(own * height, count, rng, held_out, digits=printed_digits)
                free = max(right - left - text.shape[1], 0)
                middle = (top + bottom - text.shape[0]) / 2
                page.print(text, left + rng.uniform(0.1, 0.4) * free, middle)
            elif rng.random() < filled:
                _fill_cell(page, (left, top, right, bottom), height, rng, held_out, alone=square)


def _fill_cell(
    page: PageLayers, cell: tuple[float, float, float, float], height: float,
    rng: np.random.Generator, held_out: bool, *, alone: bool,
) -> None:  # fmt: skip
    """Write one mark, or unless `alone` up to five side by side, in a cell of a table."""
    left, top, right, bottom = cell
    own = height * rng.uniform(0.75, 1.0)
    room = max(1, int((right - left) / (0.75 * own)))  # marks
    count = 1 if alone else int(rng.integers(1, min(room, 5) + 1))
    items = [_any_mark(own, rng, held_out, others=0.12) for _ in range(count)]
    total = sum(mark.plane.shape[1] for mark in items) + 0.15 * own * (count - 1)
    base = bottom - (bottom - top - own) * rng.uniform(0.1, 0.7)
    start = left + (right - left - total) * rng.uniform(0.2, 0.8)
    _row(page, items, start, base, own, rng, (0.05, 0.25))


def _form(page: PageLayers, height: float, rng: np.random.Generator, held_out: bool) -> None:
    """Fields of a form: a printed label, then boxes, a comb or a line, with digits in them."""
    base = rng.uniform(0.8, 2) * height
    kind = rng.choice(("boxes", "comb", "line"), p=(0.5, 0.25, 0.25))
    pitch, tall = height * rng.uniform(0.85, 1.4), height * rng.uniform(1.1, 1.6)
    thick, depth = printed.thickness(page.side, rng), np.float32(rng.uniform(0.3, 1))
    apart = rng.choice((0.0, 0.0, 0.15)) * height
    while base < page.side + height:
        left = rng.uniform(-1, 3) * height
        if rng.random() < 0.7:
            own, count = height * rng.uniform(0.3, 0.7), int(rng.integers(3, 14))
            label = printed.text(own, count, rng, held_out)
            page.print(label, left, base - label.shape[0])
            left += label.shape[1] + rng.uniform(0.3, 1.5) * height
        starts = left + np.arange(rng.integers(1, 12)) * (pitch + apart)
        low = base + rng.uniform(0.05, 0.2) * height
        lines = Image.new("L", (page.side, page.side))
        draw = ImageDraw.Draw(lines)
        for x in starts:
            if kind == "boxes":
                draw.rectangle((x, low - tall, x + pitch, low), outline=255, width=thick)
            elif kind == "comb":
                comb = [
                    (x, low - tall / 3),
                    (x, low),
                    (x + pitch, low),
                    (x + pitch, low - tall / 3),
                ]
                draw.line(comb, fill=255, width=thick)
        if kind == "line":
            draw.line((left, low, starts[-1] + pitch, low), fill=255, width=thick)
        page.print(np.asarray(lines, np.float32) / 255 * depth)
        written = 0 if rng.random() < 0.25 else int(rng.integers(1, len(starts) + 1))
        for x in starts[:written]:
            own = height * rng.uniform(0.8, 1.1)
            mark = _any_mark(own, rng, held_out, others=0.12)
            middle = x + (pitch - mark.plane.shape[1]) / 2 + rng.normal(0, 0.08) * height
            _row(page, [mark], middle, base, own, rng)
        base += tall + height * rng.uniform(0.2, 2)


def _text(page: PageLayers, height: float, rng: np.random.Generator, held_out: bool) -> None:
    """Printed or handwritten text with handwritten numbers in it."""
    by_hand = rng.random() < 0.4
    base = rng.uniform(0.5, 1.5) * height
    while base < page.side + height:
        left = rng.uniform(-1, 1) * height
        while left < page.side:
            if rng.random() >= 0.55:
                items = _number(height, rng, held_out, signs=0.1, others=0.05)
                left = _row(page, items, left, base, height, rng, (0.02, 0.25))
            elif by_hand:
                word = marks.word(height, rng, held_out)
                page.write(word, left, base - word.plane.shape[0] * 0.8)
                left += word.plane.shape[1]
            else:
                own, count = height * rng.uniform(0.4, 0.9), int(rng.integers(2, 12))
                text = printed.text(own, count, rng, held_out)
                page.print(text, left, base - text.shape[0])
                left += text.shape[1]
            left += rng.uniform(0.4, 2) * height
        base += height * rng.uniform(1.3, 2.2)


def _print_alone(page: PageLayers, height: float, rng: np.random.Generator, held_out: bool) -> None:
    """Printed text, an empty table, the edge of a sheet or an empty page; no handwriting."""
    kind = rng.choice(("text", "table", "sheet", "nothing"))
    if kind == "text":
        for _ in range(int(rng.integers(1, 4))):
            _paragraph(page, rng, held_out)
    elif kind == "table":
        down = height * rng.uniform(1.2, 3)
        across = down * rng.uniform(1, 3)
        rows = np.arange(rng.uniform(-1, 0.5) * down, page.side, down)
        columns = np.arange(rng.uniform(-1, 0.3) * across, page.side, across)
        page.print(printed.table(page.side, rows, columns, rng))
    elif kind == "sheet":
        _cut_sheet(page, rng)


Layout = Callable[[PageLayers, float, np.random.Generator, bool], None]
# The layouts of pages, and their probabilities.
_LAYOUTS: tuple[tuple[Layout, float], ...] = (
    (_single, 0.14), (_lines, 0.24), (_practice, 0.08), (_scattered, 0.12), (_table, 0.16),
    (_form, 0.1), (_text, 0.09), (_print_alone, 0.07),
)  # fmt: skip


def _paragraph(page: PageLayers, rng: np.random.Generator, held_out: bool) -> None:
    """Print up to six lines of text at a random place, except over handwriting."""
    height = float(np.exp(rng.uniform(np.log(6), np.log(40))))  # pixels
    left, top = rng.uniform(-0.3, 0.8) * page.side, rng.uniform(-0.2, 0.9) * page.side
    for _ in range(int(rng.integers(1, 7))):
        count, digits = int(rng.integers(2, 24)), rng.random() < 0.2
        text = printed.text(height, count, rng, held_out, digits=digits)
        window, _ = _overlap(page.ink, text, round(left), round(top))
        if page.ink[window].max(initial=0) < INKED:
            page.print(text, left, top)
        top += height * 1.7


def _cut_sheet(page: PageLayers, rng: np.random.Generator) -> None:
    """Let the sheet end within the page on one, two or four sides, and clear what is outside."""
    side = page.side
    y, x = np.mgrid[:side, :side].astype(np.float32)
    for _ in range(int(rng.choice((1, 2, 4), p=(0.4, 0.25, 0.35)))):
        angle = rng.integers(4) * np.pi / 2 + rng.normal(0, 0.12)
        along = (x - side / 2) * np.cos(angle) + (y - side / 2) * np.sin(angle)
        page.sheet[along > side * rng.uniform(0.15, 0.48)] = 0
    beyond = page.sheet == 0
    page.ink[beyond], page.owner[beyond], page.printed[beyond] = 0, 0, 0


def _cross_out(page: PageLayers, height: float, rng: np.random.Generator) -> None:
    """Draw a line by hand under or across handwriting."""
    rows, columns = np.nonzero(page.ink > 0.5)
    if len(rows) == 0:
        return
    place = rng.integers(len(rows))
    x, y = columns[place], rows[place]
    length = height * rng.uniform(1, 5)
    ends = (x - length / 2, y + rng.normal(0, 4), x + length / 2, y + rng.normal(0, 4))
    canvas = Image.new("L", (page.side, page.side))
    ImageDraw.Draw(canvas).line(ends, fill=255, width=max(1, round(height / 18)))
    soft = canvas.filter(ImageFilter.GaussianBlur(0.5))
    line = np.asarray(soft, np.float32) / np.float32(255) * page.sheet
    page.write(DrawnMark(line, "", 0), 0, 0)
