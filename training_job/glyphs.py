"""Letters, signs and digits of many typefaces, handwriting above all: what is no digit, and is.

    python -m training_job.glyphs fonts/     draw them again from a folder of font files

The drawings are kept in `data/glyphs.npz`, so that training needs no fonts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from digits.components import connected

KEPT = Path(__file__).parent / "data/glyphs.npz"
SIDE = 40  # pixels
_FINE = 160  # of the font, before it is cut and reduced
_WIDEST = 5  # pixels of that, by which a stroke is made wider on each side at most
_SURE = 205  # level that hairlines must reach; strokes begin at seven tenths of white at most
_UNASSIGNED = "\U0010fffd"  # no font has it; what is drawn for it stands for what a font lacks

DIGITS = "0123456789"
# Not there: what a reader takes for a digit, O o Q, I i l | / ( ), Z z, S s, q g, B b, J j and D.
OTHERS = "ACEFGHKLMNPRTUVWXYadefhkmnprtuvwxy+=?#&@%$*<~^{"


@dataclass(frozen=True)
class Glyphs:
    """Drawings of characters.

    Attributes
    ----------
    images : uint8 (n, 40, 40)
        White on black, the larger side filling it, centred.
    characters : str (n,)
        Which character each shows.
    """

    images: NDArray[np.uint8]
    characters: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.characters)


@cache
def load(*, held_out: bool, digits: bool) -> Glyphs:
    """Digits, or other characters, of the typefaces to train with, or of every fifth, held out."""
    with np.load(KEPT, allow_pickle=False) as arrays:
        images, characters, face = arrays["images"], arrays["characters"], arrays["face"]
    chosen = ((face % 5 == 0) == held_out) & (np.char.isdigit(characters) == digits)
    return Glyphs(images[chosen], characters[chosen])


@cache
def by_typeface(*, held_out: bool) -> dict[str, dict[str, NDArray[np.uint8]]]:
    """The drawings of each typeface by its name and by character; see `load`."""
    with np.load(KEPT, allow_pickle=False) as arrays:
        images, characters, face = arrays["images"], arrays["characters"], arrays["face"]
    names = _names()
    found: dict[str, dict[str, NDArray[np.uint8]]] = {}
    for place in np.flatnonzero((face % 5 == 0) == held_out):
        found.setdefault(names[face[place]], {})[str(characters[place])] = images[place]
    return found


def random_digit(rng: np.random.Generator, *, held_out: bool) -> tuple[NDArray[np.uint8], int]:
    """A digit of some typeface, uint8 (40, 40), and which; see `load`."""
    typed = load(held_out=held_out, digits=True)
    place = int(rng.integers(len(typed)))
    return typed.images[place], int(typed.characters[place])


def drawn(font: Path, character: str) -> NDArray[np.uint8] | None:
    """Draw a character, uint8 (40, 40) white on black; None where the font has none.

    With a wider pen where a hairline would break: pens have no hairlines, and a digit without its
    own may be another.
    """
    fine, missing = _fine(font, character, 0), _fine(font, _UNASSIGNED, 0)
    if fine is None or (missing is not None and fine.tobytes() == missing.tobytes()):
        return None
    glyph, whole = _reduced(fine), _parts(np.asarray(fine), 127)
    for wider in range(1, _WIDEST + 1):
        if 0 < _parts(glyph, _SURE) <= whole:
            break
        glyph = _reduced(_fine(font, character, wider) or fine)
    return glyph if glyph.max() > _SURE else None


def _parts(image: NDArray[np.uint8], level: int) -> int:
    return len(connected(image > level))


def _fine(font: Path, character: str, wider: int) -> Image.Image | None:
    """The character as the font has it, its strokes `wider` on each side; None if it is blank."""
    face = ImageFont.truetype(str(font), _FINE)
    canvas = Image.new("L", (4 * _FINE, 4 * _FINE))
    draw = ImageDraw.Draw(canvas)
    draw.text((_FINE, _FINE), character, fill=255, font=face, stroke_width=wider)
    box = canvas.getbbox()
    return canvas.crop(box) if box else None


def _reduced(cut: Image.Image) -> NDArray[np.uint8]:
    scale = SIDE / max(cut.size)
    size = (max(1, round(cut.width * scale)), max(1, round(cut.height * scale)))
    glyph = Image.new("L", (SIDE, SIDE))
    place = ((SIDE - size[0]) // 2, (SIDE - size[1]) // 2)
    glyph.paste(cut.resize(size, Image.Resampling.BOX), place)
    return np.asarray(glyph)


def main(folder: Annotated[Path, typer.Argument(help="Font files, one a typeface.")]) -> None:
    """Draw every character of every font in FOLDER and keep the drawings.

    Typefaces that were drawn before keep their numbers, so that what was held out stays so.
    """
    fonts = sorted(path for path in folder.rglob("*") if path.suffix in {".ttf", ".otf", ".woff"})
    known = _names()
    fonts.sort(key=lambda font: known.index(font.stem) if font.stem in known else len(known))
    images, characters, face = [], [], []
    seen = set()  # sisters share drawings, which must not be in both parts
    for number, font in enumerate(fonts):
        for character in DIGITS + OTHERS:
            image = drawn(font, character)
            if image is not None:
                image = image // 17 * 17  # sixteen levels take half the space
                if image.tobytes() not in seen:
                    seen.add(image.tobytes())
                    images.append(image)
                    characters.append(character)
                    face.append(number)
    np.savez_compressed(
        KEPT,
        images=np.stack(images),
        characters=np.array(characters),
        face=np.array(face, np.uint16),
        names=np.array([font.stem for font in fonts]),
    )
    typer.echo(f"{len(images)} drawings of {len(fonts)} typefaces: {KEPT.stat().st_size:,} bytes")


def _names() -> list[str]:
    with np.load(KEPT, allow_pickle=False) as arrays:
        return [str(name) for name in arrays["names"]]


if __name__ == "__main__":
    typer.run(main)
