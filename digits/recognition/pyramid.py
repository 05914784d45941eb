"""The image pyramid: a picture at doubling sizes, on each of which the network is run in tiles.

Part of the page reader in development; not in service.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image

from digits.morphology import extreme, padded
from digits.recognition.glyphs import Grey, Level, Mask, Plane, Window
from digits.recognition.network import Segmenter
from digits.recognition.outputs import BACKGROUND, CELL, DIGIT, HALF, MARK, PRINT

_ALIGNED = 16  # pixels, the network's deepest stride; the sides of its input are multiples of it

# The sides are 56 times powers of two, so that each level doubles the one before, and all but the
# first are multiples of `_ALIGNED`.
FIRST_SIDE = 56  # pixels, longer side of the coarsest level
LAST_SIDE = 3584  # pixels, longer side of the finest level; bounds the memory
MAX_ENLARGEMENT = 2.2  # largest scale of a level relative to the full-size picture
TINY = 64  # pixels, longer side to which smaller pictures are enlarged regardless of that

TILE = 512  # pixels, side of a tile; with its context, 640 pixels, it takes 90 ms of a core
CONTEXT = 64  # pixels around a tile that are input to the network, and whose outputs are discarded
BLOCK = 32  # pixels, side of the blocks in which areas for the next level are selected


def sides(longer: int) -> Iterator[int]:
    """Yield the longer sides of the levels for a picture of longer side `longer`, pixels."""
    side = FIRST_SIDE
    yield side
    while 2 * side <= min(LAST_SIDE, MAX_ENLARGEMENT * longer):
        side *= 2
        yield side


def cost(shape: tuple[int, ...], side: int, closer: Mask | None) -> int:
    """Return the number of input pixels of the network on a level; parameters as `run_level`."""
    around = (outer for _, outer in _tiles(*_shape(shape, side), closer))
    return sum(
        (rows.stop - rows.start) * (columns.stop - columns.start) for rows, columns in around
    )


def run_level(
    grey: Grey, shape: tuple[int, int], side: int, closer: Mask | None, segmenter: Segmenter
) -> tuple[Level, Plane, Plane, Plane]:
    """Run the network on the tiles of a level.

    Parameters
    ----------
    grey : uint8 (h, w)
        The picture, at full size or reduced.
    shape
        Height and width of the full-size picture.
    side
        Longer side of the level, pixels.
    closer : bool or None
        The blocks of the coarser level whose tiles are run, from `blocks`; None for all tiles.
    segmenter
        The network.

    Returns
    -------
    Level
        The level with the probability of each kind; its owners are -1.
    float32 (h/4, w/4), float32 (h/2, w/2, 2), float32 (h/2, w/2)
        Centre heat map, offset field and sizes; 0 where the network was not run.
    """
    scale, (height, width) = _scale(shape, side), _shape(shape, side)
    rows, columns = (max(1, round(own * scale)) for own in shape)
    reduced = rows < grey.shape[0]
    how = Image.Resampling.BOX if reduced else Image.Resampling.BICUBIC
    resized = np.asarray(Image.fromarray(grey).resize((columns, rows), how))
    seen = np.pad(resized, ((0, height - rows), (0, width - columns)), mode="edge")
    handwriting, digit, printed, background = (np.zeros(seen.shape, np.uint8) for _ in range(4))
    heat = np.zeros((height // CELL, width // CELL), np.float32)
    offsets = np.zeros((height // HALF, width // HALF, 2), np.float32)
    sizes = np.zeros((height // HALF, width // HALF), np.float32)
    for window, outer in _tiles(height, width, closer):
        kind, centre, offset, size = segmenter(seen[outer])
        top, left = (own.start - around.start for own, around in zip(window, outer, strict=True))
        inner = (
            slice(top, top + window[0].stop - window[0].start),
            slice(left, left + window[1].stop - window[1].start),
        )
        levels = np.round(kind[inner] * 255)
        digit[window] = levels[..., DIGIT]
        handwriting[window] = (levels[..., DIGIT] + levels[..., MARK]).clip(0, 255)
        printed[window] = levels[..., PRINT]
        background[window] = levels[..., BACKGROUND]
        heat[_every(window, CELL)] = centre[_every(inner, CELL)]
        offsets[_every(window, HALF)] = offset[_every(inner, HALF)]
        sizes[_every(window, HALF)] = size[_every(inner, HALF)]
    for plane in (handwriting, digit, printed, background):
        plane[rows:], plane[:, columns:] = 0, 0
    owner = np.full(seen.shape, -1, np.int16)
    return Level(seen, scale, handwriting, digit, printed, background, owner), heat, offsets, sizes


def blocks(mask: Mask) -> Mask:
    """Return which blocks of a mask have pixels set, or a neighbouring block that has."""
    height, width = (-(-side // BLOCK) for side in mask.shape)
    whole = np.zeros((height * BLOCK, width * BLOCK), np.bool_)
    whole[: mask.shape[0], : mask.shape[1]] = mask
    held = np.asarray(whole.reshape(height, BLOCK, width, BLOCK).any(axis=(1, 3)))
    return extreme(padded(held, 1), 3, np.logical_or)


def _scale(shape: tuple[int, ...], side: int) -> float:
    return min(side / max(shape), max(MAX_ENLARGEMENT, TINY / max(shape)))


def _shape(shape: tuple[int, ...], side: int) -> tuple[int, int]:
    """Return height and width of a level for a picture of `shape`, including padding."""
    scale = _scale(shape, side)
    height, width = (-(-max(1, round(own * scale)) // _ALIGNED) * _ALIGNED for own in shape)
    return height, width


def _tiles(height: int, width: int, closer: Mask | None) -> Iterator[tuple[Window, Window]]:
    """Yield the window of each tile that is run, and the window including its context.

    `closer` has one element for each block of the coarser level, which is half as large.
    """
    step = 2 * BLOCK
    for top in range(0, height, TILE):
        for left in range(0, width, TILE):
            bottom, right = min(top + TILE, height), min(left + TILE, width)
            wanted = (
                closer is None
                or closer[top // step : -(-bottom // step), left // step : -(-right // step)].any()
            )
            if wanted:
                above, before = max(0, top - CONTEXT), max(0, left - CONTEXT)
                below, after = min(height, bottom + CONTEXT), min(width, right + CONTEXT)
                outer = slice(above, below), slice(before, after)
                yield (slice(top, bottom), slice(left, right)), outer


def _every(window: Window, stride: int) -> Window:
    """Convert a window of pixels to a window of an output with a stride."""
    rows, columns = (slice(own.start // stride, own.stop // stride) for own in window)
    return rows, columns
