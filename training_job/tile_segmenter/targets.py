"""What the segmentation network should give for synthetic scenes, as small whole numbers."""

from __future__ import annotations

import shutil
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from digits.recognition.outputs import CELL, HALF
from training_job.synthesis.photographs import SyntheticScene, scene
from training_job.synthesis.snapshots import snapshot

if TYPE_CHECKING:
    from training_job.progress import RunProgress

FINE = 16  # parts of a pixel in which offsets are kept
_FIRST = 1_000_000  # seed of the first scene
_SNAPSHOTS = 3  # every so many scenes one is a snapshot
_AT_ONCE = 50  # scenes that a process renders before the next takes its turn
LARGEST = 80  # pixels, longer side of the largest glyph that has a centre
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
        The centre heat map: 255 at the centre of a glyph, falling off as its size has it. Glyphs
        larger than `LARGEST` have no centre: a coarser level of the pyramid shows them better.
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


def targets(one: SyntheticScene) -> Targets:
    """The targets of one scene; n is 1."""
    centre, offset, size = _glyphs(one.owner)
    return Targets(one.grey[None], one.kind[None], centre[None], offset[None], size[None])


def rendered(count: int, out: Path, fingerprint: str, progress: RunProgress) -> Targets:
    """Render scenes in all processes, or take the ones that the folder `out` holds.

    They are kept under the fingerprint of what they depend on, and those of others are deleted:
    20,000 of them are 4 GB. The arrays are mapped from their files, so that they need not fit the
    memory.
    """
    folder = out / f"scenes-{fingerprint[:16]}"
    for other in out.glob("scenes-*"):
        if other != folder:
            shutil.rmtree(other)
    if not folder.exists():
        partial = folder.with_suffix(".partial")
        partial.mkdir(parents=True)
        _render(count, partial, progress)
        partial.rename(folder)  # whole or not at all
        progress.say(f"rendered {count} scenes", scenes=count)
    return Targets(*(np.load(_file(folder, one.name), mmap_mode="r") for one in fields(Targets)))


def _render(count: int, folder: Path, progress: RunProgress) -> None:
    files: list[NDArray[Any]] = []
    # Spawned, and before TensorFlow is imported: a worker needs 100 MB, not a gigabyte.
    with (
        ProcessPoolExecutor(mp_context=get_context("spawn")) as pool,
        progress.bar(count) as advance,
    ):
        seeds = range(_FIRST, _FIRST + count)
        for place, one in enumerate(pool.map(_of_seed, seeds, chunksize=_AT_ONCE)):
            if not files:
                files = [
                    open_memmap(
                        _file(folder, field.name), "w+", array.dtype, (count, *array.shape[1:])
                    )
                    for field, array in zip(fields(Targets), one.arrays(), strict=True)
                ]
            for file, array in zip(files, one.arrays(), strict=True):
                file[place] = array[0]
            advance()
    for file in files:
        file.flush()  # type: ignore[attr-defined]


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.npy"


def _of_seed(seed: int) -> Targets:
    return targets(snapshot(seed) if seed % _SNAPSHOTS == 0 else scene(seed))


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
    for number in np.flatnonzero(shown & (side <= LARGEST)):
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
