"""Image files for benchmarks: MNIST-size PNGs, and synthetic photos of any size."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageOps

from benchmarks import mnist
from training_job import synthetic_photos

LARGE_JPEG = (4032, 3024)  # a telephone's 12 megapixels


def small(count: int) -> list[bytes]:
    """Return the first `count` of MNIST's test images as PNG files."""
    images, _ = mnist.test_images()
    return [mnist.png(image) for image in images[:count]]


def photo_jpeg(number: int, size: tuple[int, int]) -> bytes:
    """Render a synthetic photo of a digit as JPEG."""
    return _file(_photo(number, size, noise=0), "JPEG", quality=88)


def large_jpeg(number: int) -> bytes:
    """Render a photo of 12 megapixels and 3 to 4 MB, as of a telephone."""
    picture = _photo(number, LARGE_JPEG, noise=6)
    for quality in range(95, 40, -3):
        data = _file(picture, "JPEG", quality=quality)
        if len(data) < 4_000_000:
            return data
    raise ValueError("No quality gives a file of less than 4 MB.")


def photo_png(number: int, size: tuple[int, int]) -> bytes:
    """Render a synthetic photo of a digit as PNG, in colours."""
    return _file(_photo(number, size, noise=3), "PNG", compress_level=6)


def _photo(number: int, size: tuple[int, int], noise: float) -> Image.Image:
    """Render and enlarge a photo; `noise` is its standard deviation, grey levels."""
    images, truths = mnist.test_images()
    sample = synthetic_photos.photo(
        images[number], int(truths[number]), level="medium", seed=number
    )
    with Image.open(io.BytesIO(sample.data)) as picture:
        upright = ImageOps.exif_transpose(picture).convert("RGB")
    long, short = max(size), min(size)
    size = (long, short) if upright.width > upright.height else (short, long)
    large: Image.Image = upright.resize(size, Image.Resampling.BICUBIC)
    if not noise:
        return large
    added = np.random.default_rng(number).normal(0, noise, (*large.size[::-1], 1))
    return Image.fromarray((np.asarray(large) + added).clip(0, 255).astype(np.uint8))


def _file(picture: Image.Image, form: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()
