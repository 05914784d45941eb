"""Auxiliary training data is varied and valid, and trains the OOD output."""

from __future__ import annotations

import itertools
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from digits import image
from digits.finder import Segmenter
from digits.layout import Piece
from digits.registry import bundle
from training_job import data, glyphs, rendered_pages, strokes, synthetic_photos
from training_job.classifier import auxiliary, negatives, page_frames, synthetic_digits
from training_job.classifier.fit import fit
from training_job.classifier.model import reference
from training_job.classifier.recipes import RECIPES, Recipe
from training_job.data import NOT_A_DIGIT, Split
from training_job.progress import RunProgress

ROOT = Path(__file__).parents[2]
SHIPPED = bundle.load()
SEGMENTER = Segmenter(SHIPPED.segmenter, SHIPPED.config.segmentation)


@pytest.fixture(scope="module")
def digits():
    return synthetic_photos.load(held_out=False)


def sound(frames: np.ndarray) -> bool:
    inside = frames.dtype == np.float32 and frames.min() >= 0 and frames.max() <= 1
    return bool(inside and (frames.max(axis=(-1, -2)) > 0.9).all())


def test_negatives_of_every_kind_are_valid_frames_and_differ(digits):
    drawn = negatives.frames(200, *digits, np.random.default_rng(1))
    assert set(drawn) == set(negatives._KINDS)
    for kind, frames in drawn.items():
        assert frames.shape[1:] == (28, 28), kind
        assert sound(frames), kind
        pairs = itertools.combinations(frames, 2)
        assert all(np.abs(one - other).sum() > 1 for one, other in pairs), kind


def test_the_same_seed_draws_the_same(digits):
    first, again = (negatives.frames(30, *digits, np.random.default_rng(5)) for _ in range(2))
    for kind, frames in first.items():
        np.testing.assert_array_equal(frames, again[kind])


def test_held_out_letters_are_not_among_the_training_letters():
    with np.load(glyphs.DRAWINGS, allow_pickle=False) as arrays:
        total = len(arrays["characters"])
    parts = [glyphs.load(held_out=held_out, digits=kind)
             for held_out in (True, False) for kind in (True, False)]  # fmt: skip
    assert sum(len(part) for part in parts) == total
    shown, kept = (
        {image.tobytes() for image in glyphs.load(held_out=part, digits=False).images}
        for part in (False, True)
    )
    assert not shown & kept


def test_letters_do_not_include_characters_that_look_like_digits():
    characters = set(glyphs.load(held_out=False, digits=False).characters)
    assert not characters & set("0123456789OoIl|ZzSsqgBb")


@pytest.mark.parametrize("digit", range(10))
def test_digits_drawn_stroke_by_stroke_are_recognised(classifier, digit):
    """The network was trained on other such digits: at least nine of ten are correct."""
    rng = np.random.default_rng(digit + 100)
    right = 0
    for seed in range(20):
        sample = synthetic_photos.photo(strokes.digit(digit, rng), digit, level="easy", seed=seed)
        right += classifier.classify(sample.data).text == str(digit)
    assert right >= 18


def test_synthetic_digits_include_every_digit_as_valid_frames():
    split = synthetic_digits.frames(300, np.random.default_rng(0))
    assert set(split.y) == set(range(10))
    assert sound(split.x[..., 0])


def test_a_photo_has_the_box_of_its_ink():
    sample = synthetic_photos.photo(
        strokes.digit(0, np.random.default_rng(0)), 0, level="easy", seed=3
    )
    assert sample.box is not None
    boxes = [mark.box for mark in page_frames._all_marks(image.decode(sample.data), SEGMENTER)]
    assert min(np.abs(np.subtract(box, sample.box)).max() for box in boxes) < 0.05 * max(sample.box)
    assert synthetic_photos.blank(level="easy", seed=0).box is None


def test_page_frames_are_digits_and_negatives_and_reproducible():
    with auxiliary.workers(SEGMENTER) as pool:
        pages, again = (page_frames.frames(24, 6, 3, SEGMENTER, pool) for _ in range(2))
    assert sound(pages.digits.x[..., 0])
    assert sound(pages.negatives)
    assert len(pages.digits) > 60
    assert len(set(pages.digits.y)) == 10
    assert len(pages.negatives) > 20
    np.testing.assert_array_equal(pages.digits.x, again.digits.x)
    np.testing.assert_array_equal(pages.negatives, again.negatives)


def test_worker_processes_do_not_load_tensorflow():
    """TensorFlow would take seconds and 400 MB in each, and write to standard error."""
    script = "import training_job.classifier.auxiliary, sys; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode == 0


def test_a_candidate_is_labelled_by_its_glyph_and_as_negative_if_it_holds_two():
    ink = np.zeros((20, 60), np.float32)
    owner = np.zeros((20, 60), np.uint8)
    for number, left in enumerate((5, 25, 45), start=1):
        ink[4:16, left : left + 8] = 1
        owner[4:16, left : left + 8] = number
    scene = rendered_pages.RenderedPage(np.zeros((20, 60), np.uint8), ink, owner, (7, 3, None))

    def truth(top: int, bottom: int, left: int, right: int) -> int | None:
        mask = ink[top:bottom, left:right] > 0
        mask |= ~mask.any()  # on bare paper, whatever was taken for ink
        return page_frames._label(Piece(left, top, mask), scene, page_frames._glyph_areas(scene))

    assert truth(4, 16, 5, 13) == 7
    assert truth(4, 16, 25, 33) == 3
    assert truth(4, 16, 45, 53) == page_frames._NOT_A_DIGIT  # a letter
    assert truth(4, 16, 5, 33) == page_frames._NOT_A_DIGIT  # two that touch
    assert truth(4, 9, 5, 13) is None  # half of one may be another
    assert truth(0, 3, 0, 30) == page_frames._NOT_A_DIGIT  # a shadow
    assert truth(0, 3, 0, 1) is None  # that may pass for a 1


def test_the_ood_output_is_trained_together_with_the_logits():
    mnist = data.load()
    recipe = replace(RECIPES["reference", "quick"], epochs=1, hands=50, pages=8, blanks=4,
                     outliers=3_000)  # fmt: skip
    shown = auxiliary.auxiliary_data(recipe, 1, SEGMENTER, RunProgress())
    assert set(shown.y) == {*range(10), NOT_A_DIGIT}
    some = Split(mnist.train.x[:5_000], mnist.train.y[:5_000])
    _, whole, history = fit(
        reference, data.joined(some, shown), mnist.held_out, recipe, 1, RunProgress()
    )
    assert history[-1]["held_out_accuracy"] > 0.9
    rng = np.random.default_rng(2)
    others = np.concatenate(
        list(negatives.frames(300, *synthetic_photos.load(held_out=True), rng).values())
    )
    of_digits, of_others = (
        whole.predict(frames.reshape(-1, 28, 28, 1), verbose=0)[1]
        for frames in (mnist.held_out.x[:300], others)
    )
    assert np.median(of_digits) > np.percentile(of_others, 75)


def test_negatives_do_not_train_the_logits():
    recipe = Recipe(epochs=1, batch_size=16, weight_decay=0)
    x = np.random.default_rng(0).random((32, 28, 28, 1), np.float32)
    shown = Split(x, np.full(32, NOT_A_DIGIT, np.uint8))
    held_out = Split(x, np.zeros(32, np.uint8))
    network, whole, _ = fit(reference, shown, held_out, recipe, 1, RunProgress())

    def bias(model: keras.Model, layer: str) -> np.ndarray:  # all are zero at birth
        return model.get_layer(layer).get_weights()[1]

    assert (bias(network, "logits") == 0).all()
    assert (bias(whole, "opinion") != 0).all()
    assert (bias(network, "conv1") != 0).any()
