"""Digits by other hands and pens than MNIST's, as frames.

They are drawn stroke by stroke, or of many typefaces; some, MNIST's own too, are in pictures of a
dozen pixels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from digits import preprocess
from digits.image import COARSE, MIN_SIDE, Picture
from training_job import glyphs, strokes, synthetic_photos
from training_job.data import Split

_TYPED = 0.5  # share that is of typefaces
_SKIPPED = 0.08  # share whose pen skipped
_COARSE = 0.25  # share in a picture of a dozen pixels
_MNIST = 0.5  # share of those that is MNIST's
_BOX = 0.75  # width over height to which scanned forms bring their digits, more or less
_SMOOTH = 0.4  # share of those that comes enlarged


def frames(count: int, rng: np.random.Generator, *, held_out: bool = False) -> Split:
    """Draw `count` digits; those of typefaces are of the ones to train with, or those held out."""
    x, y = np.empty((count, 28, 28, 1), np.float32), np.empty(count, np.uint8)
    for number in range(count):
        coarse = rng.random() < _COARSE
        if coarse and rng.random() < _MNIST:
            drawing, truth = synthetic_photos.any_digit(rng, held_out=held_out)
            plane = synthetic_photos.stroke(drawing)
        elif rng.random() < _TYPED:
            drawing, truth = glyphs.any_digit(rng, held_out=held_out)
            plane = synthetic_photos.stroke(drawing, rng.uniform(0.3, 0.7))
        else:
            truth = int(rng.integers(10))
            plane = strokes.digit(truth, rng)
        if rng.random() < _SKIPPED:
            plane = synthetic_photos.cut(synthetic_photos.skipped(plane, rng))
        frame = _coarse(plane, rng) if coarse else None
        if frame is None:
            frame = preprocess.frame_of(plane.astype(np.float32))
        x[number, ..., 0] = frame
        y[number] = truth
    return Split(x, y)


def _coarse(plane: synthetic_photos.Plane, rng: np.random.Generator) -> NDArray[np.float32] | None:
    """The frame of a picture 8 to 14 pixels high, filled by the digit; None if it is lost."""
    height = int(rng.integers(8, 15))
    shape = plane.shape[1] / plane.shape[0]
    shape *= (_BOX / shape) ** rng.uniform(0, 1)
    size = (max(1, round(height * shape)), height)
    small = Image.fromarray(plane.astype(np.float32)).resize(size, Image.Resampling.BOX)
    grey = np.round(np.asarray(small).clip(0, 1) * 255).astype(np.uint8)
    beside = max(0, MIN_SIDE - size[0]) + int(rng.integers(0, 3))
    grey = np.pad(grey, ((0, 0), (beside // 2, beside - beside // 2)))
    if rng.random() < _SMOOTH:
        how = Image.Resampling.BICUBIC if rng.random() < 0.5 else Image.Resampling.BILINEAR
        scale = COARSE / max(grey.shape)
        size = (round(grey.shape[1] * scale), round(grey.shape[0] * scale))
        grey = np.asarray(Image.fromarray(grey).resize(size, how))
    mark = preprocess.largest(Picture(grey, grey.shape[1], grey.shape[0], "PNG"))
    return mark.frame if mark else None
