"""Draw printed text, ruling lines, tables and waves.

Every function returns a plane, float32 in 0..1: the share of light that the print absorbs. Lengths
are pixels here.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from training_job import glyphs

Plane = NDArray[np.float32]
Bytes = NDArray[np.uint8]

# The typefaces in `data/glyphs.npz` that look printed, chosen by eye; the others imitate
# handwriting.
_TYPEFACES = frozenset((
    "abel", "abril-fatface", "alfa-slab-one", "anonymous-pro", "anton", "archivo-black",
    "arvo", "audiowide", "averia-libre", "baloo-2", "bangers", "bebas-neue", "bitter",
    "black-han-sans", "bowlby-one", "bubblegum-sans", "cabin-condensed", "cantora-one",
    "capriola", "cherry-bomb-one", "chewy", "chivo", "cinzel", "comfortaa",
    "cormorant-garamond", "courier-prime", "crimson-text", "cute-font", "cutive-mono",
    "do-hyeon", "dongle", "dotgothic16", "dynapuff", "eb-garamond", "exo-2", "fira-mono",
    "fredoka", "gabriela", "gfs-didot", "gluten", "gorditas", "grandstander", "gruppo", "gugi",
    "happy-monkey", "hubballi", "ibm-plex-mono", "inconsolata", "jetbrains-mono",
    "josefin-sans", "jua", "kite-one", "kosugi-maru", "lakki-reddy", "lato",
    "libre-baskerville", "life-savers", "lobster", "londrina-solid", "luckiest-guy", "macondo",
    "major-mono-display", "marcellus", "marvel", "merriweather", "metal-mania", "michroma",
    "milonga", "mochiy-pop-one", "molengo", "montaga", "montserrat", "mouse-memoirs",
    "new-rocker", "nixie-one", "noto-sans", "noto-serif", "nova-mono", "nunito",
    "old-standard-tt", "oleo-script", "open-sans", "orbitron", "oswald", "overlock",
    "passero-one", "passion-one", "phudu", "piedra", "pirata-one", "playfair-display",
    "poiret-one", "potta-one", "press-start-2p", "quicksand", "quintessential", "raleway",
    "rammetto-one", "reggae-one", "ribeye", "righteous", "roboto", "roboto-mono", "rokkitt",
    "ruluko", "sail", "salsa", "share-tech-mono", "single-day", "slabo-27px", "slackey",
    "sniglet", "snippet", "sonsie-one", "source-sans-3", "space-mono", "special-elite",
    "spicy-rice", "stick", "stylish", "sunflower", "syncopate", "titan-one", "trade-winds",
    "trirong", "trochut", "ubuntu", "ultra", "uncial-antiqua", "unifrakturcook", "urbanist",
    "varela-round", "vast-shadow", "vt323", "xanh-mono", "yeseva-one", "zilla-slab",
))  # fmt: skip
_COMPLETE = 20  # characters; typefaces with fewer are not used
_LOW = frozenset("aemnruvwxy*~")  # characters without an ascender
_LOW_HEIGHT = 0.7  # height of these, in heights of a capital
_WIDEST = 1.6  # in heights of a capital; wider characters, mostly dashes, are reduced
_SMALLEST = 5  # pixels of height; smaller print looks like noise
_SHADE = 45  # of 255; darkest shade of an area that is not print by `photographs._PRINTED`
_LINE = 400  # side of a page, pixels, per pixel of a thin line's width


@cache
def _typefaces(held_out: bool) -> list[dict[str, Bytes]]:
    """Return the drawings of each printed typeface, by character."""
    faces = glyphs.by_typeface(held_out=held_out)
    return [face for name, face in faces.items() if is_print(name) and len(face) > _COMPLETE]


def is_print(typeface: str) -> bool:
    """Whether a typeface of `glyphs.by_typeface` looks printed, not handwritten."""
    return typeface.partition("-latin-")[0] in _TYPEFACES


def text(
    height: float, count: int, rng: np.random.Generator, held_out: bool, *, digits: bool = False
) -> Plane:
    """Draw a line of `count` characters of one typeface, with capitals about `height` tall.

    Digits only if `digits`, otherwise other characters.
    """
    faces = _typefaces(held_out)
    face = faces[rng.integers(len(faces))]
    usable = [one for one in face if one.isdigit() == digits] or list(face)
    height = max(_SMALLEST, round(height))
    canvas = Image.new("L", (count * height * 2 + 8, round(1.4 * height)))
    left = 1
    for place in range(count):
        if place and rng.random() < 0.15:
            left += height // 2
            continue
        character = usable[rng.integers(len(usable))]
        drawing = Image.fromarray(face[character])
        drawing = drawing.crop(drawing.getbbox())
        tall = max(3, round(height * (_LOW_HEIGHT if character in _LOW else 1)))
        wide = max(2, round(drawing.width * tall / drawing.height))
        if wide > _WIDEST * height:
            tall, wide = max(2, round(tall * 1.2 * height / wide)), round(1.2 * height)
        how = Image.Resampling.BOX if tall < glyphs.SIDE else Image.Resampling.BICUBIC
        canvas.paste(drawing.resize((wide, tall), how), (left, height - tall))
        left += wide + max(1, height // 7)
    line = np.asarray(canvas, np.float32)[:, :left] / np.float32(255)
    return _faded(line, rng.uniform(0.5, 1))


def thickness(side: int, rng: np.random.Generator) -> int:
    """Choose the width of the lines of a table or form on a page of `side` pixels."""
    return max(1, round(float(rng.choice((1, 1, 2, 3))) * side / _LINE))


def table(
    side: int, rows: NDArray[np.floating], columns: NDArray[np.floating], rng: np.random.Generator
) -> Plane:
    """Draw the lines of a table: some thicker, some missing, and sometimes a shaded row."""
    thick, depth = thickness(side, rng), rng.uniform(0.35, 1)
    heavy = 3 if rng.random() < 0.5 else 0  # every third line is heavier, as in a sudoku
    wobble = rng.uniform(0, 1.5) if rng.random() < 0.15 else 0.0  # ruled by hand
    plane = Image.new("L", (side, side))
    draw = ImageDraw.Draw(plane)
    if len(rows) > 1 and rng.random() < 0.15:
        top = rows[rng.integers(len(rows) - 1)]
        box = (columns[0], top, columns[-1], top + rows[1] - rows[0])
        draw.rectangle(box, fill=int(rng.uniform(20, _SHADE)))
    across, down = rng.random(2) < 0.9
    for number, y in enumerate(rows if across else ()):
        width = thick * 2 if heavy and number % heavy == 0 else thick
        ends = (columns[0], y, columns[-1], y + rng.normal(0, wobble))
        draw.line(ends, fill=255, width=width)
    for number, x in enumerate(columns if down else ()):
        width = thick * 2 if heavy and number % heavy == 0 else thick
        draw.line((x, rows[0], x + rng.normal(0, wobble), rows[-1]), fill=255, width=width)
    return _faded(np.asarray(plane, np.float32) / np.float32(255), depth)


def ruling(side: int, height: float, rng: np.random.Generator) -> Plane:
    """Draw the lines of ruled, squared or dotted paper for digits of `height`."""
    y, x = np.mgrid[:side, :side].astype(np.float32)
    spacing = max(6.0, height * np.exp(rng.uniform(np.log(0.35), np.log(2.5))))
    thick = max(1.0, rng.uniform(0.02, 0.06) * spacing)
    slope = rng.normal(0, 0.01)
    across = (y + slope * x + rng.uniform(0, spacing)) % spacing < thick
    down = (x - slope * y + rng.uniform(0, spacing)) % spacing < thick
    kind = rng.choice(3, p=(0.5, 0.35, 0.15))
    lines = (across, across | down, across & down)[kind]
    if kind == 0 and rng.random() < 0.3:  # a margin
        lines = lines | (np.abs(x - rng.uniform(0, side)) < thick)
    return _faded(lines.astype(np.float32), rng.uniform(0.15, 0.8))


def waves(side: int, rng: np.random.Generator) -> Plane:
    """Draw fine wavy lines over the whole page, as on cheques."""
    y, x = np.mgrid[:side, :side].astype(np.float32)
    plane = np.zeros((side, side), np.float32)
    for _ in range(2):
        spacing, length = rng.uniform(5, 14), rng.uniform(30, 150)
        wave = y + rng.uniform(2, 12) * np.sin(x * 2 * np.pi / length + rng.uniform(0, 6))
        np.maximum(plane, (wave % spacing < rng.uniform(0.8, 1.6)).astype(np.float32), out=plane)
    return _faded(plane, rng.uniform(0.1, 0.4))


def _faded(plane: Plane, depth: float) -> Plane:
    return np.asarray(plane * np.float32(depth), np.float32)
