"""Picture to ink by a small network of its own, and from which thing on the page each bit is.

The classical ways of `digits.ink` know strokes only by their darkness and width. This network has
seen painted pages and knows them by their looks: it tells faint writing from a shadow's rim, a
stroke from the printed line that it crosses, and where one digit ends and the next, which it
touches, begins. It costs more time, so it is asked where they are not sure.

After Cheng et al., "Panoptic-DeepLab", CVPR 2020: of every pixel the network says whether it is ink
and where the middle of its thing is; the middles are the peaks of a map of their own.
`training_job.finder` trains it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import cache
from itertools import permutations
from pathlib import Path
from typing import TypeVar

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray
from PIL import Image

from digits.components import connected
from digits.image import Grey
from digits.ink import Ink, Mask, Plane, where_likely
from digits.layout import Piece, parts_of, smallest, trimmed
from digits.morphology import extreme

_Scalar = TypeVar("_Scalar", bound=np.generic)

MODEL = Path(__file__).with_name("finder.tflite")

LONG, SHORT = 256, 192  # sides of what the network is shown, pixels
SMALLEST = 100  # pixels of a picture's longer side; what is smaller holds a digit or two
CELL = 4  # pixels that one place of the middles' map stands for
HALF = 2  # pixels that one place of the ways' map stands for
UNIT = 32.0  # pixels that a way of 1 stands for
INK = 0.5  # likelihood from which a pixel is ink
MIDDLE = 0.25  # likelihood from which a peak is the middle of a thing
SCRAP = 0.08  # of a thing's largest part: a smaller one is another thing's
OVER = 0.5  # of a thing's box: where another's covers more, the two were not told apart


class _Network:
    """The network, loaded once; safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._interpreter = Interpreter(model_path=str(MODEL), num_threads=1)
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._shape: tuple[int, ...] = ()

    def __call__(self, canvas: Grey) -> tuple[Plane, Plane, Plane]:
        """Likelihood of ink (h, w) and of a middle (h/4, w/4), and ways (h/2, w/2, 2) in pixels."""
        batch = canvas.astype(np.float32)[None, ..., None] / 255
        with self._lock:
            if batch.shape != self._shape:
                self._interpreter.resize_tensor_input(self._input, batch.shape)
                self._interpreter.allocate_tensors()
                self._shape = batch.shape
            self._interpreter.set_tensor(self._input, batch)
            self._interpreter.invoke()
            said = [
                self._interpreter.get_tensor(end["index"])[0]
                for end in self._interpreter.get_output_details()
            ]
        way = next(one for one in said if one.shape[-1] == 2)
        ink, middle = sorted((one for one in said if one.shape[-1] == 1), key=lambda one: -one.size)
        return _likelihood(ink[..., 0]), _likelihood(middle[..., 0]), way * UNIT


def _likelihood(logits: Plane) -> Plane:
    return np.asarray(1 / (1 + np.exp(-logits.clip(-30, 30))))


@cache
def _network() -> _Network:
    return _Network()


def find(grey: Grey) -> Iterator[tuple[Ink, list[Piece]]]:
    """Find the ink of a picture and its pieces, in several ways, the likeliest first.

    The things that were written, whole though a pen skipped, apart though they touch; then what
    hangs together of the same ink; and that of the ink as the network itself draws it, which is
    coarse and knows strokes that are too faint to be told by their darkness.

    Parameters
    ----------
    grey : uint8 (h, w)
        The picture, in either polarity.

    Yields
    ------
    Ink, list of Piece
        The pieces the largest first; nothing at all where there is no ink.
    """
    canvas, (height, width) = fitted(grey)
    likely, middle, way = _network()(canvas)
    owner = _owners(likely, middle, way)[:height, :width]
    likely = likely[:height, :width]
    coarse = likely > INK
    large = _scaled(likely, grey.shape, Image.Resampling.BILINEAR)
    if not ((large > INK).any() and coarse.any()):
        return
    sharp = where_likely(grey, large)
    yield sharp, _things(sharp.mask, _scaled(owner, grey.shape, Image.Resampling.NEAREST))
    yield sharp, parts_of(sharp.mask)
    shown = canvas[:height, :width]
    drawn = Ink(shown, likely, coarse, np.ones_like(coarse), tight=False, sure=True)
    yield drawn, parts_of(coarse)


def _scaled(
    plane: NDArray[_Scalar], shape: tuple[int, ...], how: Image.Resampling
) -> NDArray[_Scalar]:
    return np.asarray(Image.fromarray(plane).resize((shape[1], shape[0]), how))


def _things(mask: Mask, owner: NDArray[np.int32]) -> list[Piece]:
    """Each thing's ink, the largest first, without the scraps of others that voted for it.

    None at all where one thing lies in another.
    """
    pieces = []
    for number in np.unique(owner[mask]):
        thing = trimmed(Piece(0, 0, mask), mask & (owner == number))
        if thing is None or max(thing.mask.shape) < smallest(mask.shape):
            continue
        parts = connected(thing.mask)
        kept = np.concatenate([[False], parts.area > SCRAP * parts.area.max()])[parts.labels]
        pieces.append(trimmed(thing, kept) or thing)
    if any(_covered(one, other) > OVER for one, other in permutations(pieces, 2)):
        return []
    return sorted(pieces, key=lambda piece: -piece.area)


def _covered(one: Piece, other: Piece) -> float:
    """How much of one piece's box the other's covers, 0 to 1."""
    wide = min(one.right, other.right) - max(one.left, other.left)
    high = min(one.bottom, other.bottom) - max(one.top, other.top)
    return max(wide, 0) * max(high, 0) / (one.width * one.height)


def fitted(grey: Grey) -> tuple[Grey, tuple[int, int]]:
    """Scale a picture to what the network is shown, upright or lying, and how much of it that is.

    Returns
    -------
    uint8 (256, 192) or (192, 256)
        The picture in the upper left corner, its last row and column repeated beyond it.
    tuple of two int
        Height and width of the picture there.
    """
    height, width = grey.shape
    sides = (LONG, SHORT) if height >= width else (SHORT, LONG)
    scale = min(sides[0] / height, sides[1] / width)
    size = tuple(
        min(side, max(1, round(own * scale))) for side, own in zip(sides, grey.shape, strict=True)
    )
    small = np.asarray(Image.fromarray(grey).resize((size[1], size[0]), Image.Resampling.BILINEAR))
    beyond = [(0, side - own) for side, own in zip(sides, size, strict=True)]
    return np.pad(small, beyond, mode="edge"), (size[0], size[1])


def _owners(ink: Plane, middle: Plane, way: Plane) -> NDArray[np.int32]:
    """The thing that each pixel belongs to if it is ink, (h, w), -1 where there is none at all."""
    peaks = (middle > MIDDLE) & (middle >= extreme(np.pad(middle, 1), 3, np.maximum))
    rows, columns = np.nonzero(peaks)
    height, width, _ = way.shape
    owner = np.full((height, width), -1, np.int32)
    if len(rows):
        blocks = ink.reshape(height, HALF, width, HALF).max(axis=(1, 3))
        y, x = np.nonzero(blocks > INK / 2)
        middles = (np.stack([columns, rows], 1) * CELL + (CELL - 1) / 2).astype(np.float32)
        votes = np.stack([x, y], 1) * HALF + (HALF - 1) / 2 + way[y, x]
        far = ((votes[:, None] - middles) ** 2).sum(-1)
        owner[y, x] = far.argmin(1)
    return owner.repeat(HALF, 0).repeat(HALF, 1)
