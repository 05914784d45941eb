"""MNIST's test images as uint8 pixels and as PNG files."""

from __future__ import annotations

import io
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training_job import data


@cache
def test_images() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return images, uint8 (10000, 28, 28), white on black, and labels, uint8 (10000,)."""
    with np.load(data.BUNDLED, allow_pickle=False) as arrays:
        return arrays["x_test"], arrays["y_test"]


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode grey pixels, uint8 (height, width), as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
