"""Show why: what the network was shown of a digit, what mattered in it and what its layers saw."""

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
    from digits.classifier import Network

Frames = NDArray[np.float32]
Grey = NDArray[np.uint8]

# So many digits of one picture are explained in full: the time and the answer's size stay bounded.
MOST = 32

_SIDE = 28
_STRIDE = 2
_PATCH = 6  # pixels: twice a stroke, so that it cuts one through, and no more
_LEAST = 0.01  # log-odds: below that nothing in the frame matters, and noise is not blown up

_GAP = 1  # pixels between feature maps
_GAP_GREY = 96

# From what hardly matters to what matters most, for an eye of any colour vision: red, green, blue.
_HEAT = np.array([(87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)], np.float64)


def explain(frame: Frames, digit: int, network: Network, how: Explain) -> Explanation:
    """Explain why `network` read `digit` in `frame`: what every interface shows.

    Parameters
    ----------
    frame : float32 (28, 28)
        What the network was shown: white ink on black in 0..1.
    digit
        Its answer, 0 to 9.
    network
        Asked again only for the full explanation.
    how
        ``"frame"`` for the frame alone; ``"full"`` for the occlusion map and the feature maps too.
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
    """How much each place of the frame matters for the answer.

    Each value is how far the log-odds of `digit` against all the others fall when a square of 6×6
    pixels around the place is made black, as if there were no ink. Log-odds, since a probability
    near one hardly moves. The squares lie 2 pixels apart, all in one call of the network, and the
    map of 14×14 is enlarged by cubic interpolation.

    After Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014,
    section 4.2.

    Parameters
    ----------
    frame : float32 (28, 28)
        White ink on black in 0..1.
    digit
        The answer, 0 to 9.
    logits
        From frames, float32 (n, 28, 28), to the scores of the ten digits, float32 (n, 10).

    Returns
    -------
    uint8 (28, 28)
        255 where the fall is largest, 0 where the log-odds do not change or rise; 0
        everywhere if nothing matters.
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
    """Feature maps side by side, as nearly square as may be.

    Parameters
    ----------
    maps : float32 (height, width, channels)
        A layer's activations.

    Returns
    -------
    uint8 (rows * (height + 1) - 1, columns * (width + 1) - 1)
        The maps line by line, grey between them and where a line is not full; each on a scale of
        its own from black, where it is silent, to white.
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
    """The occlusion map as heat upon the frame, in colour, both enlarged by `zoom`.

    What does not matter keeps its grey, dimmed; what matters most is a pale yellow.
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
    """One of an explanation's pictures, opened."""
    return Image.open(io.BytesIO(base64.b64decode(png_base64)))


def _png_base64(pixels: Grey) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")
