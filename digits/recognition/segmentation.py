"""Instance segmentation of a page: which pixels are handwriting, and to which glyph each belongs.

The fully convolutional network is trained for glyphs of about 10 to 80 pixels. It is therefore run
on an image pyramid, from coarse to fine: on the whole of coarse levels, and on the tiles of a finer
level in which the coarser one shows handwriting that is too small or segmented with low quality.
The cost grows with the written area, up to `MAX_PIXELS`.

The network outputs the kind of each pixel, the offset to its glyph's centre, that glyph's size, and
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
    glyphs_by_components,
    glyphs_by_votes,
    join_strokes,
)
from digits.recognition.network import Segmenter
from digits.recognition.pyramid import FIRST_SIDE, blocks, cost, run_level, sides

# Input pixels of the network for one picture at most, including context. A million take 0.2 s of a
# core, measured on the development machine. A process that segments 3,600 by 3,600 pixels of noise,
# the worst case, peaks at 430 MB, of which 170 are Python, NumPy and LiteRT.
MAX_PIXELS = 12_000_000
# The sides and shares below were chosen by eye on development pictures.
WHOLE_SIDE = 448  # pixels, longer side of the finest level on which the network is run on all tiles
BACKGROUND_SIDES = (224, 448)  # pixels, longer sides of levels whose background finer ones adopt

Quality = Callable[[Sequence[Glyph]], Sequence[float]]
"""Returns the quality of each glyph, 0 to 1; see `lattice.Candidate.quality`."""

Rated = tuple[float, Glyph]
"""A glyph and its quality."""


def segment(picture: Picture, segmenter: Segmenter, quality: Quality | None = None) -> list[Glyph]:
    """Find the handwritten glyphs of a picture.

    The area of a glyph of low quality is segmented again on the next level, and the glyph is kept
    only if no better one is found there. If the next level would exceed `MAX_PIXELS`, the glyphs
    found so far are returned.

    Parameters
    ----------
    picture
        The picture, in either polarity. It is decoded again if a level needs more detail.
    segmenter
        The network.
    quality
        Returns the quality of glyphs; without it all have the highest quality.

    Returns
    -------
    list of Glyph
        In any order; of each level at most `MAX_GLYPHS`, and as many connected components.
    """
    config = segmenter.config
    shape = picture.height, picture.width
    levels = list(sides(max(shape)))
    grey, budget = picture.grey, MAX_PIXELS
    closer: Mask | None = None
    background: Mask | None = None
    found = _GlyphSet(config)
    for side, finer in zip(levels, [*levels[1:], None], strict=True):
        budget -= cost(shape, side, closer)
        if max(grey.shape) < side:
            grey = picture.finer(2 * side)
        level, *outputs = run_level(grey, shape, side, closer, segmenter)
        background = _clear_background(level, side, background)
        join_strokes(level)
        glyphs, small = glyphs_by_votes(
            level, config, *outputs, first=side == FIRST_SIDE, last=finer is None
        )
        found.next_level(level.grey.shape)
        for glyph in found.add(glyphs, glyphs_by_components(level, config), quality):
            small[glyph.window] |= glyph.mask
        if finer is None:
            break
        if side < WHOLE_SIDE:
            continue
        if side == WHOLE_SIDE:  # handwriting too small for this level may look like print
            small |= level.printed > int(255 * config.faint)
        closer = blocks(small)
        if not closer.any():
            break
        if cost(shape, finer, closer) > budget:
            found.add(glyphs_by_votes(level, config, *outputs, last=True)[0], [], quality)
            break
    return found.all()


class _GlyphSet:
    """The glyphs found so far, from coarse to fine levels, without duplicates."""

    def __init__(self, config: SegmentationConfig) -> None:
        self._config = config
        self._taken: list[Mask] = []  # for each level, the pixels of the good glyphs
        self._good: list[Glyph] = []
        self._doubtful: list[tuple[float, int, Glyph]] = []

    def next_level(self, shape: tuple[int, ...]) -> None:
        """Start a finer level of this shape."""
        coarser = self._taken[-1] if self._taken else np.zeros((1, 1), np.bool_)
        self._taken.append(_fitted(coarser, shape))

    def add(
        self, glyphs: list[Glyph], components: list[Glyph], quality: Quality | None
    ) -> list[Glyph]:
        """Add the new glyphs of the current level; return those below the trusted quality.

        Parameters
        ----------
        glyphs, components
            The level's glyphs by votes and by connected components, which compete by quality.
        quality
            Returns the quality of glyphs. Without it, `components` are ignored.
        """
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
        """Return the good glyphs, and the best doubtful glyphs that do not overlap with others."""
        for good, depth, glyph in sorted(self._doubtful, key=lambda one: one[:2], reverse=True):
            if good >= self._config.kept and self._free(glyph, depth):
                self._take(glyph, depth)
        return self._good

    def _free(self, glyph: Glyph, depth: int) -> bool:
        """Whether a glyph of the level `depth` is not a duplicate of a glyph found before."""
        taken = self._taken[depth][glyph.window][glyph.mask]
        return bool(taken.mean() < self._config.repeated)

    def _take(self, glyph: Glyph, depth: int) -> None:
        """Add a glyph of the level `depth`, and mark its pixels as taken on all levels."""
        self._good.append(glyph)
        y, x = np.nonzero(glyph.mask)
        for coarser, mask in enumerate(self._taken[: depth + 1]):
            times = depth - coarser
            rows, columns = (y + glyph.top) >> times, (x + glyph.left) >> times
            own = np.zeros_like(mask)
            own[rows.clip(max=mask.shape[0] - 1), columns.clip(max=mask.shape[1] - 1)] = True
            # On a coarser level the glyph's blurred edge extends by a pixel.
            np.logical_or(mask, _with_rim(own) if times else own, out=mask)
        for octaves, mask in enumerate(self._taken[depth + 1 :], start=1):
            times = 2**octaves
            enlarged = glyph.mask.repeat(times, 0).repeat(times, 1)
            place = mask[glyph.top * times :, glyph.left * times :]
            place = place[: enlarged.shape[0], : enlarged.shape[1]]
            place |= enlarged[: place.shape[0], : place.shape[1]]


def _with_rim(mask: Mask) -> Mask:
    return extreme(padded(mask, 1), 3, np.logical_or)


def _clear_background(level: Level, side: int, background: Mask | None) -> Mask | None:
    """Clear handwriting in the background of coarser levels; return the background for finer ones.

    Coarse levels recognise the surface on which a sheet lies. On fine levels its texture may look
    like strokes.
    """
    fitted = None if background is None else _fitted(background, level.grey.shape)
    if fitted is not None:
        level.handwriting[fitted] = 0
    if side not in BACKGROUND_SIDES:
        return background
    own = level.background > 127
    return own if fitted is None else own | fitted


def _rated(glyphs: list[Glyph], quality: Quality) -> list[Rated]:
    return list(zip(quality(glyphs), glyphs, strict=True)) if glyphs else []


def _chosen(parts: list[Rated], wholes: list[Rated]) -> list[Rated]:
    """Choose between glyphs by votes and connected components by their quality.

    A component replaces the glyphs that are mostly inside it if its quality is higher than the mean
    of theirs, weighted by their ink. A component that equals one glyph is ignored.
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
    """Whether more than half of a glyph is inside another glyph of the same level."""
    height, width = whole.mask.shape
    y, x = np.nonzero(part.mask)
    y, x = y + part.top - whole.top, x + part.left - whole.left
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    common = np.count_nonzero(whole.mask[y[inside], x[inside]])
    return bool(common > 0.5 * len(y))


def _fitted(mask: Mask, shape: tuple[int, ...]) -> Mask:
    """Enlarge a coarser level's mask to a level of `shape`; pixels outside it are False."""
    times = 1
    while times * max(mask.shape) < max(shape):
        times *= 2
    fitted = np.zeros(shape, np.bool_)
    enlarged = mask.repeat(times, 0).repeat(times, 1)[: shape[0], : shape[1]]
    fitted[: enlarged.shape[0], : enlarged.shape[1]] = enlarged
    return fitted
