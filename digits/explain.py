"""Explanations of one digit: the classifier's input, an occlusion map and feature maps."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from digits.results import Explain, Explanation, FeatureMaps

if TYPE_CHECKING:
    from digits.recognition.classification import Network

Frames = NDArray[np.float32]
Grey = NDArray[np.uint8]

# Digits of a picture that are explained in full; bounds the time and the size of the response.
MOST = 32

_SIDE = 28  # pixels, of a frame
_STRIDE = 2  # pixels between the centres of occluded squares
_PATCH = 6  # pixels, side of an occluded square: twice a stroke's width, so that it interrupts one
_LEAST = 0.01  # log-odds; a map whose largest value is below it is not amplified, as it is noise

_GAP = 1  # pixels between feature maps
_GAP_GREY = 96  # grey level of the gaps

# Colour stops of the heat map, low to high, in red, green and blue. They differ in lightness, so
# that they can be distinguished with any colour vision.
_HEAT = np.array([(87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)], np.float64)


def explain(frame: Frames, digit: int, network: Network, how: Explain) -> Explanation:
    """Return the explanation of one digit that the interfaces show.

    Parameters
    ----------
    frame : float32 (28, 28)
        The classifier's input: white ink on black in 0..1.
    digit
        The digit that it was read as, 0 to 9.
    network
        The classifier's network; it is run only for a full explanation.
    how
        ``"frame"`` for the frame only; ``"full"`` for the occlusion map and the feature maps too.
    """
    shown = _png_base64(np.round(frame * 255).astype(np.uint8))
    if how == "frame":
        return Explanation(frame=shown)
    return Explanation(
        frame=shown,
        occlusion=_png_base64(occlusion(frame, digit, network.logits)),
        feature_maps=tuple(
            FeatureMaps(layer=layer, png=_png_base64(tiled(maps)))
            for layer, maps in network.activations(frame)
        ),
    )


def occlusion(frame: Frames, digit: int, logits: Callable[[Frames], Frames]) -> Grey:
    """Compute the occlusion map: how much the classification depends on each pixel of the frame.

    Each value is the decrease of the log-odds of `digit` against the other digits when a square of
    6×6 pixels around the pixel is made black, which removes its ink. Log-odds are used because a
    probability near one hardly changes. The squares are 2 pixels apart and classified in one batch;
    the map of 14×14 is enlarged by cubic interpolation.

    After Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014,
    section 4.2.

    Parameters
    ----------
    frame : float32 (28, 28)
        White ink on black in 0..1.
    digit
        The digit that the frame was read as, 0 to 9.
    logits
        Maps frames, float32 (n, 28, 28), to the logits of the ten digits, float32 (n, 10).

    Returns
    -------
    uint8 (28, 28)
        255 at the largest decrease, 0 where the log-odds do not change or increase; 0 everywhere if
        no square changes them noticeably.
    """
    steps = _SIDE // _STRIDE
    starts = np.arange(steps) * _STRIDE + (_STRIDE - _PATCH) // 2
    pixels = np.arange(_SIDE)
    covered = (pixels >= starts[:, np.newaxis]) & (pixels < starts[:, np.newaxis] + _PATCH)
    squares = covered[:, np.newaxis, :, np.newaxis] & covered[np.newaxis, :, np.newaxis, :]
    occluded = np.where(squares, np.float32(0), frame).reshape(-1, _SIDE, _SIDE)

    scores = logits(np.concatenate([frame[np.newaxis], occluded])).astype(np.float64)
    others = np.logaddexp.reduce(np.delete(scores, digit, axis=1), axis=1)
    log_odds = scores[:, digit] - others
    fall = np.maximum(log_odds[0] - log_odds[1:], 0).reshape(steps, steps)

    small = Image.fromarray(fall.astype(np.float32))
    smooth = np.asarray(small.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)).clip(0)
    scaled: Grey = np.round(255 * smooth / max(smooth.max(), _LEAST)).astype(np.uint8)
    return scaled


def tiled(maps: NDArray[np.float32]) -> Grey:
    """Arrange feature maps in a grid that is as nearly square as possible.

    Parameters
    ----------
    maps : float32 (height, width, channels)
        A layer's activations.

    Returns
    -------
    uint8 (rows * (height + 1) - 1, columns * (width + 1) - 1)
        The maps row by row, with grey gaps. Each map is scaled separately: black is no activation,
        white its largest activation.
    """
    height, width, channels = maps.shape
    columns = int(np.ceil(np.sqrt(channels)))
    rows = -(-channels // columns)
    scaled = np.maximum(maps, 0) / np.maximum(maps.max(axis=(0, 1)), 1e-6)
    cells = np.full((rows * columns, height + _GAP, width + _GAP), _GAP_GREY, np.uint8)
    cells[:channels, :height, :width] = np.round(255 * np.moveaxis(scaled, -1, 0))
    lines = cells.reshape(rows, columns, height + _GAP, width + _GAP).swapaxes(1, 2)
    whole: Grey = lines.reshape(rows * (height + _GAP), columns * (width + _GAP))
    return whole[:-_GAP, :-_GAP]


def overlay(explanation: Explanation, zoom: int = 5) -> Image.Image:
    """Draw the occlusion map as a heat map over the frame, both enlarged by `zoom`; RGB.

    Pixels of no influence show the frame, dimmed; pixels of the largest influence are pale yellow.
    """
    assert explanation.occlusion is not None  # noqa: S101 - asked of full explanations only
    size = (_SIDE * zoom, _SIDE * zoom)
    frame = picture(explanation.frame).resize(size, Image.Resampling.NEAREST)
    heat = picture(explanation.occlusion).resize(size, Image.Resampling.BICUBIC)
    grey = np.asarray(frame, np.float64)[..., np.newaxis] * 0.6
    strength = np.asarray(heat, np.float64) / 255
    stops = np.linspace(0, 1, len(_HEAT))
    colour = np.stack([np.interp(strength, stops, channel) for channel in _HEAT.T], axis=-1)
    share = 0.85 * np.sqrt(strength)[..., np.newaxis]
    return Image.fromarray(np.round(grey * (1 - share) + colour * share).astype(np.uint8))


def picture(png_base64: str) -> Image.Image:
    """Decode one of an explanation's base64 PNGs."""
    return Image.open(io.BytesIO(base64.b64decode(png_base64)))


def _png_base64(pixels: Grey) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")
