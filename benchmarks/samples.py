"""Files as they come: MNIST-size PNGs, and synthetic photos of any size."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageOps

from benchmarks import mnist
from training_job import synthetic_photos

LARGE_JPEG = (4032, 3024)  # a telephone's 12 megapixels


def small(count: int) -> list[bytes]:
    """The first of MNIST's test images as PNG files."""
    images, _ = mnist.test_images()
    return [mnist.png(image) for image in images[:count]]


def photo_jpeg(number: int, size: tuple[int, int], *, quality: int = 88, grain: float = 0) -> bytes:
    """A synthetic photo of a digit as JPEG; `grain` is a sensor's noise, a standard deviation."""
    return _file(_photo(number, size, grain), "JPEG", quality=quality)


def large_jpeg(number: int) -> bytes:
    """A photo of 12 megapixels and 3 to 4 MB, as telephones make them."""
    picture = _photo(number, LARGE_JPEG, grain=6)
    for quality in range(95, 40, -3):
        data = _file(picture, "JPEG", quality=quality)
        if len(data) < 4_000_000:
            return data
    raise ValueError("No quality gives a file of less than 4 MB.")


def photo_png(number: int, size: tuple[int, int]) -> bytes:
    """A synthetic photo of a digit as PNG, in colours."""
    return _file(_photo(number, size, grain=3), "PNG", compress_level=6)


def _photo(number: int, size: tuple[int, int], grain: float) -> Image.Image:
    images, truths = mnist.test_images()
    sample = synthetic_photos.photo(
        images[number], int(truths[number]), level="medium", seed=number
    )
    with Image.open(io.BytesIO(sample.data)) as picture:
        upright = ImageOps.exif_transpose(picture).convert("RGB")
    long, short = max(size), min(size)
    size = (long, short) if upright.width > upright.height else (short, long)
    large: Image.Image = upright.resize(size, Image.Resampling.BICUBIC)
    if not grain:
        return large
    noise = np.random.default_rng(number).normal(0, grain, (*large.size[::-1], 1))
    return Image.fromarray((np.asarray(large) + noise).clip(0, 255).astype(np.uint8))


def _file(picture: Image.Image, form: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()
