"""What the segmentation network should give for synthetic scenes, as small whole numbers."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from digits.recognition.outputs import CELL, HALF
from training_job.synthesis.photographs import Scene, scene

if TYPE_CHECKING:
    from training_job.progress import Progress

FINE = 16  # parts of a pixel in which offsets are kept
_FIRST = 1_000_000  # seed of the first scene
_AT_ONCE = 50  # scenes that a process renders before the next takes its turn
_LEAST = 3  # pixels of ink; a glyph of which less is seen has no targets
_SPREAD = 0.1  # of a glyph's longer side: standard deviation of its peak on the centre heat map
_LEAST_SPREAD = 2.5  # pixels; a narrower peak would fall between the cells of the heat map


@dataclass(frozen=True)
class Targets:
    """Scenes of one size and the outputs that are right for them.

    Attributes
    ----------
    picture, kind : uint8 (n, h, w)
        The network's input, and the kind of each pixel.
    centre : uint8 (n, h/4, w/4)
        The centre heat map: 255 at the centre of a glyph, falling off as its size has it.
    offset : int16 (n, h/2, w/2, 2)
        The offset field: x and y from each place with ink to its glyph's centre, sixteenths of a
        pixel.
    size : uint8 (n, h/2, w/2)
        The longer side of that glyph, pixels up to 255; 0 where there is none.
    """

    picture: NDArray[np.uint8]
    kind: NDArray[np.uint8]
    centre: NDArray[np.uint8]
    offset: NDArray[np.int16]
    size: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.picture)

    def arrays(self) -> tuple[NDArray[Any], ...]:
        """All of them, in the order above."""
        return tuple(getattr(self, one.name) for one in fields(self))


def targets(one: Scene) -> Targets:
    """The targets of one scene; n is 1."""
    centre, offset, size = _glyphs(one.owner)
    return Targets(one.grey[None], one.kind[None], centre[None], offset[None], size[None])


def rendered(count: int, folder: Path, progress: Progress) -> Targets:
    """Render scenes in all processes, or take the ones that `folder` holds.

    The arrays are mapped from the files in `folder`, so that they need not fit the memory.
    """
    names = [one.name for one in fields(Targets)]
    if not folder.exists():
        partial = folder.with_name(folder.name + ".partial")
        partial.mkdir(parents=True, exist_ok=True)
        # Spawned, and before TensorFlow is imported: each worker needs 100 MB, not a gigabyte.
        with (
            ProcessPoolExecutor(mp_context=get_context("spawn")) as pool,
            progress.bar(count) as advance,
        ):
            every: list[tuple[NDArray[Any], ...]] = []
            for one in pool.map(_of_seed, range(_FIRST, _FIRST + count), chunksize=_AT_ONCE):
                every.append(one.arrays())
                advance()
        for name, parts in zip(names, zip(*every, strict=True), strict=True):
            np.save(partial / f"{name}.npy", np.concatenate(parts))
        partial.rename(folder)  # whole or not at all
        progress.say(f"rendered {count} scenes", scenes=count)
    return Targets(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in names))


def _of_seed(seed: int) -> Targets:
    return targets(scene(seed))


def _glyphs(
    owner: NDArray[np.uint16],
) -> tuple[NDArray[np.uint8], NDArray[np.int16], NDArray[np.uint8]]:
    """Centre heat map, offset field and sizes, as `Targets` has them.

    The centre is that of the glyph's box, the size its longer side, of what the picture shows.
    """
    height, width = owner.shape
    count = int(owner.max()) + 1
    rows, columns = np.nonzero(owner)
    of = owner[rows, columns]
    top, left = np.full(count, height), np.full(count, width)
    bottom, right = np.zeros(count, int), np.zeros(count, int)
    np.minimum.at(top, of, rows)
    np.minimum.at(left, of, columns)
    np.maximum.at(bottom, of, rows)
    np.maximum.at(right, of, columns)
    shown = np.bincount(of, minlength=count) >= _LEAST
    middle_x, middle_y = (left + right) / 2, (top + bottom) / 2
    side = np.maximum(bottom - top, right - left) + 1

    centre = np.zeros((height // CELL, width // CELL))
    y, x = np.mgrid[: height // CELL, : width // CELL] * CELL + (CELL - 1) / 2
    for number in np.flatnonzero(shown):
        spread = max(_LEAST_SPREAD, _SPREAD * side[number])
        far = (y - middle_y[number]) ** 2 + (x - middle_x[number]) ** 2
        np.maximum(centre, np.exp(-far / (2 * spread**2)), out=centre)

    blocks = owner.reshape(height // HALF, HALF, width // HALF, HALF).max(axis=(1, 3))
    blocks[~shown[blocks]] = 0
    y, x = np.nonzero(blocks)
    of = blocks[y, x]
    offset = np.zeros((*blocks.shape, 2), np.int16)
    offset[y, x, 0] = np.round((middle_x[of] - (x * HALF + (HALF - 1) / 2)) * FINE)
    offset[y, x, 1] = np.round((middle_y[of] - (y * HALF + (HALF - 1) / 2)) * FINE)
    size = np.zeros(blocks.shape, np.uint8)
    size[y, x] = side[of].clip(max=255)
    return np.round(centre * 255).astype(np.uint8), offset, size
