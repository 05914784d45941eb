"""Instance segmentation of a picture: which pixels are ink, and to which glyph each belongs.

The binarisation in `digits.ink` knows ink only by its darkness and its width. The segmentation
network was trained on rendered pages: it separates faint writing from the edge of a shadow, a
stroke from a ruling line that crosses it, and digits that touch. It costs more time, so it runs
where binarisation alone is not sure: once on the whole picture, then on the part with writing, at
the scale that the network was trained for.

The network gives the probability of ink, a heat map of the glyphs' centres, and the offset from
each pixel to the centre of its glyph (Cheng et al., "Panoptic-DeepLab", CVPR 2020).
`training_job.segmenter` trains it.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray
from PIL import Image

from digits.components import connected
from digits.config import SegmentationConfig
from digits.errors import ModelUnavailable
from digits.image import Grey
from digits.ink import Ink, Mask, Plane, where_likely
from digits.layout import Piece, parts_of, smallest, trimmed
from digits.morphology import extreme, padded

_Scalar = TypeVar("_Scalar", bound=np.generic)

LONG, SHORT = 256, 192  # sides of what the network is shown, pixels
SMALLEST = 100  # pixels of a picture's longer side; what is smaller holds a digit or two
TALL = 64.0  # pixels that what is written is high when it is looked at closely
BESIDE = 0.3  # of that height: how much of the page around it is seen then
CELL = 4  # pixels that one place of the middles' map stands for
HALF = 2  # pixels that one place of the ways' map stands for
UNIT = 32.0  # pixels that a way of 1 stands for


class Segmenter:
    """The segmentation network of one bundle, with its thresholds. Safe to share between threads.

    A pickled segmenter carries the network's bytes and loads them again in the other process.

    Parameters
    ----------
    tflite
        The bytes of the network's file.
    config
        The thresholds that were chosen for it.

    Raises
    ------
    ModelUnavailable
        If the bytes are not a LiteRT model from (n, h, w, 1) to the three outputs.
    """

    def __init__(self, tflite: bytes, config: SegmentationConfig) -> None:
        self._tflite, self._config = tflite, config
        self._lock = threading.Lock()
        try:
            self._interpreter = Interpreter(model_content=tflite, num_threads=1)
            (takes,) = self._interpreter.get_input_details()
            gives = self._interpreter.get_output_details()
            depths = sorted(int(end["shape_signature"][-1]) for end in gives)
        except (ValueError, RuntimeError, IndexError) as error:
            raise ModelUnavailable(
                "LiteRT cannot load the segmentation network; publish the bundle again."
            ) from error
        if len(takes["shape_signature"]) != 4 or depths != [1, 1, 2]:
            raise ModelUnavailable(
                f"The segmentation network has outputs of {depths} channels, not of 1, 1 and 2;"
                " this software cannot run it. Train it again."
            )
        self._input = takes["index"]
        self._outputs = [end["index"] for end in gives]
        self._shape: tuple[int, ...] = ()

    def __reduce__(self) -> tuple[type[Segmenter], tuple[bytes, SegmentationConfig]]:
        return Segmenter, (self._tflite, self._config)

    def find(self, grey: Grey) -> list[Seen]:
        """Find the ink of a picture and its glyphs, the likeliest way first.

        The ink of the part with writing; the same as the network alone segments it, which finds
        strokes that are too faint for binarisation; and the ink of the whole picture.

        Parameters
        ----------
        grey : uint8 (h, w)
            The picture, in either polarity.

        Returns
        -------
        list of Seen
            Empty where there is no ink.
        """
        whole = self._look(grey, (slice(0, grey.shape[0]), slice(0, grey.shape[1])))
        written = parts_of(whole.likely > self._config.ink)
        if not written:
            return []
        close = self._look(grey, *_around(written, grey.shape))
        drawn = close.likely > self._config.ink
        if not drawn.any():
            return [self._seen(where_likely(grey, whole.likely), whole)]
        own = Ink(grey, close.likely, drawn, np.ones_like(drawn), tight=False, sure=True)
        return [
            self._seen(where_likely(grey, close.likely), close),
            self._seen(own, close),
            self._seen(where_likely(grey, whole.likely), whole),
        ]

    def _look(self, grey: Grey, window: tuple[slice, slice], most: float = np.inf) -> _Look:
        """Look at a window of a picture, enlarged at most `most` times."""
        seen = grey[window]
        canvas, (height, width) = fitted(seen, most)
        likely, centre, offset = self._run(canvas)
        owner = _owners(likely, centre, offset, self._config)[:height, :width]
        look = _Look(np.zeros(grey.shape, np.float32), np.full(grey.shape, -1, np.int32))
        likely = likely[:height, :width]
        look.likely[window] = _scaled(likely, seen.shape, Image.Resampling.BILINEAR)
        look.owner[window] = _scaled(owner, seen.shape, Image.Resampling.NEAREST)
        return look

    def _seen(self, ink: Ink, look: _Look) -> Seen:
        things = _things(ink.mask, look.owner, self._config.scrap)
        return Seen(ink, parts_of(ink.mask), things)

    def _run(self, canvas: Grey) -> tuple[Plane, Plane, Plane]:
        """Probability of ink (h, w), centres (h/4, w/4), and offsets (h/2, w/2, 2) in pixels."""
        batch = canvas.astype(np.float32)[None, ..., None] / 255
        with self._lock:
            if batch.shape != self._shape:
                self._interpreter.resize_tensor_input(self._input, batch.shape)
                self._interpreter.allocate_tensors()
                self._shape = batch.shape
            self._interpreter.set_tensor(self._input, batch)
            self._interpreter.invoke()
            said = [self._interpreter.get_tensor(index)[0] for index in self._outputs]
        offset = next(one for one in said if one.shape[-1] == 2)
        ink, centre = sorted((one for one in said if one.shape[-1] == 1), key=lambda one: -one.size)
        return _likelihood(ink[..., 0]), _likelihood(centre[..., 0]), offset * UNIT


def _likelihood(logits: Plane) -> Plane:
    return np.asarray(1 / (1 + np.exp(-logits.clip(-30, 30))))


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


def _scaled(
    plane: NDArray[_Scalar], shape: tuple[int, ...], how: Image.Resampling
) -> NDArray[_Scalar]:
    return np.asarray(Image.fromarray(plane).resize((shape[1], shape[0]), how))


def _things(mask: Mask, owner: NDArray[np.int32], scrap: float) -> list[Piece]:
    """Each glyph's ink, the largest first, without components of at most the share `scrap`."""
    pieces = []
    for number in np.unique(owner[mask & (owner >= 0)]):
        thing = trimmed(Piece(0, 0, mask), mask & (owner == number))
        if thing is None or max(thing.mask.shape) < smallest(mask.shape):
            continue
        parts = connected(thing.mask)
        kept = parts.where(parts.area > scrap * parts.area.max())
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


def _owners(ink: Plane, middle: Plane, way: Plane, config: SegmentationConfig) -> NDArray[np.int32]:
    """The thing that each pixel belongs to if it is ink, (h, w), -1 where there is none at all."""
    peaks = (middle > config.centre) & (middle >= extreme(padded(middle, 1), 3, np.maximum))
    rows, columns = np.nonzero(peaks)
    height, width, _ = way.shape
    owner = np.full((height, width), -1, np.int32)
    if len(rows):
        blocks = ink.reshape(height, HALF, width, HALF).max(axis=(1, 3))
        y, x = np.nonzero(blocks > config.faint_ink)
        middles = (np.stack([columns, rows], 1) * CELL + (CELL - 1) / 2).astype(np.float32)
        votes = np.stack([x, y], 1) * HALF + (HALF - 1) / 2 + way[y, x]
        far = ((votes[:, None] - middles) ** 2).sum(-1)
        owner[y, x] = far.argmin(1)
    return owner.repeat(HALF, 0).repeat(HALF, 1)
