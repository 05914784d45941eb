"""Instance segmentation of a page: which pixels are handwriting, and to which glyph each belongs.

A small fully convolutional network knows glyphs of some 10 to 130 pixels. It therefore runs over an
image pyramid, from coarse to fine. The coarse levels are looked at whole; of a finer one only the
tiles in which the level before shows writing that is too small for it. The cost grows with the
written area, up to `MOST_PIXELS`.

The network gives the kind of each pixel, the offset to its glyph's centre, that glyph's size, and
a centre heat map (Cheng et al., "Panoptic-DeepLab", CVPR 2020). `training_job.tile_segmenter`
trains it.

Part of the page reader in development; not in service.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from digits.errors import ModelUnavailable
from digits.morphology import extreme, padded
from digits.recognition.outputs import CELL, DIGIT, HALF, KINDS, MARK, PRINT, UNIT

Grey = NDArray[np.uint8]
Plane = NDArray[np.float32]
Mask = NDArray[np.bool_]
Window = tuple[slice, slice]  # rows and columns

_ALIGNED = 16  # pixels, the network's deepest stride: sides of what it is shown are multiples of it
_OCTAVES = 4  # that a size may be above or below `UNIT`; keeps a wrong output finite

# The image pyramid. The sides are powers of two times 112, so that each level doubles the one
# before and all of them fit `_ALIGNED`.
FIRST_SIDE = 112  # pixels, longer side of the coarsest level
LAST_SIDE = 3584  # pixels, of the finest; bounds the memory
# A process that segments 3,600 by 3,600 pixels of noise, the worst case, peaks at 430 MB, of which
# 170 are Python, NumPy and LiteRT: the planes of the finest level are to become sparse.
WHOLE_SIDE = 448  # pixels, longer side up to which a level is looked at whole
# Chosen by eye from the development pictures; to be fitted with the rest of the configuration.
ENLARGED = 2.2  # times its own resolution at which a picture is looked at, at most
SMALL = 28.0  # pixels; a glyph whose longer side is shorter is deferred to the next level
LARGE = 140.0  # pixels; a glyph whose longer side is longer belongs to a coarser level
FAINT = 0.25  # probability of handwriting, or of print, from which an area is looked at closer
INK = 0.5  # probability of handwriting from which a pixel is ink
CENTRE = 0.2  # of the centre heat map; a lower peak is no glyph's centre
LEAST = 4  # pixels; a glyph whose longer side is shorter is a speck
REPEATED = 0.5  # share of a glyph's ink in glyphs of coarser levels from which it is one of them

TILE = 512  # pixels, side of a tile; 640 with its context take 90 ms of a core
CONTEXT = 64  # pixels around a tile that the network sees and whose outputs are dropped
BLOCK = 32  # pixels, side of the blocks by which areas are chosen to be looked at closer
# What any picture may cost. Pixels that the network is shown, context included: 0.2 s of a core a
# million, measured on one of ours. Glyphs of one level: a dense sheet of A4 has about a thousand.
MOST_PIXELS = 12_000_000
MOST_GLYPHS = 2_000
_AT_ONCE = 2_000  # votes whose distances to all centres are held at once: 32 MB at most
_REACH = 16  # cells of the heat map; of further centres all are compared, which is slower


class Segmenter:
    """The segmentation network. Safe to share between threads.

    A pickled segmenter carries the network's bytes and loads them again in the other process.

    Parameters
    ----------
    tflite
        The bytes of the network's file.

    Raises
    ------
    ModelUnavailable
        If the bytes are not a LiteRT model from (n, h, w, 1) to the three outputs.
    """

    def __init__(self, tflite: bytes) -> None:
        # Here, so that what names this type alone does without LiteRT.
        from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415

        self._tflite = tflite
        self._lock = threading.Lock()
        try:
            self._interpreter = Interpreter(model_content=tflite, num_threads=1)
            (takes,) = self._interpreter.get_input_details()
            gives = {
                int(output["shape_signature"][-1]): output["index"]
                for output in self._interpreter.get_output_details()
            }
        except (ValueError, RuntimeError, IndexError) as error:
            raise ModelUnavailable(
                "LiteRT cannot load the segmentation network; publish the bundle again."
            ) from error
        if len(takes["shape_signature"]) != 4 or sorted(gives) != [1, 3, KINDS]:
            raise ModelUnavailable(
                f"The segmentation network has outputs of {sorted(gives)} channels, not of 1, 3"
                f" and {KINDS}; this software cannot run it. Train it again with"
                " `python -m training_job.tile_segmenter`."
            )
        self._input = takes["index"]
        self._outputs = gives[KINDS], gives[1], gives[3]
        self._shape: tuple[int, ...] = ()

    def __reduce__(self) -> tuple[type[Segmenter], tuple[bytes]]:
        return Segmenter, (self._tflite,)

    def __call__(self, grey: Grey) -> tuple[Plane, Plane, Plane, Plane]:
        """Run the network on a picture.

        Parameters
        ----------
        grey : uint8 (h, w)
            The picture; h and w are multiples of 16.

        Returns
        -------
        float32 (h, w, 5)
            Probability of each kind.
        float32 (h/4, w/4)
            The centre heat map, 0 to 1.
        float32 (h/2, w/2, 2)
            The offset field: x and y from a pixel to its glyph's centre, pixels.
        float32 (h/2, w/2)
            The longer side of the pixel's glyph, pixels.
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
                self._interpreter.get_tensor(index)[0] for index in self._outputs
            )
        kind = np.exp(kind - kind.max(-1, keepdims=True))
        kind /= kind.sum(-1, keepdims=True)
        heat = 1 / (1 + np.exp(-centre[..., 0].clip(-30, 30)))
        sizes = UNIT * 2 ** glyph[..., 2].clip(-_OCTAVES, _OCTAVES)
        return kind, heat, glyph[..., :2] * UNIT, sizes


@dataclass(frozen=True)
class Level:
    """A level of the image pyramid, and the network's outputs there.

    Its sides are padded to multiples of 16 with copies of the last row and column.

    Attributes
    ----------
    grey : uint8 (h, w)
        The picture.
    scale : float
        Pixels of the level in one of the picture.
    handwriting, digit, printed : uint8 (h, w)
        Probability of each at each pixel, 255 is 1; 0 in the padding and where the network did not
        look. Digits are handwriting, too.
    owner : int16 (h, w)
        Number of the glyph that a pixel belongs to if it is handwriting; -1 elsewhere.
    """

    grey: Grey
    scale: float
    handwriting: Grey
    digit: Grey
    printed: Grey
    owner: NDArray[np.int16]


@dataclass(frozen=True)
class Glyph:
    """A glyph candidate: the ink of one mark on the level that shows it best.

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
        Probability that it is a digit and not another mark, by the segmentation network, 0 to 1.
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
    """Find the handwritten glyphs of a picture.

    Where the next level would cost more than what is left of `MOST_PIXELS`, the small glyphs are
    returned from the level that is reached instead.

    Parameters
    ----------
    grey : uint8 (h, w)
        The picture, in either polarity.
    segmenter
        The network.

    Returns
    -------
    list of Glyph
        In any order; at most `MOST_GLYPHS` of each level.
    """
    found: list[Glyph] = []
    budget = MOST_PIXELS
    closer: Mask | None = None
    sides = list(_sides(max(grey.shape)))
    taken = np.zeros(_shape(grey.shape, sides[0]), np.bool_)
    for side, finer in zip(sides, [*sides[1:], None], strict=True):
        budget -= _cost(grey.shape, side, closer)
        level, *outputs = _look(grey, side, closer, segmenter)
        glyphs, small = _glyphs(level, *outputs, last=finer is None)
        closer = None if side < WHOLE_SIDE else _blocks(small)
        if side == WHOLE_SIDE:  # smaller writing than it shows may look like print here
            closer = _blocks(small | (level.printed > int(255 * FAINT)))
        ends = finer is None or (closer is not None and not closer.any())
        if finer is not None and not ends and _cost(grey.shape, finer, closer) > budget:
            glyphs, _ = _glyphs(level, *outputs, last=True)
            ends = True
        found += [
            glyph
            for glyph in glyphs
            if np.count_nonzero(taken[_window(glyph)] & glyph.mask)
            < REPEATED * np.count_nonzero(glyph.mask)
        ]
        if ends:
            break
        for glyph in glyphs:
            taken[_window(glyph)] |= glyph.mask
        taken = taken.repeat(2, 0).repeat(2, 1)
    return found


def _sides(longer: int) -> Iterator[int]:
    """Longer sides of the pyramid's levels for a picture whose own is `longer`, pixels."""
    side = FIRST_SIDE
    yield side
    while 2 * side <= min(LAST_SIDE, ENLARGED * longer):
        side *= 2
        yield side


def _scale(shape: tuple[int, ...], side: int) -> float:
    return min(side / max(shape), ENLARGED)


def _shape(shape: tuple[int, ...], side: int) -> tuple[int, int]:
    """Height and width of the level of a picture of `shape`, padding included."""
    scale = _scale(shape, side)
    height, width = (-(-max(1, round(own * scale)) // _ALIGNED) * _ALIGNED for own in shape)
    return height, width


def _cost(shape: tuple[int, ...], side: int, closer: Mask | None) -> int:
    """Pixels that the network is shown of a level."""
    around = (outer for _, outer in _tiles(*_shape(shape, side), closer))
    return sum(
        (rows.stop - rows.start) * (columns.stop - columns.start) for rows, columns in around
    )


def _tiles(height: int, width: int, closer: Mask | None) -> Iterator[tuple[Window, Window]]:
    """The tiles of a level that are looked at: each one's window, and the same with its context.

    `closer` has a place for each block of the level before, which is half as large.
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


def _look(
    grey: Grey, side: int, closer: Mask | None, segmenter: Segmenter
) -> tuple[Level, Plane, Plane, Plane]:
    """Run the network over a level tile by tile; over all of it, or where `closer` says so.

    Beside the level it gives the centre heat map, the offset field and the sizes, 0 where the
    network did not look.
    """
    scale, (height, width) = _scale(grey.shape, side), _shape(grey.shape, side)
    rows, columns = (max(1, round(own * scale)) for own in grey.shape)
    how = Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC
    resized = np.asarray(Image.fromarray(grey).resize((columns, rows), how))
    seen = np.pad(resized, ((0, height - rows), (0, width - columns)), mode="edge")
    handwriting, digit, printed = (np.zeros(seen.shape, np.uint8) for _ in range(3))
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
        heat[_every(window, CELL)] = centre[_every(inner, CELL)]
        offsets[_every(window, HALF)] = offset[_every(inner, HALF)]
        sizes[_every(window, HALF)] = size[_every(inner, HALF)]
    for plane in (handwriting, digit, printed):
        plane[rows:], plane[:, columns:] = 0, 0
    owner = np.full(seen.shape, -1, np.int16)
    return Level(seen, scale, handwriting, digit, printed, owner), heat, offsets, sizes


def _every(window: Window, stride: int) -> Window:
    """A window of pixels on an output with a stride."""
    rows, columns = (slice(own.start // stride, own.stop // stride) for own in window)
    return rows, columns


def _glyphs(
    level: Level, heat: Plane, offsets: Plane, sizes: Plane, *, last: bool
) -> tuple[list[Glyph], Mask]:
    """Gather the glyphs of a level, and note each pixel's owner in it.

    Gives the glyphs that the level shows well, and where there are others that are too small for
    it; on the last level small ones are glyphs, too.
    """
    rows, columns = _peaks(heat)
    faint = level.handwriting > int(255 * FAINT)
    if len(rows) == 0 or not faint.any():
        return [], faint
    size = _owned(level, faint, rows, columns, offsets, sizes)
    small = np.zeros_like(faint)
    found = []
    for number, y, x in _ink_by_owner(level, len(rows)):
        top, left = int(y.min()), int(x.min())
        mask = np.zeros((int(y.max()) - top + 1, int(x.max()) - left + 1), np.bool_)
        mask[y - top, x - left] = True
        side = max(mask.shape)
        if max(size[number], side) > LARGE and max(level.grey.shape) > FIRST_SIDE:
            continue
        if max(size[number], side) < SMALL and not last:
            small[y, x] = True
        elif side >= LEAST:
            score = float(level.handwriting[y, x].mean()) / 255
            digit = float(level.digit[y, x].mean()) / 255 / score
            found.append(Glyph(level, left, top, mask, (number,), score, digit))
    return found, small


def _peaks(heat: Plane) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of the glyphs' centres on the heat map, the `MOST_GLYPHS` highest."""
    peaks = (heat > CENTRE) & (heat >= extreme(padded(heat, 1), 3, np.maximum))
    rows, columns = np.nonzero(peaks)
    highest = np.argsort(-heat[rows, columns], kind="stable")[:MOST_GLYPHS]
    return rows[highest], columns[highest]


def _owned(
    level: Level, faint: Mask, rows: NDArray[np.intp], columns: NDArray[np.intp],
    offsets: Plane, sizes: Plane,
) -> NDArray[np.float64]:  # fmt: skip
    """Give each pixel with handwriting to the centre that its offset points to.

    Gives each glyph's size, the geometric mean of what its pixels say, pixels.
    """
    height, width = offsets.shape[:2]
    blocks = faint.reshape(height, HALF, width, HALF)
    y, x = np.nonzero(blocks.any(axis=(1, 3)))
    votes = offsets[y, x][:, ::-1] + np.float32((HALF - 1) / 2)
    votes[:, 0] += y * HALF
    votes[:, 1] += x * HALF
    nearest = _nearest(votes, rows, columns, sizes.shape)
    owner = np.full((height, width), -1, np.int16)
    owner[y, x] = nearest
    level.owner.reshape(height, HALF, width, HALF)[:] = owner[:, None, :, None]
    level.owner[~faint] = -1
    octaves = np.bincount(nearest, np.log2(sizes[y, x]), minlength=len(rows))
    return np.asarray(2 ** (octaves / np.bincount(nearest, minlength=len(rows)).clip(1)))


def _nearest(
    votes: Plane, rows: NDArray[np.intp], columns: NDArray[np.intp],
    shape: tuple[int, ...],
) -> NDArray[np.intp]:  # fmt: skip
    """Number of the centre nearest to each vote, (n, 2) of y and x in pixels.

    Votes are rounded to cells of the heat map. `shape` is that of the offset field.
    """
    height, width = (side * HALF // CELL for side in shape)
    cells = np.round((votes - (CELL - 1) / 2) / CELL).astype(np.int32)
    y, x = cells[:, 0].clip(0, height - 1), cells[:, 1].clip(0, width - 1)
    places, back = np.unique(y * width + x, return_inverse=True)
    nearest = np.empty(len(places), np.intp)
    for start in range(0, len(places), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        y, x = np.divmod(places[part], width)  # in the order of rows
        close = np.flatnonzero((rows >= y[0] - _REACH) & (rows <= y[-1] + _REACH))
        far = (y[:, None] - rows[close]) ** 2 + (x[:, None] - columns[close]) ** 2
        lost = far.min(1, initial=_REACH**2 + 1) > _REACH**2  # another may be closer
        if not lost.all():
            nearest[part] = close[far.argmin(1)]
        far = (y[lost, None] - rows) ** 2 + (x[lost, None] - columns) ** 2
        nearest[part][lost] = far.argmin(1)
    return nearest[back]


def _ink_by_owner(
    level: Level, count: int
) -> Iterator[tuple[int, NDArray[np.int32], NDArray[np.int32]]]:
    """Each glyph that has ink: its number, and rows and columns of that ink."""
    ink = np.flatnonzero(level.handwriting > int(255 * INK)).astype(np.int32)
    owner = level.owner.ravel()[ink]
    ink = ink[np.argsort(owner, kind="stable")]
    owner.sort()
    bounds = np.searchsorted(owner, np.arange(count + 1))
    for number in range(count):
        own = ink[bounds[number] : bounds[number + 1]]
        if len(own):
            y, x = np.divmod(own, level.grey.shape[1])
            yield number, y, x


def _window(glyph: Glyph) -> Window:
    height, width = glyph.mask.shape
    return slice(glyph.top, glyph.top + height), slice(glyph.left, glyph.left + width)


def _blocks(mask: Mask) -> Mask:
    """Which blocks of a mask hold anything, or have a neighbour that does."""
    height, width = (-(-side // BLOCK) for side in mask.shape)
    whole = np.zeros((height * BLOCK, width * BLOCK), np.bool_)
    whole[: mask.shape[0], : mask.shape[1]] = mask
    held = np.asarray(whole.reshape(height, BLOCK, width, BLOCK).any(axis=(1, 3)))
    return extreme(padded(held, 1), 3, np.logical_or)
