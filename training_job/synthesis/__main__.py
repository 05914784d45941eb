"""Write a contact sheet of synthetic scenes.

    python -m training_job.synthesis sheet.png --seed 1 --count 40
    python -m training_job.synthesis sheet.png --beside pictures/    and real pictures below them

The truth is to the right of each scene: digits green, other marks orange, print blue, background
grey. Neighbouring marks have different shades.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image

from digits.recognition.outputs import BACKGROUND, DIGIT, MARK, PAPER, PRINT
from training_job.synthesis.photographs import SyntheticScene, scene

_SIDE = 200  # pixels of a cell
_COLUMNS = 8  # cells per row; even, because a scene and its truth are side by side
_COLOURS = {  # red, green and blue
    PAPER: (255, 255, 255),
    DIGIT: (0, 150, 0),
    MARK: (240, 130, 0),
    PRINT: (60, 90, 240),
    BACKGROUND: (150, 150, 150),
}
_SHADES = 5  # shades per colour
_SUFFIXES = {".png", ".jpg", ".jpeg"}


def truth(one: SyntheticScene) -> Image.Image:
    """Draw the kinds of a scene's pixels in colours, and its marks in different shades."""
    colours = np.array([_COLOURS[kind] for kind in range(len(_COLOURS))], np.float32)
    shade = 1 - 0.14 * (one.owner % _SHADES).astype(np.float32)
    return Image.fromarray((colours[one.kind] * shade[..., None]).astype(np.uint8))


def contact_sheet(
    scenes: Sequence[SyntheticScene], real: Sequence[Image.Image] = ()
) -> Image.Image:
    """Draw a contact sheet of scenes with their truth, and of real pictures below them."""
    cells: list[Image.Image] = []
    for one in scenes:
        cells += [Image.fromarray(one.grey), truth(one)]
    cells += [Image.new("L", (1, 1))] * (-len(cells) % _COLUMNS)
    cells += real
    sheet = Image.new("RGB", (_COLUMNS * _SIDE, -(-len(cells) // _COLUMNS) * _SIDE))
    for number, cell in enumerate(cells):
        cell.thumbnail((_SIDE - 2, _SIDE - 2))
        sheet.paste(cell, (number % _COLUMNS * _SIDE, number // _COLUMNS * _SIDE))
    return sheet


def main(
    out: Annotated[Path, typer.Argument(metavar="PNG", help="The PNG file to write.")],
    seed: Annotated[int, typer.Option(help="Seed of the first scene.")] = 1,
    count: Annotated[int, typer.Option(min=1, help="Number of scenes.")] = 40,
    side: Annotated[int, typer.Option(min=64, help="Width and height of a scene, pixels.")] = 256,
    held_out: Annotated[
        bool, typer.Option(help="Use the digits and typefaces that are held out of training.")
    ] = False,
    beside: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Folder of real pictures; COUNT of them follow the scenes."
        ),
    ] = None,
) -> None:
    """Render COUNT scenes and write them with their truth to one PNG file."""
    scenes = [scene(number, side, held_out) for number in range(seed, seed + count)]
    paths = sorted(path for path in beside.iterdir() if path.suffix.lower() in _SUFFIXES) \
        if beside else []  # fmt: skip
    chosen = np.random.default_rng(seed).permutation(len(paths))[:count]
    real = [Image.open(paths[place]).convert("RGB") for place in chosen]
    contact_sheet(scenes, real).save(out, "PNG")


if __name__ == "__main__":
    typer.run(main)
