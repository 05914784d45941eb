"""Augmentation moves pixels by the documented amounts, reproducibly."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from training_job.classifier.augment import Ranges, augmented, transforms

SIDE = 28
STILL = Ranges(rotation=0, zoom=0, width_shift=0, height_shift=0)


class Utmost:
    """A generator that always draws the upper limit."""

    def uniform(self, low, high, count):
        return np.full(count, high)


def image(*bright: tuple[int, int]) -> np.ndarray:
    """One black image with bright pixels at these (x, y)."""
    made = np.zeros((1, SIDE, SIDE, 1), np.float32)
    for x, y in bright:
        made[0, y, x, 0] = 1
    return made


def moved(images, generator=None, **ranges):
    generator = generator or Utmost()
    return np.asarray(augmented(images, dataclasses.replace(STILL, **ranges), generator))


def some_images(count=8):
    return np.random.default_rng(0).random((count, SIDE, SIDE, 1), np.float32)


def test_without_ranges_nothing_changes():
    images = some_images()
    same = moved(images, np.random.default_rng(0))
    np.testing.assert_allclose(same, images, atol=1e-5)


def test_a_shift_moves_right_and_down_by_whole_pixels():
    shifted = moved(image((10, 12)), width_shift=4 / SIDE, height_shift=3 / SIDE)
    np.testing.assert_allclose(shifted, image((14, 15)), atol=1e-5)


def test_black_comes_in_from_outside():
    white = np.ones((1, SIDE, SIDE, 1), np.float32)
    shifted = moved(white, width_shift=4 / SIDE, height_shift=3 / SIDE)[0, ..., 0]
    assert not shifted[:3].any()
    assert not shifted[:, :4].any()
    np.testing.assert_allclose(shifted[3:, 4:], 1, atol=1e-5)


def test_a_quarter_turn_carries_the_right_side_to_the_top():
    turned = moved(image((20, 13)), rotation=90)
    np.testing.assert_allclose(turned, image((13, 7)), atol=1e-4)


def test_zoom_enlarges_about_the_centre_along_both_sides():
    square = [(x, y) for x in range(10, 18) for y in range(10, 18)]
    enlarged = moved(image(*square), zoom=0.5)[0, ..., 0]
    assert enlarged.sum() == pytest.approx(64 * 1.5**2, rel=0.01)
    np.testing.assert_allclose(enlarged, enlarged[::-1, ::-1], atol=1e-4)


def test_slant_moves_top_and_bottom_in_opposite_directions():
    upright = image(*((14, y) for y in range(4, 24)))
    leaning = moved(upright, slant=0.5)[0, ..., 0]
    columns = leaning[4:24].argmax(axis=1)
    assert columns[0] - columns[-1] == pytest.approx(0.5 * 19, abs=1)
    assert leaning[13:15].sum(axis=1) == pytest.approx(1, abs=0.01)  # the middle stays


@pytest.mark.parametrize(
    ("name", "measure", "least", "most"),
    [
        ("rotation", lambda row: np.rad2deg(np.arctan2(row[:, 3], row[:, 4])), -10, 10),
        ("zoom", lambda row: 1 / row[:, 0], 0.9, 1.1),
        ("zoom", lambda row: 1 / row[:, 4], 0.9, 1.1),
        ("width_shift", lambda row: -row[:, 2], -2.8, 2.8),
        ("height_shift", lambda row: -row[:, 5], -2.8, 2.8),
    ],
)
def test_amounts_fill_the_textbooks_ranges_and_stay_within(name, measure, least, most):
    ranges = dataclasses.replace(STILL, **{name: getattr(Ranges(), name)})
    drawn = measure(transforms(10_000, (SIDE, SIDE), ranges, np.random.default_rng(0)))
    margin = (most - least) / 100
    assert least - 1e-4 <= drawn.min() < least + margin
    assert most - margin < drawn.max() <= most + 1e-4
    assert drawn.mean() == pytest.approx((least + most) / 2, abs=margin)


def test_width_and_height_are_zoomed_independently():
    rows = transforms(
        100, (SIDE, SIDE), dataclasses.replace(STILL, zoom=0.1), np.random.default_rng(0)
    )
    assert np.abs(rows[:, 0] - rows[:, 4]).max() > 0.05


@pytest.mark.parametrize("ranges", [Ranges(), Ranges(slant=0.2, elastic=1.0, thickness=0.5)])
def test_one_seed_gives_one_result_and_another_seed_another(ranges):
    images = some_images()
    first, again, other = (
        np.asarray(augmented(images, ranges, np.random.default_rng(seed))) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1


def test_each_image_is_moved_by_amounts_of_its_own():
    alike = np.repeat(some_images(1), 4, axis=0)
    first, *others = moved(alike, np.random.default_rng(0), width_shift=0.1)
    assert all(np.abs(first - other).max() > 0.1 for other in others)


def test_a_tiny_elastic_deformation_equals_none():
    """Both sampling implementations must agree."""
    images = some_images()
    straight = np.asarray(augmented(images, Ranges(), np.random.default_rng(3)))
    bent = np.asarray(augmented(images, Ranges(elastic=1e-6), np.random.default_rng(3)))
    np.testing.assert_allclose(bent, straight, atol=1e-3)


def test_bending_moves_pixels_by_about_as_much_as_it_says():
    images = np.repeat(image((14, 14)), 500, axis=0)
    bent = np.asarray(
        augmented(images, dataclasses.replace(STILL, elastic=2.0), np.random.default_rng(0))
    )[..., 0]
    there = np.arange(SIDE) - 14
    mass = bent.sum(axis=(1, 2))
    along_x = (bent.sum(axis=1) @ there)[mass > 0.5] / mass[mass > 0.5]
    # A spline averages its control points: less than theirs, but of that order.
    assert 0.7 < along_x.std() < 2.0
    assert abs(along_x.mean()) < 0.2


def test_thickness_changes_its_share_of_the_images_only():
    strokes = np.repeat(image(*((14, y) for y in range(5, 23))), 2_000, axis=0)
    changed = moved(strokes, np.random.default_rng(0), thickness=0.3)
    ink = changed.sum(axis=(1, 2, 3))
    assert (ink != 18).mean() == pytest.approx(0.3, abs=0.04)
    assert (ink > 18).any()
    assert (ink < 18).any()
    assert changed.min() >= 0
    assert changed.max() <= 1
