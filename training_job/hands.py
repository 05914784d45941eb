"""Digits by other hands than MNIST's, as frames: drawn stroke by stroke, and of many typefaces."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from digits import preprocess
from digits.image import MIN_SIDE, Picture
from training_job import glyphs, photos, strokes
from training_job.data import Split

_TYPED = 0.25  # share that is of typefaces
_SKIPPED = 0.08  # share whose pen skipped
_COARSE = 0.2  # share in a picture of a dozen pixels


def frames(count: int, rng: np.random.Generator, *, held_out: bool = False) -> Split:
    """Draw `count` digits; those of typefaces are of the ones to train with, or those held out."""
    typed = glyphs.load(held_out=held_out, digits=True)
    x, y = np.empty((count, 28, 28, 1), np.float32), np.empty(count, np.uint8)
    for number in range(count):
        if rng.random() < _TYPED:
            place = int(rng.integers(len(typed)))
            truth = int(typed.characters[place])
            plane = photos.stroke(typed.images[place], rng.uniform(0.3, 0.7))
        else:
            truth = int(rng.integers(10))
            plane = strokes.digit(truth, rng)
        if rng.random() < _SKIPPED:
            plane = photos.cut(photos.skipped(plane, rng))
        frame = _coarse(plane, rng) if rng.random() < _COARSE else None
        if frame is None:
            frame = preprocess.frame_of(plane.astype(np.float32))
        x[number, ..., 0] = frame
        y[number] = truth
    return Split(x, y)


def _coarse(plane: photos.Plane, rng: np.random.Generator) -> NDArray[np.float32] | None:
    """The frame of a picture 8 to 14 pixels high, filled by the digit; None if it is lost."""
    height = int(rng.integers(8, 15))
    size = (max(1, round(plane.shape[1] * height / plane.shape[0])), height)
    small = Image.fromarray(plane.astype(np.float32)).resize(size, Image.Resampling.BOX)
    grey = np.round(np.asarray(small).clip(0, 1) * 255).astype(np.uint8)
    beside = max(0, MIN_SIDE - size[0]) + int(rng.integers(0, 3))
    grey = np.pad(grey, ((0, 0), (beside // 2, beside - beside // 2)))
    mark = preprocess.largest(Picture(grey, grey.shape[1], grey.shape[0], "PNG"))
    return mark.frame if mark else None
