"""Render the inside of the classifier as HTML: saliency, and one digit's way through the layers.

Pure functions of a reading.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from PIL import Image

from digits import explain
from digits.results import Digit, Explanation, ImageInfo
from streamlit_app import cards, preview
from streamlit_app.engine import Reading

_MARGIN = 0.25  # margin around a digit's crop, as a share of its larger side
_GLOW = (232, 90, 0)  # visible on paper and slate, also to colour-blind people
_OPAQUE = 0.85  # opacity of the brightest glow
_INK = 26  # of 255: fainter pixels are a stroke's soft edge
_FOUND = ("It looks for edges and strokes.", "It looks for bends and crossings.")


def shown(reading: Reading, layers: Sequence[Mapping[str, Any]]) -> str:
    """Render the saliency and the layers of every fully explained digit of a picture.

    Parameters
    ----------
    layers
        The classifier's layers from the bundle's report; empty if they are not known.
    """
    result = reading.result
    if result is None:
        return ""
    explained = [
        (digit, digit.explanation)
        for digit in result.digits
        if digit.explanation and digit.explanation.occlusion
    ]
    if not explained:
        return ""
    picture = Image.open(io.BytesIO(base64.b64decode(reading.picture.partition(",")[2])))
    flows = "".join(_flow(*pair, picture, result.image, layers) for pair in explained)
    return (
        '<section class="inside" aria-label="Inside the network">'
        f"{_what_mattered(reading, explained, result.image)}{flows}</section>"
    )


def _what_mattered(
    reading: Reading, explained: Sequence[tuple[Digit, Explanation]], info: ImageInfo
) -> str:
    """Render the picture with a glow over the pixels that the answer depends on."""
    glows = "".join(
        f'<img class="glow" src="{preview.png_uri(_glow(explanation.occlusion or ""))}" alt=""'
        f' style="{cards.placed(_frame_in_picture(digit, explanation), info)}">'
        for digit, explanation in explained
    )
    alt = f"{reading.name}, glowing where the answer depends on the ink"
    return (
        '<div class="mattered"><div class="canvas">'
        f'<img src="{reading.picture}" alt="{escape(alt)}">{glows}</div>'
        "<div><h4>What mattered</h4><p>A small black square covers each place in turn, and the"
        " classifier runs again. The brighter a place glows, the more the answer depends on it.</p>"
        "</div></div>"
    )


def _flow(
    digit: Digit,
    explanation: Explanation,
    picture: Image.Image,
    info: ImageInfo,
    layers: Sequence[Mapping[str, Any]],
) -> str:
    """Render one digit's steps from the picture to ten probabilities."""
    steps = [
        _step(
            "Found", "It is cut out of the picture.", _picture(_cut_out(digit, picture, info), "")
        ),
        _step(
            "Made plain",
            "White on black, 28 × 28 pixels, centred.",
            _picture(f"data:image/png;base64,{escape(explanation.frame)}", "pixels"),
        ),
    ]
    for place, maps in enumerate(explanation.feature_maps or ()):
        title = f"Layer {place + 1}{_size(layers, place)}"
        source = f"data:image/png;base64,{escape(maps.png)}"
        steps.append(_step(title, _FOUND[min(place, 1)], _picture(source, "pixels")))
    if deeper := _deeper(layers, len(explanation.feature_maps or ())):
        steps.append(
            _step("Deeper", "Each layer combines the features of the layer before.", deeper)
        )
    steps.append(
        _step("Ten probabilities", "The digit of the highest one is the answer.", cards.bars(digit))
    )
    return (
        f'<h4>How the {digit.digit} goes through the network</h4><ol class="flow"'
        f' aria-label="The {digit.digit}, step by step">{"".join(steps)}</ol>'
    )


def _step(title: str, words: str, body: str) -> str:
    return f"<li><b>{title}</b><div>{body}</div><span>{words}</span></li>"


def _picture(uri: str, kind: str) -> str:
    return f'<img class="{kind}" src="{uri}" alt="">'


def _convolutions(layers: Sequence[Mapping[str, Any]]) -> list[tuple[int, ...]]:
    """Return height, width and number of maps of each convolution's output."""
    return [tuple(layer["output"]) for layer in layers if layer["kind"] == "Conv2D"]


def _size(layers: Sequence[Mapping[str, Any]], place: int) -> str:
    sizes = _convolutions(layers)
    return f" · {sizes[place][-1]} filters" if place < len(sizes) else ""


def _deeper(layers: Sequence[Mapping[str, Any]], seen: int) -> str:
    """Render the deeper layers, which have no feature maps here, by their sizes."""
    rows = "".join(
        f'<i style="--side:{height}">{maps} × <small>{height} × {width}</small></i>'
        for height, width, maps in _convolutions(layers)[seen:]
    )
    return f'<div class="deeper">{rows}</div>' if rows else ""


def _cut_out(digit: Digit, picture: Image.Image, info: ImageInfo) -> str:
    """Crop the digit with a margin from the small picture of a reading."""
    across, down = picture.width / info.width, picture.height / info.height
    x, y, width, height = digit.box
    half = (0.5 + _MARGIN) * max(width * across, height * down, 1)
    middle = (x + width / 2) * across, (y + height / 2) * down
    left, top = (max(0, int(at - half)) for at in middle)
    right = min(picture.width, round(middle[0] + half))
    bottom = min(picture.height, round(middle[1] + half))
    return preview.png_uri(picture.crop((left, top, max(right, left + 1), max(bottom, top + 1))))


def _glow(occlusion: str) -> Image.Image:
    """Convert an occlusion map to a glow, transparent where the answer does not depend on it."""
    strength = explain.picture(occlusion).convert("L").resize((112, 112))
    glow = Image.new("RGBA", strength.size, _GLOW)
    glow.putalpha(strength.point(lambda level: level * _OPAQUE))
    return glow


def _frame_in_picture(digit: Digit, explanation: Explanation) -> tuple[float, float, float, float]:
    """Return the frame's box in the picture: the frame's ink is the digit's box, scaled."""
    ink = np.asarray(explain.picture(explanation.frame).convert("L")) > _INK
    columns, rows = np.flatnonzero(ink.any(axis=0)), np.flatnonzero(ink.any(axis=1))
    x, y, width, height = map(float, digit.box)
    if not columns.size:
        return x, y, width, height
    left, right, top, bottom = columns[0], columns[-1] + 1, rows[0], rows[-1] + 1
    scale = max(width, height) / max(right - left, bottom - top)
    middle = x + width / 2, y + height / 2
    return (
        middle[0] - (left + right) / 2 * scale,
        middle[1] - (top + bottom) / 2 * scale,
        len(ink) * scale,
        len(ink) * scale,
    )
