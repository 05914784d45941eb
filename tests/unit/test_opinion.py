"""What is drawn to learn from is varied and sound, and the opinion leaves the digits alone."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest

from training_job import data, glyphs, hands, opinion, outliers, photos, strokes
from training_job.augment import Ranges
from training_job.model import reference
from training_job.progress import Progress
from training_job.recipes import Schooling


@pytest.fixture(scope="module")
def digits():
    return photos.load(held_out=False)


def sound(frames: np.ndarray) -> bool:
    inside = frames.dtype == np.float32 and frames.min() >= 0 and frames.max() <= 1
    return bool(inside and (frames.max(axis=(-1, -2)) > 0.9).all())


def test_outliers_of_every_kind_are_frames_and_no_two_alike(digits):
    drawn = outliers.frames(200, *digits, np.random.default_rng(1))
    assert set(drawn) == set(outliers._KINDS)
    for kind, frames in drawn.items():
        assert frames.shape[1:] == (28, 28), kind
        assert sound(frames), kind
        pairs = itertools.combinations(frames, 2)
        assert all(np.abs(one - other).sum() > 1 for one, other in pairs), kind


def test_the_same_seed_draws_the_same(digits):
    first, again = (outliers.frames(30, *digits, np.random.default_rng(5)) for _ in range(2))
    for kind, frames in first.items():
        np.testing.assert_array_equal(frames, again[kind])


def test_held_out_letters_are_of_typefaces_that_training_never_shows():
    with np.load(glyphs.KEPT, allow_pickle=False) as arrays:
        total = len(arrays["characters"])
    parts = [glyphs.load(held_out=held_out, digits=kind)
             for held_out in (True, False) for kind in (True, False)]  # fmt: skip
    assert sum(len(part) for part in parts) == total
    shown, kept = (
        {image.tobytes() for image in glyphs.load(held_out=part, digits=False).images}
        for part in (False, True)
    )
    assert not shown & kept


def test_what_passes_for_a_digit_is_not_among_the_letters():
    characters = set(glyphs.load(held_out=False, digits=False).characters)
    assert not characters & set("0123456789OoIl|ZzSsqgBb")


@pytest.mark.parametrize("digit", range(10))
def test_digits_drawn_stroke_by_stroke_are_read(classifier, digit):
    """By a network that was trained on others of them: nine in ten at the least."""
    rng = np.random.default_rng(digit + 100)
    right = 0
    for seed in range(20):
        sample = photos.photo(strokes.digit(digit, rng), digit, level="easy", seed=seed)
        right += classifier.classify(sample.data).text == str(digit)
    assert right >= 18


def test_other_hands_give_every_digit_and_sound_frames():
    split = hands.frames(300, np.random.default_rng(0))
    assert set(split.y) == set(range(10))
    assert sound(split.x[..., 0])


def test_a_photo_tells_where_its_ink_is():
    sample = photos.photo(strokes.digit(0, np.random.default_rng(0)), 0, level="easy", seed=3)
    found = [mark.box for mark in opinion._marks(sample)]
    assert sample.box is not None
    assert max(opinion._shared(box, sample.box) for box in found) > 0.9
    assert opinion._shared((0, 0, 10, 10), (20, 20, 5, 5)) == 0
    assert photos.blank(level="easy", seed=0).box is None


def test_the_opinion_learns_and_changes_nothing_in_the_network():
    keras.utils.set_random_seed(1)
    model = reference()
    before = [weight.copy() for weight in model.get_weights()]
    mnist = data.load()
    brief = Schooling(outliers=400, hands=50, photos=12, epochs=2, frames=2_560)
    learnt = opinion.train(model, "pool2", mnist, brief, Ranges(), 1, Progress())
    for was, weight in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(was, weight)
    rng = np.random.default_rng(2)
    others = np.concatenate(list(outliers.frames(300, *photos.load(held_out=True), rng).values()))
    of_digits, of_others = (
        learnt.predict(frames.reshape(-1, 28, 28, 1), verbose=0)
        for frames in (mnist.held_out.x[:300], others)
    )
    assert np.median(of_digits) > np.percentile(of_others, 75)
