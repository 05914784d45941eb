"""Augment all images of an epoch at once, at a tenth of the cost of `ImageDataGenerator`.

`python -m benchmarks.training` compares the two. Rotation, zoom and shifts have the ranges of the
usual Keras example for MNIST. Recipes can add slant, elastic deformation and stroke thickness, in
which other handwriting and pens differ from MNIST's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

_CHUNK = 1_000  # images deformed at once: their pixels, 3 MB, fit the processor's cache
_GRID = 5  # control points per side of the elastic displacement field; chosen by hand
_MOST_THICKENED = 0.6  # largest share of the dilation or erosion that is blended in; chosen by hand


@dataclass(frozen=True)
class Ranges:
    """Ranges of the augmentation: each amount is drawn uniformly from minus to plus its range."""

    rotation: float = 10.0  # degrees
    zoom: float = 0.1  # share of the size, independently along x and y
    width_shift: float = 0.1  # share of the width
    height_shift: float = 0.1  # share of the height
    slant: float = 0.0  # tangent of the angle
    elastic: float = 0.0  # standard deviation of the control points' displacements, pixels
    thickness: float = 0.0  # share of the images whose strokes are thinned or thickened


def augmented(
    images: NDArray[np.float32], ranges: Ranges, generator: np.random.Generator
) -> tf.Tensor:
    """Change every image by random amounts.

    Parameters
    ----------
    images : float32 (n, height, width, 1)
        White on black in 0..1; pixels from outside an image are black, 0.
    ranges
        The ranges of the amounts.
    generator
        Source of all random choices.

    Returns
    -------
    float32 (n, height, width, 1)
    """
    count, height, width, _ = images.shape
    affine = transforms(count, (height, width), ranges, generator)
    if ranges.elastic:
        shape = (count, 2, _GRID, _GRID)
        control = generator.normal(0, ranges.elastic, shape).astype(np.float32)
        moved = tf.concat(
            [
                _bent(images[at : at + _CHUNK], affine[at : at + _CHUNK], control[at : at + _CHUNK])
                for at in range(0, count, _CHUNK)
            ],
            axis=0,
        )
    else:
        moved = tf.raw_ops.ImageProjectiveTransformV3(
            images=images,
            transforms=affine,
            output_shape=[height, width],
            interpolation="BILINEAR",
            fill_mode="CONSTANT",
            fill_value=0.0,
        )
    return _thickened(moved, ranges.thickness, generator) if ranges.thickness else moved


def transforms(
    count: int, shape: tuple[int, int], ranges: Ranges, generator: np.random.Generator
) -> NDArray[np.float32]:
    """Draw `count` random affine transforms, float32 (count, 8): a0, a1, a2, b0, b1, b2, 0, 0.

    An output pixel (x, y) is read from (a0 x + a1 y + a2, b0 x + b1 y + b2), the convention of
    `tf.raw_ops.ImageProjectiveTransformV3`. Slant, rotation and zoom are about the centre and come
    before the shift.
    """
    height, width = shape

    def draw(limit: float) -> NDArray[np.float64]:
        return generator.uniform(-limit, limit, count)

    angle, slant = np.deg2rad(draw(ranges.rotation)), draw(ranges.slant)
    zoom_x, zoom_y = 1 + draw(ranges.zoom), 1 + draw(ranges.zoom)
    shift_x, shift_y = draw(ranges.width_shift) * width, draw(ranges.height_shift) * height
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2

    a0 = (np.cos(angle) + slant * np.sin(angle)) / zoom_x
    a1 = (-np.sin(angle) + slant * np.cos(angle)) / zoom_x
    b0, b1 = np.sin(angle) / zoom_y, np.cos(angle) / zoom_y
    a2 = centre_x - a0 * (centre_x + shift_x) - a1 * (centre_y + shift_y)
    b2 = centre_y - b0 * (centre_x + shift_x) - b1 * (centre_y + shift_y)
    nothing = np.zeros(count)
    return np.stack([a0, a1, a2, b0, b1, b2, nothing, nothing], axis=1).astype(np.float32)


@tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
def _bent(images: tf.Tensor, affine: tf.Tensor, control: tf.Tensor) -> tf.Tensor:
    """Apply an affine transform and an elastic deformation to each image, with bilinear sampling.

    Simard, Steinkraus and Platt, "Best Practices for Convolutional Neural Networks Applied to
    Visual Document Analysis", ICDAR 2003. The displacement field is a cubic B-spline here, which
    needs no smoothing.

    Parameters
    ----------
    images : float32 (n, height, width, 1)
    affine : float32 (n, 8)
        Transforms as `transforms` returns them.
    control : float32 (n, 2, 5, 5)
        Displacements along x and y at the control points, pixels.
    """
    height, width = images.shape[1], images.shape[2]
    x = tf.range(width, dtype=tf.float32)[None, None, :]
    y = tf.range(height, dtype=tf.float32)[None, :, None]
    rows, columns = _spline(height), _spline(width)
    field = tf.einsum("ya,ncab,xb->ncyx", rows, control, columns)
    row = affine[:, :, None, None]
    # Coordinates outside the image are clipped to a black border of two pixels.
    u = tf.clip_by_value(
        row[:, 0] * x + row[:, 1] * y + row[:, 2] + field[:, 0] + 2, 0, width + 2.99
    )
    v = tf.clip_by_value(
        row[:, 3] * x + row[:, 4] * y + row[:, 5] + field[:, 1] + 2, 0, height + 2.99
    )
    stride = width + 5
    flat = tf.reshape(tf.pad(images[..., 0], [[0, 0], [2, 3], [2, 3]]), [-1])
    left, top = tf.floor(u), tf.floor(v)
    start = tf.range(tf.shape(images)[0])[:, None, None] * (stride * (height + 5))
    at = start + tf.cast(top, tf.int32) * stride + tf.cast(left, tf.int32)
    across, down = u - left, v - top
    upper = tf.gather(flat, at) * (1 - across) + tf.gather(flat, at + 1) * across
    lower = tf.gather(flat, at + stride) * (1 - across) + tf.gather(flat, at + stride + 1) * across
    return (upper * (1 - down) + lower * down)[..., None]


def _spline(side: int) -> NDArray[np.float32]:
    """Return the weights of the control points at each pixel, (side, 5): a cubic B-spline."""
    distance = np.abs(np.linspace(0, _GRID - 1, side)[:, None] - np.arange(_GRID))
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.clip(2 - distance, 0, None) ** 3 / 6
    weights = np.where(distance < 1, near, far)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


def _thickened(images: tf.Tensor, share: float, generator: np.random.Generator) -> tf.Tensor:
    """Blend a share of the images with their 3×3 dilation or erosion, by a random amount."""
    count = images.shape[0]
    amount = generator.uniform(-_MOST_THICKENED, _MOST_THICKENED, count).astype(np.float32)
    amount[generator.random(count) >= share] = 0
    parts = []
    for at in range(0, count, _CHUNK):
        part, own = images[at : at + _CHUNK], amount[at : at + _CHUNK, None, None, None]
        thick = tf.nn.max_pool2d(part, 3, 1, "SAME")
        thin = -tf.nn.max_pool2d(-part, 3, 1, "SAME")
        parts.append(part + tf.nn.relu(own) * (thick - part) + tf.nn.relu(-own) * (thin - part))
    return tf.concat(parts, axis=0)
