"""Scenes of one digit or a few text lines, on ruled, squared or coloured paper, at any size.

They are the pages of `training_job.rendered_pages`, scaled and cropped to one size.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from digits.recognition.outputs import DIGIT, MARK, PAPER
from training_job import rendered_pages
from training_job.synthesis.pages import INKED
from training_job.synthesis.photographs import SyntheticScene

# Pixels, log-uniform ranges, chosen by eye: the longer side of one of the marks, as in
# `photographs`, and the longer side of the whole page, which limits the scale for a mark. The
# latter are sizes at which the image pyramid has a level.
_HEIGHTS = (12.0, 110.0)
_SIDES = (90, 900)


def snapshot(seed: int, side: int = 256, held_out: bool = False) -> SyntheticScene:
    """Render a page, scale it and crop `side` by `side` pixels out of it.

    Ruling lines are labelled paper, because `training_job.rendered_pages` has no truth for them.

    Parameters
    ----------
    seed
        Seed of all random choices.
    side
        Width and height of the picture, pixels.
    held_out
        Whether to use the digits and typefaces that are held out of training.
    """
    taken = rendered_pages.render(seed, held_out=held_out)
    rng = np.random.default_rng([seed, 0x54A9, held_out])
    height, longer = float(np.exp(rng.uniform(*np.log(_HEIGHTS)))), max(taken.grey.shape)
    scale, middle = float(np.exp(rng.uniform(*np.log(_SIDES)))) / longer, (0.5, 0.5)
    rows, columns = np.nonzero(taken.owner)
    if len(rows):
        owners = taken.owner[rows, columns]
        own = owners == owners[rng.integers(len(rows))]
        rows, columns = rows[own], columns[own]
        scale = height / (1 + max(int(np.ptp(rows)), int(np.ptp(columns))))
        middle = (
            float(rows.mean()) / taken.grey.shape[0],
            float(columns.mean()) / taken.grey.shape[1],
        )
    scale = min(max(scale, _SIDES[0] / longer), _SIDES[1] / longer)
    size = (max(1, round(taken.grey.shape[1] * scale)), max(1, round(taken.grey.shape[0] * scale)))
    how = Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC
    grey = np.asarray(Image.fromarray(taken.grey).resize(size, how))
    ink = np.asarray(Image.fromarray(taken.ink).resize(size, Image.Resampling.BILINEAR))
    owner = np.asarray(Image.fromarray(taken.owner).resize(size, Image.Resampling.NEAREST))
    owner = np.where(ink > INKED, owner, 0).astype(np.uint16)
    top, left = (
        _start(length, side, share, rng) for length, share in zip(grey.shape, middle, strict=True)
    )
    window = slice(top, top + side), slice(left, left + side)
    missing = [(0, max(0, side - length)) for length in grey.shape]
    grey, owner = np.pad(grey[window], missing, mode="edge"), np.pad(owner[window], missing)
    kinds = [PAPER, *(MARK if thing is None else DIGIT for thing in taken.glyphs)]
    texts = tuple("" if thing is None else str(thing) for thing in taken.glyphs)
    return SyntheticScene(grey, np.array(kinds, np.uint8)[owner], owner, texts)


def _start(length: int, side: int, share: float, rng: np.random.Generator) -> int:
    """Return where a crop of `side` begins, so that it shows the position `share` of `length`."""
    if length <= side:
        return 0
    return int(np.clip(round(share * length - rng.uniform(0.25, 0.75) * side), 0, length - side))
