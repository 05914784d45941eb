"""Instance segmentation of a page: which pixels are handwriting, and to which glyph each belongs.

A small fully convolutional network knows glyphs of some 10 to 80 pixels. It therefore runs over an
image pyramid, from coarse to fine. The coarse levels are looked at whole; of a finer one only the
tiles in which the level before shows writing that is too small for it, or that it shows badly. The
cost grows with the written area, up to `MOST_PIXELS`.

The network gives the kind of each pixel, the offset to its glyph's centre, that glyph's size, and
a centre heat map (Cheng et al., "Panoptic-DeepLab", CVPR 2020). `training_job.tile_segmenter`
trains it.

Part of the page reader in development; not in service.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from digits.components import connected
from digits.errors import ModelUnavailable
from digits.image import Picture
from digits.morphology import extreme, padded
from digits.recognition.config import SegmentationConfig
from digits.recognition.outputs import BACKGROUND, CELL, DIGIT, HALF, KINDS, MARK, PRINT, UNIT

Grey = NDArray[np.uint8]
Plane = NDArray[np.float32]
Mask = NDArray[np.bool_]
Window = tuple[slice, slice]  # rows and columns

_ALIGNED = 16  # pixels, the network's deepest stride: sides of what it is shown are multiples of it
_OCTAVES = 4  # that a size may be above or below `UNIT`; keeps a wrong output finite

# The image pyramid. The sides are powers of two times 56, so that each level doubles the one
# before and all but the first fit `_ALIGNED`.
FIRST_SIDE = 56  # pixels, longer side of the coarsest level
LAST_SIDE = 3584  # pixels, of the finest; bounds the memory
# A process that segments 3,600 by 3,600 pixels of noise, the worst case, peaks at 430 MB, of which
# 170 are Python, NumPy and LiteRT: the planes of the finest level are to become sparse.
BACKGROUND_SIDES = (
    224,
    448,
)  # pixels, longer sides of levels whose background holds for finer ones
ALONE_SIDE = 224  # pixels, longer side of the level on which a digit may plainly stand alone
WHOLE_SIDE = 448  # pixels, longer side up to which a level is looked at whole
ENLARGED = 2.2  # times its own resolution at which a picture is looked at, at most
TINY = 64  # pixels, longer side to which a smaller picture is enlarged even so
# Of the probability of print, summed over a stroke: from it on the stroke is handwriting. Straight
# strokes look like ruling lines in parts.
BY_HAND = 0.4
JOINED_SIDE = 140  # pixels; larger components are forms and tables, with what touches them
LEAST = 4  # pixels; a glyph whose longer side is shorter is a speck

TILE = 512  # pixels, side of a tile; 640 with its context take 90 ms of a core
CONTEXT = 64  # pixels around a tile that the network sees and whose outputs are dropped
BLOCK = 32  # pixels, side of the blocks by which areas are chosen to be looked at closer
# What any picture may cost. Pixels that the network is shown, context included: 0.2 s of a core a
# million, measured on one of ours. Glyphs of one level: a dense sheet of A4 has about a thousand.
MOST_PIXELS = 12_000_000
MOST_GLYPHS = 2_000
_LEAST_REACH = 16.0  # pixels; smaller glyphs' votes may miss as far as those of glyphs of that size
_AT_ONCE = 2_000  # votes whose distances to all centres are held at once: 32 MB at most
_REACH = 16  # cells of the heat map; of further centres all are compared, which is slower


class Segmenter:
    """The segmentation network. Safe to share between threads.

    A pickled segmenter carries the network's bytes and loads them again in the other process.

    Parameters
    ----------
    tflite
        The bytes of the network's file.
    config
        Thresholds on its outputs.

    Raises
    ------
    ModelUnavailable
        If the bytes are not a LiteRT model from (n, h, w, 1) to the three outputs.
    """

    def __init__(self, tflite: bytes, config: SegmentationConfig) -> None:
        # Here, so that what names this type alone does without LiteRT.
        from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415

        self._tflite, self.config = tflite, config
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

    def __reduce__(self) -> tuple[type[Segmenter], tuple[bytes, SegmentationConfig]]:
        return Segmenter, (self._tflite, self.config)

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
    handwriting, digit, printed, background : uint8 (h, w)
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
    background: Grey
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

    @classmethod
    def union(cls, glyphs: Sequence[Glyph]) -> Glyph:
        """Several glyphs of one level as one."""
        if len(glyphs) == 1:
            return glyphs[0]
        left, top = min(one.left for one in glyphs), min(one.top for one in glyphs)
        right = max(one.left + one.mask.shape[1] for one in glyphs)
        bottom = max(one.top + one.mask.shape[0] for one in glyphs)
        mask = np.zeros((bottom - top, right - left), np.bool_)
        for one in glyphs:
            rows, columns = _window(one)
            inner = (
                slice(rows.start - top, rows.stop - top),
                slice(columns.start - left, columns.stop - left),
            )
            mask[inner] |= one.mask
        areas = [np.count_nonzero(one.mask) for one in glyphs]
        score = float(np.average([one.score for one in glyphs], weights=areas))
        digit = float(np.average([one.digit for one in glyphs], weights=areas))
        numbers = tuple(number for one in glyphs for number in one.numbers)
        return cls(glyphs[0].level, left, top, mask, numbers, score, digit)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom in pixels of the picture."""
        scale = self.level.scale
        height, width = self.mask.shape
        left, top = self.left / scale, self.top / scale
        return left, top, left + width / scale, top + height / scale


Quality = Callable[[Sequence[Glyph]], Sequence[float]]
"""How good glyphs are as they were found, each 0 to 1."""

Rated = tuple[float, Glyph]


def segment(
    picture: Picture, segmenter: Segmenter, quality: Quality | None = None, *, alone: bool = False
) -> list[Glyph]:
    """Find the handwritten glyphs of a picture.

    A glyph that is not good enough is looked at closer, and kept only where no better one is found
    in its place. Where the next level would cost more than what is left of `MOST_PIXELS`, what is
    found so far is returned.

    Parameters
    ----------
    picture
        The picture, in either polarity. It is decoded again where a level needs more detail.
    segmenter
        The network.
    quality
        Of glyphs; without it every one is good enough.
    alone
        Look no closer where a coarse level shows one good glyph and no other handwriting.

    Returns
    -------
    list of Glyph
        In any order; at most `MOST_GLYPHS` of each level, and as many connected components.
    """
    config = segmenter.config
    shape = picture.height, picture.width
    sides = list(_sides(max(shape)))
    grey, budget = picture.grey, MOST_PIXELS
    closer: Mask | None = None
    beyond: Mask | None = None
    found = _Found(config)
    for side, finer in zip(sides, [*sides[1:], None], strict=True):
        budget -= _cost(shape, side, closer)
        if max(grey.shape) < side:
            grey = picture.finer(2 * side)
        level, *outputs = _look(grey, shape, side, closer, segmenter)
        beyond = _without_background(level, side, beyond)
        _join_strokes(level)
        glyphs, small = _glyphs(level, config, *outputs, last=finer is None)
        found.next_level(level.grey.shape)
        for glyph in found.add(glyphs, _components(level, config), quality):
            small[_window(glyph)] |= glyph.mask
        if finer is None or (alone and side == ALONE_SIDE and found.one() and not small.any()):
            break
        if side < WHOLE_SIDE:
            continue
        if side == WHOLE_SIDE:  # smaller writing than it shows may look like print here
            small |= level.printed > int(255 * config.faint)
        closer = _blocks(small)
        if not closer.any():
            break
        if _cost(shape, finer, closer) > budget:
            found.add(_glyphs(level, config, *outputs, last=True)[0], [], quality)
            break
    return found.all()


class _Found:
    """The glyphs found so far, from level to level."""

    def __init__(self, config: SegmentationConfig) -> None:
        self._config = config
        self._taken: list[Mask] = []  # where the good glyphs are, on each level
        self._good: list[Glyph] = []
        self._doubtful: list[tuple[float, int, Glyph]] = []

    def next_level(self, shape: tuple[int, ...]) -> None:
        """Go on to a level of this shape."""
        coarser = self._taken[-1] if self._taken else np.zeros((1, 1), np.bool_)
        self._taken.append(_fitted(coarser, shape))

    def add(
        self, glyphs: list[Glyph], components: list[Glyph], quality: Quality | None
    ) -> list[Glyph]:
        """Add the glyphs of the level that are new, and give those that are not good enough."""
        depth = len(self._taken) - 1
        parts, wholes = (
            [one for one in some if self._free(one, depth)] for some in (glyphs, components)
        )
        if quality is None:
            rated: list[Rated] = [(1.0, glyph) for glyph in parts]
        else:
            rated = _chosen(*(_rated(some, quality) for some in (parts, wholes)))
        doubtful = []
        for good, glyph in rated:
            if good >= self._config.trusted:
                self._take(glyph, depth)
            else:
                self._doubtful.append((good, depth, glyph))
                doubtful.append(glyph)
        return doubtful

    def one(self) -> bool:
        """Whether there is one good glyph."""
        return len(self._good) == 1

    def all(self) -> list[Glyph]:
        """The good glyphs, and the best of the doubtful ones where there is none of those."""
        for good, depth, glyph in sorted(self._doubtful, key=lambda one: one[:2], reverse=True):
            if good >= self._config.kept and self._free(glyph, depth):
                self._take(glyph, depth)
        return self._good

    def _free(self, glyph: Glyph, depth: int) -> bool:
        """Whether most of a glyph of the level `depth` is not taken by others."""
        taken = self._taken[depth][_window(glyph)][glyph.mask]
        return bool(taken.mean() < self._config.repeated)

    def _take(self, glyph: Glyph, depth: int) -> None:
        """Note where a glyph of the level `depth` is, there and on the other levels."""
        self._good.append(glyph)
        y, x = np.nonzero(glyph.mask)
        for coarser, mask in enumerate(self._taken[: depth + 1]):
            times = depth - coarser
            rows, columns = (y + glyph.top) >> times, (x + glyph.left) >> times
            last_row, last_column = mask.shape[0] - 1, mask.shape[1] - 1
            mask[rows.clip(max=last_row), columns.clip(max=last_column)] = True
        for octaves, mask in enumerate(self._taken[depth + 1 :], start=1):
            times = 2**octaves
            enlarged = glyph.mask.repeat(times, 0).repeat(times, 1)
            place = mask[glyph.top * times :, glyph.left * times :]
            place = place[: enlarged.shape[0], : enlarged.shape[1]]
            place |= enlarged[: place.shape[0], : place.shape[1]]


def _without_background(level: Level, side: int, beyond: Mask | None) -> Mask | None:
    """Take no background for handwriting; gives where it is for the next levels.

    Coarse levels see what a sheet lies on, and fine ones its texture, which may look like strokes.
    """
    fitted = None if beyond is None else _fitted(beyond, level.grey.shape)
    if fitted is not None:
        level.handwriting[fitted] = 0
    if side not in BACKGROUND_SIDES:
        return beyond
    own = level.background > 127
    return own if fitted is None else own | fitted


def _rated(glyphs: list[Glyph], quality: Quality) -> list[Rated]:
    return list(zip(quality(glyphs), glyphs, strict=True)) if glyphs else []


def _chosen(parts: list[Rated], wholes: list[Rated]) -> list[Rated]:
    """Of glyphs by their votes and of connected components, those of the better quality.

    A component takes the place of the glyphs that are mostly in it, unless they are better: by the
    mean of their qualities, weighted by their ink.
    """
    left = list(parts)
    chosen = []
    for good, whole in wholes:
        within = [one for one in left if _within(one[1], whole)]
        area = np.count_nonzero(whole.mask)
        better = sum(own * np.count_nonzero(glyph.mask) for own, glyph in within) / area
        if len(within) == 1 and np.count_nonzero(within[0][1].mask) > 0.95 * area:
            continue
        if good > better:
            left = [one for one in left if all(one is not other for other in within)]
            chosen.append((good, whole))
    return left + chosen


def _within(part: Glyph, whole: Glyph) -> bool:
    """Whether most of a glyph is in another of the same level."""
    height, width = whole.mask.shape
    y, x = np.nonzero(part.mask)
    y, x = y + part.top - whole.top, x + part.left - whole.left
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    common = np.count_nonzero(whole.mask[y[inside], x[inside]])
    return bool(common > 0.5 * len(y))


def _fitted(mask: Mask, shape: tuple[int, ...]) -> Mask:
    """A coarser level's mask on a level of `shape`; beyond the mask nothing is set."""
    times = 1
    while times * max(mask.shape) < max(shape):
        times *= 2
    fitted = np.zeros(shape, np.bool_)
    enlarged = mask.repeat(times, 0).repeat(times, 1)[: shape[0], : shape[1]]
    fitted[: enlarged.shape[0], : enlarged.shape[1]] = enlarged
    return fitted


def _sides(longer: int) -> Iterator[int]:
    """Longer sides of the pyramid's levels for a picture whose own is `longer`, pixels."""
    side = FIRST_SIDE
    yield side
    while 2 * side <= min(LAST_SIDE, ENLARGED * longer):
        side *= 2
        yield side


def _scale(shape: tuple[int, ...], side: int) -> float:
    return min(side / max(shape), max(ENLARGED, TINY / max(shape)))


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
    grey: Grey, shape: tuple[int, int], side: int, closer: Mask | None, segmenter: Segmenter
) -> tuple[Level, Plane, Plane, Plane]:
    """Run the network over a level tile by tile; over all of it, or where `closer` says so.

    Beside the level it gives the centre heat map, the offset field and the sizes, 0 where the
    network did not look. `shape` is that of the picture, of which `grey` may have fewer pixels.
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


def _every(window: Window, stride: int) -> Window:
    """A window of pixels on an output with a stride."""
    rows, columns = (slice(own.start // stride, own.stop // stride) for own in window)
    return rows, columns


def _glyphs(
    level: Level, config: SegmentationConfig, heat: Plane, offsets: Plane, sizes: Plane, *,
    last: bool,
) -> tuple[list[Glyph], Mask]:  # fmt: skip
    """Gather the glyphs of a level, and note each pixel's owner in it.

    Gives the glyphs that the level shows well, and where there are others that are too small for
    it; on the last level small ones are glyphs, too.
    """
    rows, columns = _peaks(heat, config.centre)
    faint = level.handwriting > int(255 * config.faint)
    if len(rows) == 0 or not faint.any():
        return [], faint & (_up(sizes) < config.small)
    size = _owned(level, config.stray, faint, rows, columns, offsets, sizes)
    small = faint & (level.owner < 0) & (_up(sizes) < config.small)
    found = []
    for number, y, x in _ink_by_owner(level, config.ink, len(rows)):
        top, left = int(y.min()), int(x.min())
        mask = np.zeros((int(y.max()) - top + 1, int(x.max()) - left + 1), np.bool_)
        mask[y - top, x - left] = True
        side = max(mask.shape)
        if max(size[number], side) > config.large and max(level.grey.shape) >= 2 * FIRST_SIDE:
            continue
        if max(size[number], side) < config.small and not last:
            small[y, x] = True
        elif side >= LEAST:
            found.append(_glyph(level, left, top, mask, (number,)))
    return found, small


def _glyph(level: Level, left: int, top: int, mask: Mask, numbers: tuple[int, ...]) -> Glyph:
    window = slice(top, top + mask.shape[0]), slice(left, left + mask.shape[1])
    score = float(level.handwriting[window][mask].mean()) / 255
    digit = min(1.0, float(level.digit[window][mask].mean()) / 255 / max(score, 1e-6))
    return Glyph(level, left, top, mask, numbers, score, digit)


def _components(level: Level, config: SegmentationConfig) -> list[Glyph]:
    """The connected components of a level's ink that are as large as glyphs there."""
    parts = connected(level.handwriting > int(255 * config.ink))
    side = np.maximum(parts.right - parts.left, parts.bottom - parts.top)
    found = []
    for number in np.flatnonzero((side >= config.small) & (side <= config.large)):
        left, top = int(parts.left[number]), int(parts.top[number])
        window = slice(top, int(parts.bottom[number])), slice(left, int(parts.right[number]))
        mask = parts.labels[window] == number + 1
        owners = np.unique(level.owner[window][mask])
        found.append(_glyph(level, left, top, mask, tuple(owners[owners >= 0].tolist())))
    return found


def _join_strokes(level: Level) -> None:
    """Take whole strokes for handwriting of which the network takes a part for print.

    Of each connected component of ink of both kinds that is no larger than a glyph, the kind is
    that of most of its pixels.
    """
    both = level.handwriting.astype(np.int16) + level.printed
    parts = connected(both > 127)
    labels = parts.labels
    by_hand = np.bincount(labels.ravel(), level.handwriting.ravel(), minlength=len(parts) + 1)[1:]
    printed = np.bincount(labels.ravel(), level.printed.ravel(), minlength=len(parts) + 1)[1:]
    chosen = (by_hand > BY_HAND * printed) & (printed > 0)
    chosen &= np.maximum(parts.right - parts.left, parts.bottom - parts.top) <= JOINED_SIDE
    mask = parts.where(chosen)
    share = level.digit[mask] / np.maximum(level.handwriting[mask], 1)
    level.handwriting[mask] = both[mask].clip(0, 255)
    level.digit[mask] = (share * level.handwriting[mask]).clip(0, 255)
    level.printed[mask] = 0


def _up(plane: Plane) -> Plane:
    return plane.repeat(HALF, 0).repeat(HALF, 1)


def _peaks(heat: Plane, least: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of the glyphs' centres on the heat map, the `MOST_GLYPHS` highest."""
    peaks = (heat > least) & (heat >= extreme(padded(heat, 1), 3, np.maximum))
    rows, columns = np.nonzero(peaks)
    highest = np.argsort(-heat[rows, columns], kind="stable")[:MOST_GLYPHS]
    return rows[highest], columns[highest]


def _owned(
    level: Level, stray: float, faint: Mask, rows: NDArray[np.intp], columns: NDArray[np.intp],
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
    far = np.hypot(
        votes[:, 0] - (rows[nearest] * CELL + (CELL - 1) / 2),
        votes[:, 1] - (columns[nearest] * CELL + (CELL - 1) / 2),
    )
    hit = far <= stray * np.maximum(sizes[y, x], _LEAST_REACH)
    y, x, nearest = y[hit], x[hit], nearest[hit]
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
    level: Level, least: float, count: int
) -> Iterator[tuple[int, NDArray[np.int32], NDArray[np.int32]]]:
    """Each glyph that has ink: its number, and rows and columns of that ink."""
    ink = np.flatnonzero(level.handwriting > int(255 * least)).astype(np.int32)
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
