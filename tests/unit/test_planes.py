"""What planes are made of by our own code gives what the slower libraries give, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter

from digits import ink, layout, morphology

SHAPES = [(1, 9), (8, 8), (9, 64), (61, 40), (120, 173)]


def grey(shape: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(shape).integers(0, 256, shape).astype(np.uint8)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("radius", [1, 3, 15])
def test_a_blur_is_pillows(shape, radius):
    theirs = Image.fromarray(grey(shape)).filter(ImageFilter.BoxBlur(radius))
    np.testing.assert_array_equal(ink._blurred(grey(shape), radius), np.asarray(theirs))


@pytest.mark.parametrize("shape", SHAPES)
def test_what_lies_beyond_a_border_is_numpys_odd_reflection(shape):
    for margin in (0, min(shape) // 2, min(shape) - 1):
        theirs = np.pad(grey(shape).astype(int), margin, mode="reflect", reflect_type="odd")
        np.testing.assert_array_equal(ink._reflected(grey(shape), margin), theirs.clip(0, 255))


@pytest.mark.parametrize(("rows", "columns"), [(0, 0), (2, None), (3, 0), (1, 5)])
def test_zeros_around_a_plane_are_numpys(rows, columns):
    plane = grey((7, 11))
    theirs = np.pad(plane, ((rows, rows), (rows if columns is None else columns,) * 2))
    np.testing.assert_array_equal(morphology.padded(plane, rows, columns), theirs)


@pytest.mark.parametrize("size", [1, 2, 5, 7])
def test_a_running_extreme_is_that_of_every_window(size):
    plane = grey((12, 17))
    windows = np.lib.stride_tricks.sliding_window_view(plane, (size, size))
    np.testing.assert_array_equal(
        morphology.extreme(plane, size, np.maximum), windows.max(axis=(2, 3))
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_sums_over_squares_are_those_of_every_window(shape):
    planes = np.stack([grey(shape), grey(shape[::-1]).T])
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(planes.astype(int), ((0, 0), (2, 2), (2, 2))), (5, 5), axis=(1, 2)
    )
    np.testing.assert_array_equal(layout._sums(planes, 2), windows.sum(axis=(3, 4)))
