"""Instance segmentation of a picture: which pixels are ink, and to which glyph each belongs.

The binarisation in `digits.ink` detects ink by darkness and width only. The segmentation network,
which is trained on rendered pages, separates faint writing from the edges of shadows, strokes from
ruling lines that cross them, and digits that touch. It takes more time, so it runs only if the
result of binarisation is uncertain: once on the whole picture, then on the part with writing, at
the scale that the network was trained for.

The network outputs the probability of ink, a heat map of the glyphs' centres, and the offset from
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
from digits.ink import Ink, Mask, Plane, binarise_where
from digits.layout import Piece, parts_of, smallest, trimmed
from digits.morphology import extreme, padded

_Scalar = TypeVar("_Scalar", bound=np.generic)

LONG, SHORT = 256, 192  # pixels, sides of the network's input
# Pixels, longer side below which a picture is not segmented by the network; it has one or two
# digits. This and the next two were chosen by eye on development pictures.
SMALLEST = 100
TALL = 64.0  # pixels, height to which the writing is scaled for the second run
BESIDE = 0.3  # share of the writing's height: margin around it in the second run
CELL = 4  # pixels, stride of the centre heat map
HALF = 2  # pixels, stride of the offset field
UNIT = 32.0  # pixels of an offset of 1


class Segmenter:
    """The segmentation network of one bundle, with its thresholds. Thread-safe.

    A pickled segmenter contains the network's bytes; unpickling loads them into LiteRT again.

    Parameters
    ----------
    tflite
        The bytes of the network's LiteRT file.
    config
        Thresholds on its outputs.

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

    def find(self, grey: Grey) -> list[Segmentation]:
        """Segment the ink and the glyphs of a picture.

        Parameters
        ----------
        grey : uint8 (h, w)
            The picture, in either polarity.

        Returns
        -------
        list of Segmentation
            The likeliest first: the part with writing, binarised where the network finds ink; the
            same part by the network's probability alone, which includes strokes that are too faint
            for binarisation; and the whole picture, binarised. Empty if there is no ink.
        """
        whole = self._segment(grey, (slice(0, grey.shape[0]), slice(0, grey.shape[1])))
        written = parts_of(whole.likely > self._config.ink)
        if not written:
            return []
        close = self._segment(grey, *_around(written, grey.shape))
        drawn = close.likely > self._config.ink
        if not drawn.any():
            return [self._segmentation(binarise_where(grey, whole.likely), whole)]
        own = Ink(grey, close.likely, drawn, np.ones_like(drawn), tight=False, sure=True)
        return [
            self._segmentation(binarise_where(grey, close.likely), close),
            self._segmentation(own, close),
            self._segmentation(binarise_where(grey, whole.likely), whole),
        ]

    def _segment(self, grey: Grey, window: tuple[slice, slice], most: float = np.inf) -> _Outputs:
        """Run the network on a window of a picture, enlarged at most `most` times."""
        seen = grey[window]
        canvas, (height, width) = fitted(seen, most)
        likely, centre, offset = self._run(canvas)
        owner = _owners(likely, centre, offset, self._config)[:height, :width]
        outputs = _Outputs(np.zeros(grey.shape, np.float32), np.full(grey.shape, -1, np.int32))
        likely = likely[:height, :width]
        outputs.likely[window] = _scaled(likely, seen.shape, Image.Resampling.BILINEAR)
        outputs.owner[window] = _scaled(owner, seen.shape, Image.Resampling.NEAREST)
        return outputs

    def _segmentation(self, ink: Ink, outputs: _Outputs) -> Segmentation:
        instances = _instances(ink.mask, outputs.owner, self._config.scrap)
        return Segmentation(ink, parts_of(ink.mask), instances)

    def _run(self, canvas: Grey) -> tuple[Plane, Plane, Plane]:
        """Return probability of ink (h, w), heat map (h/4, w/4), offsets (h/2, w/2, 2), pixels."""
        batch = canvas.astype(np.float32)[None, ..., None] / 255
        with self._lock:
            if batch.shape != self._shape:
                self._interpreter.resize_tensor_input(self._input, batch.shape)
                self._interpreter.allocate_tensors()
                self._shape = batch.shape
            self._interpreter.set_tensor(self._input, batch)
            self._interpreter.invoke()
            outputs = [self._interpreter.get_tensor(index)[0] for index in self._outputs]
        offset = next(one for one in outputs if one.shape[-1] == 2)
        planes = (one for one in outputs if one.shape[-1] == 1)
        ink, centre = sorted(planes, key=lambda one: -one.size)
        return _sigmoid(ink[..., 0]), _sigmoid(centre[..., 0]), offset * UNIT


def _sigmoid(logits: Plane) -> Plane:
    return np.asarray(1 / (1 + np.exp(-logits.clip(-30, 30))))


@dataclass(frozen=True)
class Segmentation:
    """A segmentation of a picture.

    Attributes
    ----------
    ink : Ink
        The ink.
    pieces : list of Piece
        Its connected components, the largest first.
    instances : list of Piece
        Its glyph instances, the largest first. An instance can have several components, and several
        instances can share one.
    """

    ink: Ink
    pieces: list[Piece]
    instances: list[Piece]


@dataclass(frozen=True)
class _Outputs:
    """The network's outputs for a window, at the picture's resolution.

    Attributes
    ----------
    likely : float32 (h, w)
        Probability of ink at each pixel of the picture; 0 outside the window.
    owner : int32 (h, w)
        Number of the glyph that each pixel belongs to if it is ink; -1 outside the window, and
        where no glyph is near.
    """

    likely: Plane
    owner: NDArray[np.int32]


def _around(written: list[Piece], shape: tuple[int, ...]) -> tuple[tuple[slice, slice], float]:
    """Return the window of a picture that contains the writing, and the scale to enlarge it by."""
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


def _instances(mask: Mask, owner: NDArray[np.int32], scrap: float) -> list[Piece]:
    """Return each glyph's ink, the largest first, without components of at most `scrap`."""
    pieces = []
    for number in np.unique(owner[mask & (owner >= 0)]):
        glyph = trimmed(Piece(0, 0, mask), mask & (owner == number))
        if glyph is None or max(glyph.mask.shape) < smallest(mask.shape):
            continue
        parts = connected(glyph.mask)
        kept = parts.where(parts.area > scrap * parts.area.max())
        pieces.append(trimmed(glyph, kept) or glyph)
    return sorted(pieces, key=lambda piece: -piece.area)


def fitted(grey: Grey, most: float = np.inf) -> tuple[Grey, tuple[int, int]]:
    """Scale a picture to the network's input, in portrait or landscape format.

    Parameters
    ----------
    grey : uint8 (h, w)
        The picture.
    most
        Largest scale.

    Returns
    -------
    uint8 (256, 192) or (192, 256)
        The picture in the upper left corner, padded with copies of its last row and column.
    tuple of two int
        Height and width of the scaled picture without the padding.
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


def _owners(
    ink: Plane, heat: Plane, offsets: Plane, config: SegmentationConfig
) -> NDArray[np.int32]:
    """Return the number of the glyph that each pixel belongs to if it is ink, (h, w); else -1."""
    peaks = (heat > config.centre) & (heat >= extreme(padded(heat, 1), 3, np.maximum))
    rows, columns = np.nonzero(peaks)
    height, width, _ = offsets.shape
    owner = np.full((height, width), -1, np.int32)
    if len(rows):
        blocks = ink.reshape(height, HALF, width, HALF).max(axis=(1, 3))
        y, x = np.nonzero(blocks > config.faint_ink)
        centres = (np.stack([columns, rows], 1) * CELL + (CELL - 1) / 2).astype(np.float32)
        votes = np.stack([x, y], 1) * HALF + (HALF - 1) / 2 + offsets[y, x]
        far = ((votes[:, None] - centres) ** 2).sum(-1)
        owner[y, x] = far.argmin(1)
    return owner.repeat(HALF, 0).repeat(HALF, 1)
