"""Picture to ink by a small network of its own, and from which thing on the page each bit is.

The classical ways of `digits.ink` know strokes only by their darkness and width. This network has
seen painted pages and knows them by their looks: it tells faint writing from a shadow's rim, a
stroke from the printed line that it crosses, and where one digit ends and the next, which it
touches, begins. It costs more time, so it is asked where they are not sure. It looks twice: at the
whole picture, and then at what is written there, at the size that it knows best.

After Cheng et al., "Panoptic-DeepLab", CVPR 2020: of every pixel the network says whether it is ink
and where the middle of its thing is; the middles are the peaks of a map of their own.
`training_job.finder` trains it.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cache
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
from digits.morphology import extreme, padded

_Scalar = TypeVar("_Scalar", bound=np.generic)

MODEL = Path(__file__).with_name("finder.tflite")

LONG, SHORT = 256, 192  # sides of what the network is shown, pixels
SMALLEST = 100  # pixels of a picture's longer side; what is smaller holds a digit or two
TALL = 64.0  # pixels that what is written is high when it is looked at closely
BESIDE = 0.3  # of that height: how much of the page around it is seen then
CELL = 4  # pixels that one place of the middles' map stands for
HALF = 2  # pixels that one place of the ways' map stands for
UNIT = 32.0  # pixels that a way of 1 stands for
INK = 0.5  # likelihood from which a pixel is ink
FAINT = 0.05  # likelihood from which it may be the rim of some, and belongs to a thing
MIDDLE = 0.25  # likelihood from which a peak is the middle of a thing
SCRAP = 0.08  # of a thing's largest part: a smaller one is another thing's


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


@dataclass(frozen=True)
class Seen:
    """What the network sees in a picture.

    Attributes
    ----------
    ink : Ink
        What was written.
    parts : list of Piece
        What of it hangs together, the largest first.
    things : list of Piece
        What of it belongs together, the largest first: whole though a pen skipped, apart though
        they touch.
    """

    ink: Ink
    parts: list[Piece]
    things: list[Piece]


@dataclass(frozen=True)
class _Look:
    """The network's word on a window of a picture.

    Attributes
    ----------
    likely : float32 (h, w)
        How likely each pixel of the picture is ink, 0 outside the window.
    owner : int32 (h, w)
        The thing that it belongs to if it is, -1 outside the window or where there is none.
    """

    likely: Plane
    owner: NDArray[np.int32]


def find(grey: Grey) -> list[Seen]:
    """Find the ink of a picture and its things, the likeliest way first.

    The ink closely looked at; that as the network itself draws it, which knows strokes that are too
    faint to be told by their darkness; and the ink of the picture looked at as a whole.

    Parameters
    ----------
    grey : uint8 (h, w)
        The picture, in either polarity.

    Returns
    -------
    list of Seen
        Empty where there is no ink.
    """
    whole = _look(grey, (slice(0, grey.shape[0]), slice(0, grey.shape[1])))
    written = parts_of(whole.likely > INK)
    if not written:
        return []
    close = _look(grey, *_around(written, grey.shape))
    drawn = close.likely > INK
    if not drawn.any():
        return [_seen(where_likely(grey, whole.likely), whole)]
    return [
        _seen(where_likely(grey, close.likely), close),
        _seen(Ink(grey, close.likely, drawn, np.ones_like(drawn), tight=False, sure=True), close),
        _seen(where_likely(grey, whole.likely), whole),
    ]


def _look(grey: Grey, window: tuple[slice, slice], most: float = np.inf) -> _Look:
    """Look at a window of a picture, enlarged at most `most` times."""
    seen = grey[window]
    canvas, (height, width) = fitted(seen, most)
    likely, middle, way = _network()(canvas)
    owner = _owners(likely, middle, way)[:height, :width]
    look = _Look(np.zeros(grey.shape, np.float32), np.full(grey.shape, -1, np.int32))
    look.likely[window] = _scaled(likely[:height, :width], seen.shape, Image.Resampling.BILINEAR)
    look.owner[window] = _scaled(owner, seen.shape, Image.Resampling.NEAREST)
    return look


def _around(written: list[Piece], shape: tuple[int, ...]) -> tuple[tuple[slice, slice], float]:
    """The window of a picture with what is written in it, and how much to enlarge that."""
    tallest = max(piece.height for piece in written)
    height = float(np.median([piece.height for piece in written if piece.height > tallest / 2]))
    margin = round(BESIDE * height)
    rows = slice(
        max(0, min(piece.top for piece in written) - margin),
        min(shape[0], max(piece.bottom for piece in written) + margin),
    )
    columns = slice(
        max(0, min(piece.left for piece in written) - margin),
        min(shape[1], max(piece.right for piece in written) + margin),
    )
    return (rows, columns), TALL / height


def _seen(ink: Ink, look: _Look) -> Seen:
    return Seen(ink, parts_of(ink.mask), _things(ink.mask, look.owner))


def _scaled(
    plane: NDArray[_Scalar], shape: tuple[int, ...], how: Image.Resampling
) -> NDArray[_Scalar]:
    return np.asarray(Image.fromarray(plane).resize((shape[1], shape[0]), how))


def _things(mask: Mask, owner: NDArray[np.int32]) -> list[Piece]:
    """Each thing's ink, the largest first, without the scraps of others that voted for it."""
    pieces = []
    for number in np.unique(owner[mask & (owner >= 0)]):
        thing = trimmed(Piece(0, 0, mask), mask & (owner == number))
        if thing is None or max(thing.mask.shape) < smallest(mask.shape):
            continue
        parts = connected(thing.mask)
        kept = parts.where(parts.area > SCRAP * parts.area.max())
        pieces.append(trimmed(thing, kept) or thing)
    return sorted(pieces, key=lambda piece: -piece.area)


def fitted(grey: Grey, most: float = np.inf) -> tuple[Grey, tuple[int, int]]:
    """Scale a picture to what the network is shown, upright or lying, and how much of it that is.

    Parameters
    ----------
    grey : uint8 (h, w)
        The picture.
    most
        How much it may be enlarged.

    Returns
    -------
    uint8 (256, 192) or (192, 256)
        The picture in the upper left corner, its last row and column repeated beyond it.
    tuple of two int
        Height and width of the picture there.
    """
    height, width = grey.shape
    sides = (LONG, SHORT) if height >= width else (SHORT, LONG)
    scale = min(sides[0] / height, sides[1] / width, most)
    size = tuple(
        min(side, max(1, round(own * scale))) for side, own in zip(sides, grey.shape, strict=True)
    )
    small = np.asarray(Image.fromarray(grey).resize((size[1], size[0]), Image.Resampling.BILINEAR))
    beyond = [(0, side - own) for side, own in zip(sides, size, strict=True)]
    return np.pad(small, beyond, mode="edge"), (size[0], size[1])


def _owners(ink: Plane, middle: Plane, way: Plane) -> NDArray[np.int32]:
    """The thing that each pixel belongs to if it is ink, (h, w), -1 where there is none at all."""
    peaks = (middle > MIDDLE) & (middle >= extreme(padded(middle, 1), 3, np.maximum))
    rows, columns = np.nonzero(peaks)
    height, width, _ = way.shape
    owner = np.full((height, width), -1, np.int32)
    if len(rows):
        blocks = ink.reshape(height, HALF, width, HALF).max(axis=(1, 3))
        y, x = np.nonzero(blocks > FAINT)
        middles = (np.stack([columns, rows], 1) * CELL + (CELL - 1) / 2).astype(np.float32)
        votes = np.stack([x, y], 1) * HALF + (HALF - 1) / 2 + way[y, x]
        far = ((votes[:, None] - middles) ** 2).sum(-1)
        owner[y, x] = far.argmin(1)
    return owner.repeat(HALF, 0).repeat(HALF, 1)
