"""Training targets of the segmentation network for synthetic scenes, as integers."""

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

FINE = 16  # offsets are stored in units of 1/16 pixel
_FIRST_SEED = 1_000_000  # of the scenes; contact sheets and tests use smaller ones
_SNAPSHOTS = 3  # one of this many scenes is from `training_job.synthesis.snapshots`
_CHUNK = 50  # scenes that a process renders per task
# Chosen by eye on synthetic scenes.
LARGEST = 80  # pixels; longer side of the largest glyph that has a centre
_LEAST = 3  # pixels of visible ink; a glyph with fewer has no targets
_SPREAD = 0.1  # standard deviation of a peak of the heat map, in longer sides of the glyph
_LEAST_SPREAD = 2.5  # pixels; a narrower peak could fall between the cells of the heat map


@dataclass(frozen=True)
class Targets:
    """Scenes of one size and the target outputs for them.

    Attributes
    ----------
    picture, kind : uint8 (n, h, w)
        The network's input, and the kind of each pixel.
    centre : uint8 (n, h/4, w/4)
        The centre heat map: a Gaussian peak of 255 at each glyph's centre, as wide as the glyph's
        size demands. Glyphs larger than `LARGEST` have no peak: a coarser level of the image
        pyramid finds them.
    offset : int16 (n, h/2, w/2, 2)
        The offset field: x and y from each cell with ink to its glyph's centre, in 1/16 pixel.
    size : uint8 (n, h/2, w/2)
        The longer side of that glyph, in pixels up to 255; 0 for a cell without ink.
    """

    picture: NDArray[np.uint8]
    kind: NDArray[np.uint8]
    centre: NDArray[np.uint8]
    offset: NDArray[np.int16]
    size: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.picture)

    def arrays(self) -> tuple[NDArray[Any], ...]:
        """Return all arrays, in the order above."""
        return tuple(getattr(self, one.name) for one in fields(self))


def targets(one: SyntheticScene) -> Targets:
    """Compute the targets of one scene; n is 1."""
    centre, offset, size = _glyphs(one.owner)
    return Targets(one.grey[None], one.kind[None], centre[None], offset[None], size[None])


def rendered(count: int, out: Path, fingerprint: str, progress: RunProgress) -> Targets:
    """Render scenes on all cores, or load them from the folder `out` if they were rendered before.

    They are stored under the fingerprint of what they depend on; scenes of other fingerprints are
    deleted, because 20,000 scenes take 4 GB. The arrays are memory-mapped.
    """
    folder = out / f"scenes-{fingerprint[:16]}"
    for other in out.glob("scenes-*"):
        if other != folder:
            shutil.rmtree(other)
    if not folder.exists():
        partial = folder.with_suffix(".partial")
        partial.mkdir(parents=True)
        _render(count, partial, progress)
        partial.rename(folder)  # atomic: an interrupted run leaves no incomplete folder
        progress.say(f"rendered {count} scenes", scenes=count)
    return Targets(*(np.load(_file(folder, one.name), mmap_mode="r") for one in fields(Targets)))


def _render(count: int, folder: Path, progress: RunProgress) -> None:
    files: list[NDArray[Any]] = []
    # Spawned, and without TensorFlow, a worker needs 100 MB instead of a gigabyte.
    with (
        ProcessPoolExecutor(mp_context=get_context("spawn")) as pool,
        progress.bar(count) as advance,
    ):
        seeds = range(_FIRST_SEED, _FIRST_SEED + count)
        for place, one in enumerate(pool.map(_of_seed, seeds, chunksize=_CHUNK)):
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
    """Compute centre heat map, offset field and sizes, as in `Targets`, from the glyphs' boxes.

    A box covers the part of a glyph that the picture shows.
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
