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

from collections.abc import Callable, Sequence

import numpy as np

from digits.image import Picture
from digits.morphology import extreme, padded
from digits.recognition.config import SegmentationConfig
from digits.recognition.glyphs import (
    Glyph,
    Level,
    Mask,
    by_connection,
    by_votes,
    join_strokes,
)
from digits.recognition.network import Segmenter
from digits.recognition.pyramid import FIRST_SIDE, blocks, cost, look, sides

# Pixels that the network is shown of any picture, context included, at most: 0.2 s of a core a
# million, measured on one of ours. A process that segments 3,600 by 3,600 pixels of noise, the
# worst case, peaks at 430 MB, of which 170 are Python, NumPy and LiteRT.
MOST_PIXELS = 12_000_000
WHOLE_SIDE = 448  # pixels, longer side up to which a level is looked at whole
# Pixels, longer sides of levels whose background holds for finer ones.
BACKGROUND_SIDES = (224, 448)
ALONE_SIDE = 112  # pixels, longer side of the level on which a digit may plainly stand alone
# Elsewhere the picture is plain: within no square of so many of its pixels do the grey levels
# differ by more than this share of what the digit's differ from the paper's.
PLAIN_SIDE, PLAIN = 8, 0.3

Quality = Callable[[Sequence[Glyph]], Sequence[float]]
"""How good glyphs are as they were found, each 0 to 1."""

Rated = tuple[float, Glyph]


def segment(picture: Picture, segmenter: Segmenter, quality: Quality | None = None) -> list[Glyph]:
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

    Returns
    -------
    list of Glyph
        In any order; at most `MOST_GLYPHS` of each level, and as many connected components.
    """
    config = segmenter.config
    shape = picture.height, picture.width
    levels = list(sides(max(shape)))
    grey, budget = picture.grey, MOST_PIXELS
    closer: Mask | None = None
    beyond: Mask | None = None
    found = _Found(config)
    for side, finer in zip(levels, [*levels[1:], None], strict=True):
        budget -= cost(shape, side, closer)
        if max(grey.shape) < side:
            grey = picture.finer(2 * side)
        level, *outputs = look(grey, shape, side, closer, segmenter)
        beyond = _without_background(level, side, beyond)
        join_strokes(level)
        glyphs, small = by_votes(
            level, config, *outputs, first=side == FIRST_SIDE, last=finer is None
        )
        found.next_level(level.grey.shape)
        for glyph in found.add(glyphs, by_connection(level, config), quality):
            small[glyph.window] |= glyph.mask
        if finer is None:
            break
        if side < WHOLE_SIDE:
            continue
        if side == WHOLE_SIDE:  # smaller writing than it shows may look like print here
            small |= level.printed > int(255 * config.faint)
        closer = blocks(small)
        if not closer.any():
            break
        if cost(shape, finer, closer) > budget:
            found.add(by_votes(level, config, *outputs, last=True)[0], [], quality)
            break
    return found.all()


def standing_alone(picture: Picture, segmenter: Segmenter) -> Glyph | None:
    """The only glyph of a picture that is plain but for it; None where that is in doubt.

    One look at a coarse level, which takes a tenth of the time of `segment`. That nothing else is
    there is seen at the picture's own resolution.
    """
    config, shape = segmenter.config, (picture.height, picture.width)
    level, *outputs = look(picture.grey, shape, ALONE_SIDE, None, segmenter)
    join_strokes(level)
    by_votes(level, config, *outputs, last=True)
    components = by_connection(level, config)
    if len(components) != 1 or not _is_plain_around(components[0], picture):
        return None
    return components[0]


def _is_plain_around(glyph: Glyph, picture: Picture) -> bool:
    """Whether a picture is plain but for a glyph."""
    grey, times = picture.grey, max(picture.grey.shape) / max(picture.width, picture.height)
    own = glyph.level.grey[glyph.window]
    contrast = int(own.max()) - int(own.min())
    rows, columns = (side // PLAIN_SIDE for side in grey.shape)
    squares = grey[: rows * PLAIN_SIDE, : columns * PLAIN_SIDE]
    squares = squares.reshape(rows, PLAIN_SIDE, columns, PLAIN_SIDE)
    apart = squares.max(axis=(1, 3)) - squares.min(axis=(1, 3))
    left, top, right, bottom = (side * times / PLAIN_SIDE for side in glyph.box)
    apart[max(0, int(top) - 1) : int(bottom) + 2, max(0, int(left) - 1) : int(right) + 2] = 0
    return bool(apart.max(initial=0) < PLAIN * contrast)


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

    def all(self) -> list[Glyph]:
        """The good glyphs, and the best of the doubtful ones where there is none of those."""
        for good, depth, glyph in sorted(self._doubtful, key=lambda one: one[:2], reverse=True):
            if good >= self._config.kept and self._free(glyph, depth):
                self._take(glyph, depth)
        return self._good

    def _free(self, glyph: Glyph, depth: int) -> bool:
        """Whether most of a glyph of the level `depth` is not taken by others."""
        taken = self._taken[depth][glyph.window][glyph.mask]
        return bool(taken.mean() < self._config.repeated)

    def _take(self, glyph: Glyph, depth: int) -> None:
        """Note where a glyph of the level `depth` is, there and on the other levels."""
        self._good.append(glyph)
        y, x = np.nonzero(glyph.mask)
        for coarser, mask in enumerate(self._taken[: depth + 1]):
            times = depth - coarser
            rows, columns = (y + glyph.top) >> times, (x + glyph.left) >> times
            own = np.zeros_like(mask)
            own[rows.clip(max=mask.shape[0] - 1), columns.clip(max=mask.shape[1] - 1)] = True
            # A coarser level shows the glyph with a rim of a pixel.
            np.logical_or(mask, _with_rim(own) if times else own, out=mask)
        for octaves, mask in enumerate(self._taken[depth + 1 :], start=1):
            times = 2**octaves
            enlarged = glyph.mask.repeat(times, 0).repeat(times, 1)
            place = mask[glyph.top * times :, glyph.left * times :]
            place = place[: enlarged.shape[0], : enlarged.shape[1]]
            place |= enlarged[: place.shape[0], : place.shape[1]]


def _with_rim(mask: Mask) -> Mask:
    return extreme(padded(mask, 1), 3, np.logical_or)


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
