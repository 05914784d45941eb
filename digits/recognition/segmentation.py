"""Instance segmentation of a page: what is handwriting, and which pixel belongs to which glyph.

A small fully convolutional network knows glyphs of some 10 to 130 pixels. It therefore looks at a
pyramid of the picture, coarse to fine. The coarse levels see the whole; a finer one looks only at
the tiles in which the level before saw writing that is too small for it. Cost thus grows with the
written area.

After Cheng et al., "Panoptic-DeepLab", CVPR 2020: the network gives for each pixel its kind, the
way to its glyph's centre and that glyph's size, and a heat map of centres. `training_job.segmenter`
trains it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray
from PIL import Image

from digits.morphology import extreme, padded

Grey = NDArray[np.uint8]
Plane = NDArray[np.float32]
Mask = NDArray[np.bool_]

FIRST_SIDE = 112  # longer side of the coarsest level, pixels; each level doubles it
LAST_SIDE = 3584  # of the finest
ENLARGED = 2.2  # how much a level may enlarge a picture; the first may always
SMALL = 28.0  # pixels; a glyph whose longer side is shorter is looked at on the next level
LARGE = 140.0  # pixels; a longer one belongs to a coarser level
WHOLE_SIDE = 448  # longer side up to which all of a level is looked at, pixels
FAINT = 0.25  # probability of handwriting from which an area is looked at closer
INK = 0.5  # probability from which a pixel is handwriting
CENTRE = 0.2  # of the centres' heat map; a lower peak is no glyph's centre
BLOCK = 32  # pixels; areas are looked at closer by blocks of this side
TILE = 512  # pixels; side of what the network sees at once
CONTEXT = 64  # pixels of each side of a tile that are only context
LEAST = 4  # pixels; a glyph whose longer side is shorter is a speck

CELL, HALF, UNIT = 4, 2, 32.0  # strides of the outputs, and the unit of ways and sizes, pixels


class Segmenter:
    """The network. Safe to share between threads."""

    def __init__(self, tflite: bytes) -> None:
        self._lock = threading.Lock()
        self._interpreter = Interpreter(model_content=tflite, num_threads=1)
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._outputs = {
            int(end["shape_signature"][-1]): end["index"]
            for end in self._interpreter.get_output_details()
        }
        self._shape: tuple[int, ...] = ()

    def __call__(self, grey: Grey) -> tuple[Plane, Plane, Plane, Plane]:
        """Probabilities of the kinds (h, w, 5) and of centres (h/4, w/4), ways, sizes in pixels.

        `grey` is uint8 (h, w), h and w multiples of 16. Ways are (h/2, w/2, 2), sizes (h/2, w/2).
        """
        batch = grey.astype(np.float32)[None, ..., None] / 255
        with self._lock:
            if batch.shape != self._shape:
                self._interpreter.resize_tensor_input(self._input, batch.shape)
                self._interpreter.allocate_tensors()
                self._shape = batch.shape
            self._interpreter.set_tensor(self._input, batch)
            self._interpreter.invoke()
            kind, centre, glyph = (
                self._interpreter.get_tensor(self._outputs[maps])[0] for maps in (5, 1, 3)
            )
        kind = np.exp(kind - kind.max(-1, keepdims=True))
        kind /= kind.sum(-1, keepdims=True)
        heat = 1 / (1 + np.exp(-centre[..., 0].clip(-30, 30)))
        return kind, heat, glyph[..., :2] * UNIT, UNIT * 2 ** glyph[..., 2].clip(-4, 4)


@dataclass(frozen=True)
class Level:
    """A picture at one size, and what the network sees there.

    Attributes
    ----------
    grey : uint8 (h, w)
        The picture.
    scale : float
        Pixels of the level in one of the picture.
    handwriting, digit, printed : uint8 (h, w)
        Probability of each at each pixel, 255 is 1; 0 where the network did not look. Digits are
        handwriting, too.
    owner : int32 (h, w)
        Number of the glyph that a pixel belongs to if it is handwriting; -1 elsewhere.
    """

    grey: Grey
    scale: float
    handwriting: Grey
    digit: Grey
    printed: Grey
    owner: NDArray[np.int32]


@dataclass(frozen=True)
class Glyph:
    """One mark of a page: its ink on the level that shows it best.

    Attributes
    ----------
    level : Level
        Where it was found.
    left, top : int
        Upper left corner of `mask` on the level.
    mask : bool (h, w)
        Its ink, touching all four sides.
    numbers : tuple of int
        The owners of that ink on the level.
    score : float
        Mean probability of its ink being handwriting, 0 to 1.
    digit : float
        How likely it is a digit and not another mark, by the network, 0 to 1.
    """

    level: Level
    left: int
    top: int
    mask: Mask
    numbers: tuple[int, ...]
    score: float
    digit: float

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom in pixels of the picture."""
        scale = self.level.scale
        height, width = self.mask.shape
        left, top = self.left / scale, self.top / scale
        return left, top, left + width / scale, top + height / scale


def segment(grey: Grey, segmenter: Segmenter) -> list[Glyph]:
    """Find the handwritten glyphs of a picture, uint8 (h, w), in any order."""
    found: list[Glyph] = []
    taken = np.zeros((1, 1), np.bool_)
    closer: Mask | None = None
    sides = list(_sides(max(grey.shape)))
    for number, side in enumerate(sides):
        level, heat, ways, sizes = _look(grey, side, closer, segmenter)
        last = number + 1 == len(sides)
        glyphs, small = _glyphs(level, heat, ways, sizes, last=last)
        taken = _resized(taken, level.grey.shape)
        for glyph in glyphs:
            window = _window(glyph)
            if np.count_nonzero(taken[window] & glyph.mask) < 0.5 * np.count_nonzero(glyph.mask):
                found.append(glyph)
        for glyph in glyphs:
            taken[_window(glyph)] |= glyph.mask
        if side < WHOLE_SIDE:
            continue
        closer = _blocks(small)
        if side == WHOLE_SIDE:  # smaller writing than it shows may seem print here
            closer |= _blocks(level.printed > 255 * FAINT)
        if not closer.any():
            break
    return found


def _sides(longer: int) -> Iterator[int]:
    side = FIRST_SIDE
    yield side
    while 2 * side <= min(LAST_SIDE, ENLARGED * longer):
        side *= 2
        yield side


def _look(
    grey: Grey, side: int, closer: Mask | None, segmenter: Segmenter
) -> tuple[Level, Plane, Plane, Plane]:
    """Look at a level, tile by tile; at all of it, or where `closer` says so.

    `closer` has a place for each block of the level before, which is half as large.
    """
    scale = side / max(grey.shape)
    height, width = (max(16, round(own * scale / 16) * 16) for own in grey.shape)
    image = Image.fromarray(grey)
    how = Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC
    seen = np.asarray(image.resize((width, height), how))
    handwriting, digit, printed = (np.zeros(seen.shape, np.uint8) for _ in range(3))
    heat = np.zeros((height // CELL, width // CELL), np.float32)
    ways = np.zeros((height // HALF, width // HALF, 2), np.float32)
    sizes = np.zeros((height // HALF, width // HALF), np.float32)
    for top, left in _tiles(height, width):
        bottom, right = min(top + TILE, height), min(left + TILE, width)
        if closer is not None:
            step = 2 * BLOCK
            wanted = closer[top // step : -(-bottom // step), left // step : -(-right // step)]
            if not wanted.any():
                continue
        outer = (slice(max(0, top - CONTEXT), min(height, bottom + CONTEXT)),
                 slice(max(0, left - CONTEXT), min(width, right + CONTEXT)))  # fmt: skip
        kind, centre, way, size = segmenter(seen[outer])
        above, before = top - outer[0].start, left - outer[1].start

        def inner(plane: Plane, stride: int) -> Plane:
            rows = slice(above // stride, (above + bottom - top) // stride)
            return plane[rows, before // stride : (before + right - left) // stride]

        place = (slice(top, bottom), slice(left, right))
        handwriting[place] = np.round(inner(kind[..., 1] + kind[..., 2], 1) * 255)
        digit[place] = np.round(inner(kind[..., 1], 1) * 255)
        printed[place] = np.round(inner(kind[..., 3], 1) * 255)
        half = (slice(top // HALF, bottom // HALF), slice(left // HALF, right // HALF))
        ways[half], sizes[half] = inner(way, HALF), inner(size, HALF)
        heat[top // CELL : bottom // CELL, left // CELL : right // CELL] = inner(centre, CELL)
    owner = np.full(seen.shape, -1, np.int32)
    return Level(seen, scale, handwriting, digit, printed, owner), heat, ways, sizes


def _tiles(height: int, width: int) -> Iterator[tuple[int, int]]:
    for top in range(0, height, TILE):
        for left in range(0, width, TILE):
            yield top, left


def _glyphs(
    level: Level, heat: Plane, ways: Plane, sizes: Plane, *, last: bool
) -> tuple[list[Glyph], Mask]:
    """The glyphs of a level that it shows well, and where there are others that are too small."""
    peaks = (heat > CENTRE) & (heat >= extreme(padded(heat, 1), 3, np.maximum))
    small = np.zeros(level.grey.shape, np.bool_)
    faint = level.handwriting > 255 * FAINT
    ink = level.handwriting > 255 * INK
    rows, columns = np.nonzero(peaks)
    blocks = faint.reshape(faint.shape[0] // HALF, HALF, -1, HALF).any(axis=(1, 3))
    y, x = np.nonzero(blocks)
    if len(rows) == 0 or len(y) == 0:
        return [], faint
    votes = np.stack([y, x], 1) * HALF + (HALF - 1) / 2 + ways[y, x][:, ::-1]
    nearest = _nearest(votes / CELL, rows, columns, heat.shape)
    owner = np.full(blocks.shape, -1, np.int32)
    owner[y, x] = nearest
    level.owner[:] = np.where(faint, owner.repeat(HALF, 0).repeat(HALF, 1), -1)
    size = np.zeros(len(rows))
    np.add.at(size, nearest, np.log2(sizes[y, x]))
    size = 2 ** (size / np.bincount(nearest, minlength=len(rows)).clip(1))

    at_y, at_x = np.nonzero(ink)
    of = level.owner[at_y, at_x]
    order = np.argsort(of, kind="stable")
    of, at_y, at_x = of[order], at_y[order], at_x[order]
    bounds = np.searchsorted(of, np.arange(len(rows) + 1))
    found = []
    for number in range(len(rows)):
        part = slice(bounds[number], bounds[number + 1])
        if part.start == part.stop:
            continue
        py, px = at_y[part], at_x[part]
        top, left = py.min(), px.min()
        mask = np.zeros((py.max() - top + 1, px.max() - left + 1), np.bool_)
        mask[py - top, px - left] = True
        side = max(mask.shape)
        if max(size[number], side) > LARGE and level.scale > 0 and not _coarsest(level):
            continue
        if max(size[number], side) < SMALL and not last:
            small[py, px] = True
            continue
        if side < LEAST:
            continue
        score = float(level.handwriting[py, px].mean()) / 255
        digit = float(level.digit[py, px].mean()) / 255 / score
        found.append(Glyph(level, int(left), int(top), mask, (number,), score, digit))
    faint &= ~ink
    small |= faint & (level.owner < 0)
    return found, small


def _coarsest(level: Level) -> bool:
    return max(level.grey.shape) <= FIRST_SIDE + 16


def _nearest(
    votes: Plane, rows: NDArray[np.intp], columns: NDArray[np.intp], shape: tuple[int, ...]
) -> NDArray[np.intp]:
    """The peak nearest to each vote, both on the centres' map; votes are grouped by its places."""
    cells = np.round(votes - 0.375).astype(np.intp)
    cells[:, 0] = cells[:, 0].clip(0, shape[0] - 1)
    cells[:, 1] = cells[:, 1].clip(0, shape[1] - 1)
    places, back = np.unique(cells[:, 0] * shape[1] + cells[:, 1], return_inverse=True)
    y, x = np.divmod(places, shape[1])
    nearest = np.empty(len(places), np.intp)
    for start in range(0, len(places), 2000):
        part = slice(start, start + 2000)
        far = (y[part, None] - rows) ** 2 + (x[part, None] - columns) ** 2
        nearest[part] = far.argmin(1)
    return nearest[back]


def _window(glyph: Glyph) -> tuple[slice, slice]:
    height, width = glyph.mask.shape
    return slice(glyph.top, glyph.top + height), slice(glyph.left, glyph.left + width)


def _resized(mask: Mask, shape: tuple[int, ...]) -> Mask:
    image = Image.fromarray(mask.astype(np.uint8))
    return np.array(image.resize((shape[1], shape[0]), Image.Resampling.NEAREST)).astype(bool)


def _blocks(mask: Mask) -> Mask:
    """Which blocks of a mask have anything, or a neighbour that has."""
    height, width = (-(-side // BLOCK) for side in mask.shape)
    whole = np.zeros((height * BLOCK, width * BLOCK), np.bool_)
    whole[: mask.shape[0], : mask.shape[1]] = mask
    some = whole.reshape(height, BLOCK, width, BLOCK).any(axis=(1, 3))
    return extreme(padded(some, 1), 3, np.logical_or)
