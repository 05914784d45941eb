"""Drawings of digits, letters and signs of many typefaces, most of which imitate handwriting.

    python -m training_job.glyphs fonts/     draw them again from a folder of font files

The drawings are stored in `data/glyphs.npz`, so that training needs no font files.
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

DRAWINGS = Path(__file__).parent / "data/glyphs.npz"
SIDE = 40  # pixels, width and height of a drawing
_FONT_SIZE = 160  # pixels; characters are drawn in this size, cropped and reduced
_WIDEST = 5  # pixels at that size; largest amount by which strokes are widened on each side
# Level of 255 that all parts of a stroke must reach. `synthetic_photos.stroke` places the strokes'
# edges at 0.7 of white at most, so that thinner hairlines would break.
_SURE = 205
_UNASSIGNED = "\U0010fffd"  # in no font; fonts draw their symbol for missing characters for it

DIGITS = "0123456789"
# Without characters that look like digits: O o Q, I i l | / ( ), Z z, S s, q g, B b, J j and D.
OTHERS = "ACEFGHKLMNPRTUVWXYadefhkmnprtuvwxy+=?#&@%$*<~^{"
_HELD_OUT = 5  # one typeface of this many is held out of training


@dataclass(frozen=True)
class Glyphs:
    """Drawings of characters.

    Attributes
    ----------
    images : uint8 (n, 40, 40)
        White on black, centred, scaled so that the longer side fills the image.
    characters : str (n,)
        The character of each drawing.
    """

    images: NDArray[np.uint8]
    characters: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.characters)


@cache
def load(*, held_out: bool, digits: bool) -> Glyphs:
    """Load the digits, or the other characters, of the training or the held-out typefaces."""
    with np.load(DRAWINGS, allow_pickle=False) as arrays:
        images, characters, face = arrays["images"], arrays["characters"], arrays["face"]
    chosen = ((face % _HELD_OUT == 0) == held_out) & (np.char.isdigit(characters) == digits)
    return Glyphs(images[chosen], characters[chosen])


@cache
def by_typeface(*, held_out: bool) -> dict[str, dict[str, NDArray[np.uint8]]]:
    """Load the drawings by the name of the typeface and by character; see `load`."""
    with np.load(DRAWINGS, allow_pickle=False) as arrays:
        images, characters, face = arrays["images"], arrays["characters"], arrays["face"]
    names = _names()
    found: dict[str, dict[str, NDArray[np.uint8]]] = {}
    for place in np.flatnonzero((face % _HELD_OUT == 0) == held_out):
        found.setdefault(names[face[place]], {})[str(characters[place])] = images[place]
    return found


def random_digit(rng: np.random.Generator, *, held_out: bool) -> tuple[NDArray[np.uint8], int]:
    """Return a digit of a random typeface, uint8 (40, 40), and its label; see `load`."""
    typed = load(held_out=held_out, digits=True)
    place = int(rng.integers(len(typed)))
    return typed.images[place], int(typed.characters[place])


def drawn(font: Path, character: str) -> NDArray[np.uint8] | None:
    """Draw a character, uint8 (40, 40) white on black; None if the font does not have it.

    Strokes are widened until no hairline breaks: pens draw no hairlines, and a digit with a broken
    one may look like another digit.
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
    """Draw a character at `_FONT_SIZE`, strokes widened by `wider` pixels; None if it is blank."""
    face = ImageFont.truetype(str(font), _FONT_SIZE)
    canvas = Image.new("L", (4 * _FONT_SIZE, 4 * _FONT_SIZE))
    draw = ImageDraw.Draw(canvas)
    draw.text((_FONT_SIZE, _FONT_SIZE), character, fill=255, font=face, stroke_width=wider)
    box = canvas.getbbox()
    return canvas.crop(box) if box else None


def _reduced(cut: Image.Image) -> NDArray[np.uint8]:
    scale = SIDE / max(cut.size)
    size = (max(1, round(cut.width * scale)), max(1, round(cut.height * scale)))
    glyph = Image.new("L", (SIDE, SIDE))
    place = ((SIDE - size[0]) // 2, (SIDE - size[1]) // 2)
    glyph.paste(cut.resize(size, Image.Resampling.BOX), place)
    return np.asarray(glyph)


def main(
    folder: Annotated[Path, typer.Argument(help="Folder of font files, one per typeface.")],
) -> None:
    """Draw every character of every font in FOLDER and store the drawings.

    Typefaces that were drawn before keep their numbers, so that held-out ones stay held out.
    """
    fonts = sorted(path for path in folder.rglob("*") if path.suffix in {".ttf", ".otf", ".woff"})
    known = _names()
    fonts.sort(key=lambda font: known.index(font.stem) if font.stem in known else len(known))
    images, characters, face = [], [], []
    # Related typefaces share drawings; none may be in the training and in the held-out part.
    seen = set()
    for number, font in enumerate(fonts):
        for character in DIGITS + OTHERS:
            image = drawn(font, character)
            if image is not None:
                image = image // 17 * 17  # 16 levels halve the size of the file
                if image.tobytes() not in seen:
                    seen.add(image.tobytes())
                    images.append(image)
                    characters.append(character)
                    face.append(number)
    np.savez_compressed(
        DRAWINGS,
        images=np.stack(images),
        characters=np.array(characters),
        face=np.array(face, np.uint16),
        names=np.array([font.stem for font in fonts]),
    )
    typer.echo(
        f"{len(images)} drawings of {len(fonts)} typefaces: {DRAWINGS.stat().st_size:,} bytes"
    )


def _names() -> list[str]:
    with np.load(DRAWINGS, allow_pickle=False) as arrays:
        return [str(name) for name in arrays["names"]]


if __name__ == "__main__":
    typer.run(main)
