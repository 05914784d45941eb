"""What the segmentation network should say of scenes, as small whole numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training_job.synthesis.photographs import Scene, scene

CELL = 4  # pixels that one place of the centres' map stands for
HALF = 2  # pixels that one place of the glyphs' map stands for
_LEAST = 3  # pixels of ink; a glyph of which less is seen is not asked for


@dataclass(frozen=True)
class Lesson:
    """Scenes of one size, and what is right about them.

    Attributes
    ----------
    picture, kind : uint8 (n, h, w)
        What the network is shown, and what each pixel shows; see `synthesis.photographs`.
    centre : uint8 (n, h/4, w/4)
        255 at the centre of a glyph, falling off as its size has it.
    way : int16 (n, h/2, w/2, 2)
        From each place with a glyph to its centre, x and y, sixteenths of a pixel.
    size : uint8 (n, h/2, w/2)
        The longer side of that glyph, pixels up to 255; 0 where there is none.
    """

    picture: NDArray[np.uint8]
    kind: NDArray[np.uint8]
    centre: NDArray[np.uint8]
    way: NDArray[np.int16]
    size: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.picture)

    def arrays(self) -> tuple[NDArray[Any], ...]:
        """All of them, in the order above."""
        return self.picture, self.kind, self.centre, self.way, self.size


def lesson(seed: int) -> Lesson:
    """Render a scene and its targets; n is 1."""
    one = scene(seed)
    centre, way, size = _targets(one)
    return Lesson(one.grey[None], one.kind[None], centre[None], way[None], size[None])


def _targets(one: Scene) -> tuple[NDArray[np.uint8], NDArray[np.int16], NDArray[np.uint8]]:
    height, width = one.owner.shape
    count = int(one.owner.max()) + 1
    rows, columns = np.nonzero(one.owner)
    owner = one.owner[rows, columns]
    area = np.bincount(owner, minlength=count)
    top, left = np.full(count, height), np.full(count, width)
    bottom, right = np.zeros(count, int), np.zeros(count, int)
    np.minimum.at(top, owner, rows)
    np.minimum.at(left, owner, columns)
    np.maximum.at(bottom, owner, rows)
    np.maximum.at(right, owner, columns)
    seen = area >= _LEAST
    middle_x, middle_y = (left + right) / 2, (top + bottom) / 2
    side = np.maximum(bottom - top, right - left) + 1

    centre = np.zeros((height // CELL, width // CELL), np.float32)
    y, x = np.mgrid[: height // CELL, : width // CELL] * CELL + (CELL - 1) / 2
    for number in np.flatnonzero(seen):
        spread = max(2.5, 0.1 * side[number])
        far = (y - middle_y[number]) ** 2 + (x - middle_x[number]) ** 2
        np.maximum(centre, np.exp(-far / (2 * spread**2)), out=centre)

    blocks = one.owner.reshape(height // HALF, HALF, width // HALF, HALF).max(axis=(1, 3))
    blocks[~seen[blocks]] = 0
    at_y, at_x = np.nonzero(blocks)
    of = blocks[at_y, at_x]
    way = np.zeros((*blocks.shape, 2), np.int16)
    size = np.zeros(blocks.shape, np.uint8)
    way[at_y, at_x, 0] = np.round((middle_x[of] - (at_x * HALF + 0.5)) * 16)
    way[at_y, at_x, 1] = np.round((middle_y[of] - (at_y * HALF + 0.5)) * 16)
    size[at_y, at_x] = side[of].clip(1, 255)
    return np.round(centre * 255).astype(np.uint8), way, size
