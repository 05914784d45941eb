"""Lays out a page: handwritten marks, printed lines and text, and the sheet that they are on.

A page is a drawing without light or camera, with the truth of every pixel beside it;
`training_job.synthesis.photographs` makes a picture of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from training_job import glyphs
from training_job.synthesis import marks
from training_job.synthesis.marks import Mark, Plane

_INKED = 0.3  # of a pixel's light that ink takes there: from it on the pixel is the mark's


@dataclass
class Page:
    """What is on a page, in the layers that a photograph joins.

    Attributes
    ----------
    ink : float32 (h, w)
        Handwriting, 0 to 1.
    owner : uint16 (h, w)
        The mark that the handwriting at each pixel belongs to, from 1; 0 where there is none.
    printed : float32 (h, w)
        Printed lines, boxes and text, 0 to 1.
    sheet : float32 (h, w)
        1 on the sheet, 0 on what lies around it.
    texts : list of str
        What each mark shows: a digit, a sign, or nothing for any other mark.
    """

    ink: Plane
    owner: NDArray[np.uint16]
    printed: Plane
    sheet: Plane
    texts: list[str] = field(default_factory=list)

    @classmethod
    def blank(cls, height: int, width: int) -> Page:
        """A page without anything on it."""
        ink, printed = np.zeros((height, width), np.float32), np.zeros((height, width), np.float32)
        sheet = np.ones((height, width), np.float32)
        return cls(ink, np.zeros((height, width), np.uint16), printed, sheet)

    def write(self, mark: Mark, left: float, top: float) -> None:
        """Add a mark; what lies beyond the page is cut off."""
        window, part = _overlap(self.ink, mark.plane, round(left), round(top))
        if part.size == 0:
            return
        self.texts.append(mark.text)
        stronger = part > self.ink[window]
        self.owner[window][stronger & (part > _INKED)] = len(self.texts)
        self.ink[window][stronger] = part[stronger]

    def print(self, plane: Plane, left: float, top: float) -> None:
        """Add print."""
        window, part = _overlap(self.printed, plane, round(left), round(top))
        if part.size:
            np.maximum(self.printed[window], part, out=self.printed[window])


def _overlap(
    page: Plane, plane: Plane, left: int, top: int
) -> tuple[tuple[slice, slice], Plane]:
    """Where on a page a plane lies, and the part of it that does."""
    height, width = page.shape
    rows = slice(max(top, 0), min(top + plane.shape[0], height))
    columns = slice(max(left, 0), min(left + plane.shape[1], width))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return (slice(0, 0), slice(0, 0)), plane[:0, :0]
    part = plane[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    return (rows, columns), part


Layout = Callable[[Page, float, np.random.Generator], None]


def page(side: int, height: float, rng: np.random.Generator, *, held_out: bool = False) -> Page:
    """Lay out one page of `side` by `side` pixels whose digits are about `height` pixels tall."""
    one = Page.blank(side, side)
    layouts, chances = zip(*_LAYOUTS, strict=True)
    layout = layouts[rng.choice(len(layouts), p=np.array(chances) / sum(chances))]
    layout(one, height, rng)
    chance = rng.random()
    if chance < 0.3:
        _ruling(one, height, rng)
    elif chance < 0.33:
        _waves(one, rng)
    if rng.random() < 0.15:
        _paragraph(one, rng)
    if rng.random() < 0.22:
        _around_sheet(one, rng)
    if rng.random() < 0.05:
        _crossed_out(one, height, rng)
    return one


def _single(page: Page, height: float, rng: np.random.Generator) -> None:
    """One mark somewhere near the middle."""
    side = len(page.ink)
    height = min(max(height, 28), 0.62 * side)
    mark = _any_mark(height, rng, odd=0.2)
    room_y, room_x = side - mark.plane.shape[0], side - mark.plane.shape[1]
    page.write(mark, room_x * rng.uniform(0.2, 0.8), room_y * rng.uniform(0.2, 0.8))


def _any_mark(height: float, rng: np.random.Generator, odd: float) -> Mark:
    """A digit, or with a chance of `odd` something else."""
    if rng.random() >= odd:
        return marks.digit(height, rng)
    kind = rng.choice(4, p=(0.45, 0.35, 0.05, 0.15))
    make = (marks.sign, marks.letter, marks.word, marks.doodle)[kind]
    return make(height, rng)


def _row(
    page: Page, items: list[Mark], left: float, base: float, height: float, gap: tuple[float, float],
    rng: np.random.Generator, slope: float = 0.0,
) -> float:  # fmt: skip
    """Write marks side by side above a baseline; where the row ends.

    Gaps are in heights of a digit, between the marks' boxes; a negative one makes neighbours touch.
    """
    start = left
    for mark in items:
        tall, wide = mark.plane.shape
        top = base - height + mark.top * height if mark.text in marks.SIGNS else base - tall
        page.write(mark, left, top + rng.normal(0, 0.05 * height) + slope * (left - start))
        left += wide + rng.uniform(*gap) * height
    return left


def _numbers(height: float, rng: np.random.Generator, signs: float, odd: float) -> list[Mark]:
    """A number as people write it: digits, here and there a sign or a letter."""
    count = int(rng.choice((1, 2, 3, 4, 5, 6, 8, 10, 14), p=(.12, .16, .16, .14, .12, .1, .1, .06, .04)))  # fmt: skip
    items = []
    for number in range(count):
        if number and rng.random() < signs:
            items.append(marks.sign(height, rng))
        items.append(_any_mark(height, rng, odd))
    return items


def _lines(page: Page, height: float, rng: np.random.Generator) -> None:
    """Lines of numbers, one or several numbers a line."""
    side = len(page.ink)
    signs, odd = rng.choice((0.0, 0.1, 0.25, 0.5)), rng.choice((0.0, 0.0, 0.06, 0.4))
    gap = [(0.1, 0.35), (0.02, 0.2), (-0.12, 0.1), (0.3, 1.2)][rng.choice(4, p=(0.4, 0.3, 0.1, 0.2))]
    spacing = height * rng.uniform(1.2, 2.6)
    slope = rng.normal(0, 0.05)
    base = rng.uniform(0.3, 1.4) * height
    rows = int(rng.choice((1, 2, 3, 30), p=(0.35, 0.15, 0.1, 0.4)))
    if rows < 30:
        base = rng.uniform(height, max(side - rows * spacing, height + 1))
    for _ in range(rows):
        left = rng.uniform(-0.5, 2) * height
        while left < side:
            left = _row(page, _numbers(height, rng, signs, odd), left, base, height, gap, rng, slope)
            left += rng.uniform(0.6, 3) * height
            if rows < 30 and rng.random() < 0.6:
                break
        base += spacing * rng.uniform(0.9, 1.1)
        if base > side + height:
            break


def _matrix(page: Page, height: float, rng: np.random.Generator) -> None:
    """Digits in loose columns and rows, as in a sheet of practice."""
    side = len(page.ink)
    across, down = height * rng.uniform(1.2, 3.5), height * rng.uniform(1.4, 3.5)
    same = rng.random() < 0.3
    for base in np.arange(rng.uniform(0.5, 1.5) * height, side + height, down):
        for left in np.arange(rng.uniform(-0.5, 1) * height, side, across):
            if rng.random() < 0.05:
                continue
            item = marks.digit(height, rng) if not same or rng.random() < 0.9 else marks.sign(height, rng)
            _row(page, [item], left + rng.normal(0, 0.1) * height, base, height, (0, 0), rng)


def _scattered(page: Page, height: float, rng: np.random.Generator) -> None:
    """Marks of very different sizes anywhere, none over another."""
    side = len(page.ink)
    taken = np.zeros(page.ink.shape, np.bool_)
    odd = rng.choice((0.0, 0.25))
    for _ in range(int(rng.integers(2, 14))):
        own = height * np.exp(rng.uniform(-1.1, 1.0))
        mark = _any_mark(min(max(own, 8), 0.5 * side), rng, odd)
        tall, wide = mark.plane.shape
        left, top = rng.uniform(-0.2, 1) * side - wide / 4, rng.uniform(-0.2, 1) * side - tall / 4
        margin = 3
        window, part = _overlap(page.ink, np.ones((tall + 2 * margin, wide + 2 * margin), np.float32),
                                round(left) - margin, round(top) - margin)  # fmt: skip
        if part.size and not taken[window].any():
            taken[window] = True
            page.write(mark, left, top)


def _grid(page: Page, height: float, rng: np.random.Generator) -> None:
    """A printed table: handwriting in some cells, print in others, some empty."""
    side = len(page.ink)
    square = rng.random() < 0.4
    down = height * rng.uniform(1.25, 2.4)
    shape = (0.95, 1.1) if square else (1.2, 4.0)
    rows = np.cumsum([rng.uniform(-1, 0.6) * down, *[down] * (int(side / down) + 2)])
    columns = [rng.uniform(-2, 1.2) * height]
    while columns[-1] < side:
        columns.append(columns[-1] + down * rng.uniform(*shape))
    if rng.random() < 0.6:  # the table ends within the picture
        rows = rows[: max(2, int(rng.uniform(0.3, 1) * len(rows)))]
        columns = columns[: max(2, int(rng.uniform(0.3, 1) * len(columns)))]
    _table_lines(page, rows, np.array(columns), rng)
    filled, printed = rng.uniform(0.3, 1), rng.choice((0.0, 0.15, 0.45))
    digits_printed = rng.random() < 0.5
    printed_columns = rng.random(len(columns)) < rng.choice((0.0, 0.35))
    for top, bottom in zip(rows, rows[1:], strict=False):
        for number, (left, right) in enumerate(zip(columns, columns[1:], strict=False)):
            tall, wide = bottom - top, right - left
            if printed_columns[number] or rng.random() < printed:
                text = _printed_text(height * rng.uniform(0.45, 0.9), rng,
                                     int(rng.integers(1, 4 if square else 9)), digits=digits_printed)  # fmt: skip
                page.print(text, left + rng.uniform(0.1, 0.4) * max(wide - text.shape[1], 0),
                           top + (tall - text.shape[0]) / 2)  # fmt: skip
            elif rng.random() < filled:
                own = height * rng.uniform(0.75, 1.0)
                most = max(1, int(wide / (0.75 * own)))
                count = 1 if square else int(rng.integers(1, min(most, 5) + 1))
                items = [_any_mark(own, rng, odd=0.12) for _ in range(count)]
                total = sum(mark.plane.shape[1] for mark in items) + 0.15 * own * (count - 1)
                base = bottom - (tall - own) * rng.uniform(0.1, 0.7)
                _row(page, items, left + (wide - total) * rng.uniform(0.2, 0.8), base, own,
                     (0.05, 0.25), rng)  # fmt: skip


def _table_lines(
    page: Page, rows: NDArray[np.floating], columns: NDArray[np.floating], rng: np.random.Generator
) -> None:
    thick = max(1, round(rng.choice((1, 1, 2, 3)) * len(page.ink) / 400))
    depth = rng.uniform(0.35, 1)
    heavy = int(rng.choice((0, 3)))  # every third line is heavier, as in a sudoku
    plane = Image.new("L", page.ink.shape[::-1])
    draw = ImageDraw.Draw(plane)
    wobble = rng.uniform(0, 1.5) if rng.random() < 0.15 else 0.0  # ruled by hand
    across, down = rng.random(2) < 0.9
    for number, y in enumerate(rows):
        if down:
            width = thick * 2 if heavy and number % heavy == 0 else thick
            end = y + rng.normal(0, wobble)
            draw.line((columns[0], y, columns[-1], end), fill=255, width=width)
    for number, x in enumerate(columns):
        if across:
            width = thick * 2 if heavy and number % heavy == 0 else thick
            end = x + rng.normal(0, wobble)
            draw.line((x, rows[0], end, rows[-1]), fill=255, width=width)
    if len(rows) > 1 and rng.random() < 0.15:  # a shaded row
        top = rng.integers(len(rows))
        draw.rectangle((columns[0], rows[top], columns[-1], rows[top] + rows[1] - rows[0]),
                       fill=int(rng.uniform(20, 70)))  # fmt: skip
    page.print(np.asarray(plane, np.float32) / 255 * np.float32(depth), 0, 0)


def _comb(page: Page, height: float, rng: np.random.Generator) -> None:
    """Fields of a form: a printed label, then boxes, a comb or a line, with a number in them."""
    side = len(page.ink)
    base = rng.uniform(0.8, 2) * height
    kind = rng.choice(3, p=(0.5, 0.25, 0.25))
    pitch = height * rng.uniform(0.85, 1.4)
    tall = height * rng.uniform(1.1, 1.6)
    thick = max(1, round(rng.choice((1, 1, 2)) * side / 400))
    depth = rng.uniform(0.3, 1)
    apart = rng.choice((0.0, 0.0, 0.15)) * height
    while base < side + height:
        left = rng.uniform(-1, 3) * height
        if rng.random() < 0.7:
            text = _printed_text(height * rng.uniform(0.3, 0.7), rng, int(rng.integers(3, 14)))
            page.print(text, left, base - text.shape[0])
            left += text.shape[1] + rng.uniform(0.3, 1.5) * height
        count = int(rng.integers(1, 12))
        plane = Image.new("L", page.ink.shape[::-1])
        draw = ImageDraw.Draw(plane)
        low = base + rng.uniform(0.05, 0.2) * height
        for number in range(count):
            x = left + number * (pitch + apart)
            if kind == 0:
                draw.rectangle((x, low - tall, x + pitch, low), outline=255, width=thick)
            elif kind == 1:
                draw.line((x, low, x + pitch, low), fill=255, width=thick)
                draw.line((x, low, x, low - tall / 3), fill=255, width=thick)
                draw.line((x + pitch, low, x + pitch, low - tall / 3), fill=255, width=thick)
            else:
                draw.line((left, low, left + count * pitch, low), fill=255, width=thick)
        page.print(np.asarray(plane, np.float32) / 255 * np.float32(depth), 0, 0)
        written = 0 if rng.random() < 0.25 else int(rng.integers(1, count + 1))
        for number in range(written):
            own = height * rng.uniform(0.8, 1.1)
            mark = _any_mark(own, rng, odd=0.12)
            x = left + number * (pitch + apart) + (pitch - mark.plane.shape[1]) / 2
            _row(page, [mark], x + rng.normal(0, 0.08) * height, base, own, (0, 0), rng)
        base += tall + height * rng.uniform(0.2, 2)


def _text_and_numbers(page: Page, height: float, rng: np.random.Generator) -> None:
    """Printed labels with handwritten numbers beside them, or a handwritten text with numbers."""
    side = len(page.ink)
    by_hand = rng.random() < 0.4
    base = rng.uniform(0.5, 1.5) * height
    while base < side + height:
        left = rng.uniform(-1, 1) * height
        while left < side:
            if rng.random() < 0.55:
                if by_hand:
                    word = marks.word(height, rng)
                    page.write(word, left, base - word.plane.shape[0] * 0.8)
                    left += word.plane.shape[1]
                else:
                    text = _printed_text(height * rng.uniform(0.4, 0.9), rng, int(rng.integers(2, 12)))
                    page.print(text, left, base - text.shape[0])
                    left += text.shape[1]
            else:
                items = _numbers(height, rng, 0.1, 0.05)
                left = _row(page, items, left, base, height, (0.02, 0.25), rng)
            left += rng.uniform(0.4, 2) * height
        base += height * rng.uniform(1.3, 2.2)


def _print_alone(page: Page, height: float, rng: np.random.Generator) -> None:
    """Printed text, an empty table or nothing at all: no handwriting."""
    kind = rng.integers(4)
    if kind == 0:
        for _ in range(int(rng.integers(1, 4))):
            _paragraph(page, rng)
    elif kind == 1:
        side = len(page.ink)
        step = height * rng.uniform(1.2, 3)
        _table_lines(page, np.arange(rng.uniform(-1, 1) * step, side, step),
                     np.arange(rng.uniform(-1, 1) * step, side, step * rng.uniform(1, 3)), rng)  # fmt: skip
    elif kind == 2:
        _around_sheet(page, rng)


_LAYOUTS: tuple[tuple[Layout, float], ...] = (
    (_single, 0.14), (_lines, 0.24), (_matrix, 0.08), (_scattered, 0.12), (_grid, 0.16),
    (_comb, 0.1), (_text_and_numbers, 0.09), (_print_alone, 0.07),
)  # fmt: skip


# Of the typefaces in `data/glyphs.npz` those of books, forms and screens; the others imitate hands.
_PRINTED = frozenset(
    "abel anonymous-pro anton archivo-black arvo bebas-neue bitter cabin-condensed chivo"
    " cormorant-garamond courier-prime crimson-text cutive-mono eb-garamond exo-2 fira-mono"
    " gfs-didot ibm-plex-mono inconsolata jetbrains-mono josefin-sans lato libre-baskerville"
    " merriweather michroma montserrat noto-sans noto-serif nunito old-standard-tt open-sans oswald"
    " playfair-display quicksand raleway roboto roboto-mono rokkitt share-tech-mono slabo-27px"
    " source-sans-3 space-mono special-elite trirong ubuntu ultra urbanist varela-round"
    " zilla-slab".split()
)


@cache
def _typefaces() -> list[dict[str, NDArray[np.uint8]]]:
    """The drawings of each typeface that is used for print, by character."""
    with np.load(glyphs.KEPT, allow_pickle=False) as arrays:
        images, characters, face = arrays["images"], arrays["characters"], arrays["face"]
        names = [str(name).partition("-latin-")[0] for name in arrays["names"]]
    found: dict[int, dict[str, NDArray[np.uint8]]] = {}
    for image, character, number in zip(images, characters, face, strict=True):
        if names[number] in _PRINTED:
            found.setdefault(int(number), {})[str(character)] = image
    return [one for _, one in sorted(found.items()) if len(one) > 20]


def _printed_text(
    height: float, rng: np.random.Generator, count: int, *, digits: bool = False
) -> Plane:
    """A line of print, its capitals about `height` pixels tall, all of one typeface and size."""
    face = _typefaces()[rng.integers(len(_typefaces()))]
    usable = [one for one in face if one.isdigit() == digits] or list(face)
    height = max(5, round(height))
    canvas = Image.new("L", (count * height * 2 + 8, round(1.4 * height)))
    left = 1
    for place in range(count):
        if place and rng.random() < 0.15:
            left += height // 2
            continue
        character = usable[rng.integers(len(usable))]
        drawing = Image.fromarray(face[character])
        box = drawing.getbbox() or (0, 0, 40, 40)
        drawing = drawing.crop(box)
        small = character in "aemnruvwxy*~"
        tall = max(3, round(height * (0.7 if small else 1)))
        wide = max(2, round(drawing.width * tall / drawing.height))
        if wide > 1.6 * height:
            tall, wide = max(2, round(tall * 1.2 * height / wide)), round(1.2 * height)
        drawing = drawing.resize((wide, tall), Image.Resampling.BOX if tall < 40 else Image.Resampling.BICUBIC)
        canvas.paste(drawing, (left, height - tall))
        left += wide + max(1, height // 7)
    text = np.asarray(canvas, np.float32)[:, :left] / 255
    return text * np.float32(rng.uniform(0.5, 1))


def _paragraph(page: Page, rng: np.random.Generator) -> None:
    """Some lines of print somewhere, where nothing is written."""
    side = len(page.ink)
    height = float(np.exp(rng.uniform(np.log(6), np.log(40))))
    left, top = rng.uniform(-0.3, 0.8) * side, rng.uniform(-0.2, 0.9) * side
    for _ in range(int(rng.integers(1, 7))):
        text = _printed_text(height, rng, int(rng.integers(2, 24)), digits=rng.random() < 0.2)
        window, part = _overlap(page.ink, text, round(left), round(top))
        if part.size and page.ink[window].max(initial=0) < _INKED:
            page.print(text, left, top)
        top += height * 1.7


def _ruling(page: Page, height: float, rng: np.random.Generator) -> None:
    """Ruled, squared or dotted paper."""
    side = len(page.ink)
    y, x = np.mgrid[:side, :side].astype(np.float32)
    spacing = height * np.exp(rng.uniform(np.log(0.35), np.log(2.5)))
    spacing = max(spacing, 6)
    thick = max(1.0, rng.uniform(0.02, 0.06) * spacing)
    slope = rng.normal(0, 0.01)
    across = (y + slope * x + rng.uniform(0, spacing)) % spacing < thick
    down = (x - slope * y + rng.uniform(0, spacing)) % spacing < thick
    kind = rng.choice(3, p=(0.5, 0.35, 0.15))
    lines = (across, across | down, across & down)[kind]
    if kind == 0 and rng.random() < 0.3:
        lines = lines | (np.abs(x - rng.uniform(0, side)) < thick)
    page.print(lines.astype(np.float32) * np.float32(rng.uniform(0.15, 0.8)), 0, 0)


def _waves(page: Page, rng: np.random.Generator) -> None:
    """Fine waves all over, as on cheques."""
    side = len(page.ink)
    y, x = np.mgrid[:side, :side].astype(np.float32)
    plane = np.zeros(page.ink.shape, np.float32)
    for _ in range(2):
        spacing, length = rng.uniform(5, 14), rng.uniform(30, 150)
        wave = y + rng.uniform(2, 12) * np.sin(x * 2 * np.pi / length + rng.uniform(0, 6))
        np.maximum(plane, (wave % spacing < rng.uniform(0.8, 1.6)).astype(np.float32), out=plane)
    page.print(plane * np.float32(rng.uniform(0.1, 0.4)), 0, 0)


def _around_sheet(page: Page, rng: np.random.Generator) -> None:
    """Leave the sheet on a part of the picture; what was beyond its edge is gone."""
    side = len(page.ink)
    y, x = np.mgrid[:side, :side].astype(np.float32)
    for _ in range(int(rng.choice((1, 2, 4), p=(0.5, 0.3, 0.2)))):
        angle = rng.integers(4) * np.pi / 2 + rng.normal(0, 0.12)
        along = (x - side / 2) * np.cos(angle) + (y - side / 2) * np.sin(angle)
        page.sheet[along > side * rng.uniform(0.15, 0.48)] = 0
    beyond = page.sheet == 0
    page.ink[beyond], page.owner[beyond], page.printed[beyond] = 0, 0, 0


def _crossed_out(page: Page, height: float, rng: np.random.Generator) -> None:
    """A handwritten line under or across what is written."""
    rows, columns = np.nonzero(page.ink > 0.5)
    if len(rows) == 0:
        return
    place = rng.integers(len(rows))
    canvas = Image.new("L", page.ink.shape[::-1])
    x, y = columns[place], rows[place]
    length = height * rng.uniform(1, 5)
    ends = (x - length / 2, y + rng.normal(0, 4), x + length / 2, y + rng.normal(0, 4))
    ImageDraw.Draw(canvas).line(ends, fill=255, width=max(1, round(height / 18)))
    soft = canvas.filter(ImageFilter.GaussianBlur(0.5))
    page.write(Mark(np.asarray(soft, np.float32) / 255, ""), 0, 0)
