"""Connected components equal those of SciPy, for any mask."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps
from scipy import ndimage

from digits.components import connected


def check(mask: np.ndarray) -> None:
    """Compare with SciPy's labels, whose numbers may differ but not what they lie on."""
    found = connected(mask)
    expected, count = ndimage.label(mask, np.ones((3, 3)))
    assert len(found) == count
    assert found.labels.shape == mask.shape
    pairs = np.unique(np.stack([found.labels.ravel(), expected.ravel()]), axis=1)
    assert pairs.shape[1] == len(np.unique(pairs[0])) == len(np.unique(pairs[1]))
    np.testing.assert_array_equal(found.labels > 0, mask)
    slices = ndimage.find_objects(found.labels)
    for k, (rows, columns) in enumerate(slices):
        box = found.left[k], found.top[k], found.right[k], found.bottom[k]
        assert box == (columns.start, rows.start, columns.stop, rows.stop)
    areas = np.bincount(found.labels.ravel(), minlength=count + 1)[1:]
    np.testing.assert_array_equal(found.area, areas)
    np.testing.assert_array_equal(found.top, np.sort(found.top))


def spiral(side: int) -> np.ndarray:
    """One line, a pixel wide, that winds inwards a pixel apart from itself."""
    mask = np.zeros((side, side), np.bool_)
    y = x = 0
    for turn in range(side):
        down, right = ((0, 1), (1, 0), (0, -1), (-1, 0))[turn % 4]
        for _ in range(side - 1 - max(0, (turn - 1) // 2 * 2)):
            mask[y, x] = True
            y, x = y + down, x + right
    mask[y, x] = True
    return mask


def porous(side: int) -> np.ndarray:
    """Noise about as dense as it can be before all of it joins: the most tangled parts."""
    return np.random.default_rng(0).random((side, side)) < 0.41


def board(side: int) -> np.ndarray:
    y, x = np.mgrid[:side, :side]
    return (x + y) % 2 == 0


def comb(side: int) -> np.ndarray:
    """Teeth that meet only in the last row."""
    y, x = np.mgrid[:side, :side]
    return (x % 2 == 0) | (y == side - 1)


def snake(side: int) -> np.ndarray:
    """One line that runs up and down, turning at alternate ends."""
    y, x = np.mgrid[:side, :side]
    return (x % 2 == 0) | (y == np.where(x // 2 % 2, 0, side - 1))


def dots(side: int) -> np.ndarray:
    y, x = np.mgrid[:side, :side]
    return (x % 2 == 0) & (y % 2 == 0)


SHAPES = [spiral, porous, board, comb, snake, dots]


@given(nps.arrays(np.bool_, nps.array_shapes(min_dims=2, max_dims=2, max_side=12)))
@settings(deadline=None, max_examples=300)
def test_any_small_mask(mask):
    check(mask)


@given(
    seed=st.integers(0, 2**32 - 1),
    share=st.floats(0, 1),
    shape=st.tuples(st.integers(1, 80), st.integers(1, 80)),
)
@settings(deadline=None, max_examples=60)
def test_random_masks_of_any_density(seed, share, shape):
    check(np.random.default_rng(seed).random(shape) < share)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("side", [1, 2, 5, 64, 101])
def test_shapes_that_are_hard_to_join(shape, side):
    for mask in (shape(side), ~shape(side)):
        for turned in (mask, mask.T, mask[::-1], mask[:, ::-1]):
            check(turned)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (6, 7)])
def test_a_full_mask_is_one_component(shape):
    check(np.ones(shape, np.bool_))
    assert len(connected(np.ones(shape, np.bool_))) == 1


@pytest.mark.parametrize("shape", [(1, 1), (6, 7), (0, 5), (5, 0)])
def test_an_empty_mask_has_no_components(shape):
    found = connected(np.zeros(shape, np.bool_))
    assert len(found) == 0
    assert found.labels.shape == shape


def test_touching_corners_join_and_a_line_s_end_does_not_touch_the_next_line_s_start():
    diagonal = np.eye(5, dtype=np.bool_)
    assert len(connected(diagonal)) == len(connected(diagonal[::-1])) == 1
    ends = np.zeros((2, 5), np.bool_)
    ends[0, -1] = ends[1, 0] = True
    assert len(connected(ends)) == 2


def test_components_are_numbered_by_their_topmost_runs():
    mask = np.zeros((5, 7), np.bool_)
    mask[3, 0] = mask[1, 3] = mask[0:2, 6] = True
    found = connected(mask)
    assert found.labels[0, 6] == 1
    assert found.labels[1, 3] == 2
    assert found.labels[3, 0] == 3


@pytest.mark.parametrize("shape", SHAPES)
def test_the_largest_picture_takes_bounded_time(shape):
    """The worst took 0.13 s; a method that needs a pass for every turn would take minutes."""
    mask = shape(800)
    started = time.process_time()
    connected(mask)
    assert time.process_time() - started < 2
