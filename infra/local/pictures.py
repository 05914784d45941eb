"""Twenty images of real digits in common formats and under usual names, and one text file.

Each is one of MNIST's test images, which are not in the training data: some unchanged, some
rendered as ink on paper.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MNIST = Path(__file__).parents[2] / "training_job/data/mnist.npz"

Grey = NDArray[np.uint8]


@dataclass(frozen=True)
class Picture:
    """A file to label, with its key in the bucket; `truth` is None if it is not an image."""

    key: str
    data: bytes
    truth: int | None


def pictures() -> list[Picture]:
    """Return the files that `make run` uploads to the bucket and posts to the API."""
    with np.load(MNIST, allow_pickle=False) as arrays:
        images, truths = arrays["x_test"][: len(_FORMS)], arrays["y_test"][: len(_FORMS)]
    made = [
        Picture(key, make(image), int(truth))
        for (key, make), image, truth in zip(_FORMS.items(), images, truths, strict=True)
    ]
    return [*made, Picture("not an image.png", b"This is a text, whatever its name says.\n", None)]


def _saved(
    form: Callable[[Grey], Image.Image], kind: str, **options: Any
) -> Callable[[Grey], bytes]:
    def make(image: Grey) -> bytes:
        buffer = io.BytesIO()
        form(image).save(buffer, kind, **options)
        return buffer.getvalue()

    return make


def _as_is(image: Grey) -> Image.Image:
    """Return the digit white on black, 28×28, as in MNIST."""
    return Image.fromarray(image)


def _inverted(image: Grey) -> Image.Image:
    """Return the digit black on white, 28×28."""
    return Image.fromarray(255 - image)


def _coverage(image: Grey) -> NDArray[np.float64]:
    """Place the digit's ink (0 to 1, 280×280) on a page of 480×360."""
    large = np.asarray(Image.fromarray(image).resize((280, 280), Image.Resampling.BICUBIC))
    page = np.zeros((480, 360))
    page[80:360, 40:320] = large / 255
    return page


def _drawn(paper: tuple[int, int, int], ink: tuple[int, int, int]) -> Callable[[Grey], Image.Image]:
    """Render the digit in an ink colour on a paper colour, darker towards one side."""

    def draw(image: Grey) -> Image.Image:
        coverage = _coverage(image)[..., np.newaxis]
        light = np.linspace(1.0, 0.85, coverage.shape[1])[np.newaxis, :, np.newaxis]
        colours = (coverage * np.array(ink) + (1 - coverage) * np.array(paper)) * light
        return Image.fromarray(colours.round().astype(np.uint8))

    return draw


def _grey_page(image: Grey) -> Image.Image:
    return _drawn((235, 235, 235), (40, 40, 40))(image).convert("L")


def _transparent(image: Grey) -> Image.Image:
    """Render the digit in black on a transparent background."""
    alpha = Image.fromarray((_coverage(image) * 255).round().astype(np.uint8))
    picture = Image.new("RGBA", alpha.size, (0, 0, 0, 0))
    picture.putalpha(alpha)
    return picture


def _sixteen_bits(image: Grey) -> Image.Image:
    return Image.fromarray(((1 - _coverage(image)) * 65535).round().astype(np.uint16))


def _palette(image: Grey) -> Image.Image:
    return _blue_on_cream(image).convert("P", palette=Image.Palette.ADAPTIVE, colors=32)


def _bilevel(image: Grey) -> Image.Image:
    return _grey_page(image).point(lambda value: 255 * (value > 127)).convert("1")


_blue_on_cream = _drawn((250, 244, 225), (25, 45, 140))
_chalk_on_board = _drawn((35, 60, 50), (235, 235, 225))
_pencil_on_paper = _drawn((245, 245, 240), (120, 120, 125))

_FORMS: dict[str, Callable[[Grey], bytes]] = {
    "mnist.png": _saved(_as_is, "PNG"),
    "inverted.png": _saved(_inverted, "PNG"),
    "blue ink on cream.jpg": _saved(_blue_on_cream, "JPEG", quality=85),
    "chalk+board.jpg": _saved(_chalk_on_board, "JPEG", quality=85),
    "écolière/crayon à papier.jpeg": _saved(_pencil_on_paper, "JPEG", quality=80),
    "2026/11/scans/page 1 (final).tif": _saved(_grey_page, "TIFF"),
    "photo.webp": _saved(_blue_on_cream, "WEBP", quality=80),
    "old.bmp": _saved(_grey_page, "BMP"),
    "palette.gif": _saved(_palette, "GIF"),
    "transparent.png": _saved(_transparent, "PNG"),
    "sixteen-bit.png": _saved(_sixteen_bits, "PNG"),
    "one bit.png": _saved(_bilevel, "PNG"),
    "UPPER.PNG": _saved(_blue_on_cream, "PNG"),
    "no-extension": _saved(_grey_page, "PNG"),
    "100%.png": _saved(_chalk_on_board, "PNG"),
    "a&b=c;d.png": _saved(_pencil_on_paper, "PNG"),
    "数字.png": _saved(_inverted, "PNG"),
    "strong compression.jpg": _saved(_blue_on_cream, "JPEG", quality=15),
    "nested/very/deep/down/here/digit.webp": _saved(_grey_page, "WEBP", lossless=True),
    "#hash?query.jpg": _saved(_grey_page, "JPEG", quality=90),
}
