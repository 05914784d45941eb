"""Frames of synthetic digits in other handwriting than MNIST's.

Digits are drawn stroke by stroke or taken from typefaces. Some of these, and some of MNIST's, are
first reduced to pictures of a dozen pixels. All shares were chosen by hand.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from digits import preprocess
from digits.image import COARSE, MIN_SIDE, Picture
from training_job import glyphs, strokes, synthetic_photos
from training_job.data import Split

_TYPEFACE_SHARE = 0.5  # digits from typefaces; the others are drawn stroke by stroke
_PEN_SKIP_SHARE = 0.08  # digits with a gap where the pen skipped
_LOW_RESOLUTION_SHARE = 0.25  # digits in a picture of 8 to 14 pixels height
_MNIST_SHARE = 0.5  # share of MNIST's digits among the low-resolution ones
# Width over height, towards which low-resolution digits are squeezed by a random amount: digits on
# scanned forms are brought to about this aspect.
_FORM_ASPECT = 0.75
_ENLARGED_SHARE = 0.4  # share of low-resolution digits that is smoothly enlarged afterwards


def frames(count: int, rng: np.random.Generator) -> Split:
    """Draw `count` digits, with MNIST's digits and the typefaces that are not held out."""
    x, y = np.empty((count, 28, 28, 1), np.float32), np.empty(count, np.uint8)
    for number in range(count):
        low_resolution = rng.random() < _LOW_RESOLUTION_SHARE
        if low_resolution and rng.random() < _MNIST_SHARE:
            drawing, truth = synthetic_photos.random_digit(rng, held_out=False)
            plane = synthetic_photos.stroke(drawing)
        elif rng.random() < _TYPEFACE_SHARE:
            drawing, truth = glyphs.random_digit(rng, held_out=False)
            plane = synthetic_photos.stroke(drawing, rng.uniform(0.3, 0.7))
        else:
            truth = int(rng.integers(10))
            plane = strokes.digit(truth, rng)
        if rng.random() < _PEN_SKIP_SHARE:
            plane = synthetic_photos.crop_to_ink(synthetic_photos.with_pen_skip(plane, rng))
        frame = _low_resolution_frame(plane, rng) if low_resolution else None
        if frame is None:
            frame = preprocess.frame_of(plane.astype(np.float32))
        x[number, ..., 0] = frame
        y[number] = truth
    return Split(x, y)


def _low_resolution_frame(
    plane: synthetic_photos.Plane, rng: np.random.Generator
) -> NDArray[np.float32] | None:
    """Reduce a digit to a picture of 8 to 14 pixels height and return its frame.

    The digit fills the picture. None if the preprocessing finds no mark in it.
    """
    height = int(rng.integers(8, 15))
    aspect = plane.shape[1] / plane.shape[0]
    aspect *= (_FORM_ASPECT / aspect) ** rng.uniform(0, 1)
    size = (max(1, round(height * aspect)), height)
    small = Image.fromarray(plane.astype(np.float32)).resize(size, Image.Resampling.BOX)
    grey = np.round(np.asarray(small).clip(0, 1) * 255).astype(np.uint8)
    margin = max(0, MIN_SIDE - size[0]) + int(rng.integers(0, 3))
    grey = np.pad(grey, ((0, 0), (margin // 2, margin - margin // 2)))
    if rng.random() < _ENLARGED_SHARE:
        how = Image.Resampling.BICUBIC if rng.random() < 0.5 else Image.Resampling.BILINEAR
        scale = COARSE / max(grey.shape)
        size = (round(grey.shape[1] * scale), round(grey.shape[0] * scale))
        grey = np.asarray(Image.fromarray(grey).resize(size, how))
    mark = preprocess.largest(Picture(grey, grey.shape[1], grey.shape[0], "PNG"))
    return mark.frame if mark else None
