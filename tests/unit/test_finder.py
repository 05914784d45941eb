"""The segmentation network: what it finds, what it refuses to load, and what it is checked."""

from __future__ import annotations

import io
import pickle

import numpy as np
import pytest
from PIL import Image, ImageDraw

from digits import finder, image
from digits.errors import ModelUnavailable
from digits.finder import Segmenter
from digits.registry import bundle
from training_job import strokes, synthetic_photos
from training_job.segmenter import HALF, example

SHIPPED = bundle.load()
SEGMENTER = Segmenter(SHIPPED.segmenter, SHIPPED.config.segmentation)
RNG = np.random.default_rng(20261126)


def test_the_ink_is_where_it_was_painted_on_a_ruled_page_in_shadow():
    digit = strokes.digit(2, RNG)
    sample = synthetic_photos.photo(digit, 2, level="hard", seed=3)
    ink = SEGMENTER.find(image.decode(sample.data).grey)[0].ink
    rows, columns = np.flatnonzero(ink.mask.any(1)), np.flatnonzero(ink.mask.any(0))
    x, y, width, height = sample.box
    with Image.open(io.BytesIO(sample.data)) as picture:
        scale = max(ink.mask.shape) / max(picture.size)
    found = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    drawn = np.array([x, y, x + width, y + height]) * scale
    assert np.abs(found - drawn).max() < 0.12 * max(ink.mask.shape)


def test_paper_has_no_ink():
    for level in synthetic_photos._STYLES:
        for seed in range(5):
            grey = image.decode(synthetic_photos.blank(level=level, seed=seed).data).grey
            ways = SEGMENTER.find(grey)
            assert sum(piece.area for seen in ways for piece in seen.pieces) < 0.01 * grey.size


def test_touching_digits_are_two_instances_and_small_writing_is_enlarged():
    rows = [synthetic_photos.row([strokes.digit(digit, RNG) for digit in (3, 8)], 1.0, RNG)]
    page = np.full((600, 800), 230, np.uint8)
    small = Image.fromarray((rows[0] * 255).astype(np.uint8)).resize((70, 50))
    page[200:250, 300:370] -= (np.asarray(small) * 0.7).astype(np.uint8)

    close, _, whole = SEGMENTER.find(page)

    assert len(close.pieces) == 1
    assert len(close.instances) == 2
    assert all(one.height > 30 for one in close.instances)
    assert whole.ink.mask.shape == page.shape


def test_a_digit_of_two_components_is_one_instance():
    ring = Image.new("L", (300, 300), 240)
    draw = ImageDraw.Draw(ring)
    draw.ellipse((100, 70, 200, 230), outline=40, width=14)
    draw.line((150, 60, 150, 240), fill=240, width=5)

    seen = SEGMENTER.find(np.asarray(ring))[0]

    assert len(seen.pieces) == 2
    assert len(seen.instances) == 1


@pytest.mark.parametrize("shape", [(300, 200), (200, 300), (800, 100), (101, 60)])
def test_any_shape_fits_the_networks_input(shape):
    canvas, (height, width) = finder.fitted(np.zeros(shape, np.uint8))
    assert canvas.shape in ((finder.LONG, finder.SHORT), (finder.SHORT, finder.LONG))
    assert height / width == pytest.approx(shape[0] / shape[1], rel=0.05)


def test_a_training_samples_offsets_point_to_the_glyphs_centres():
    checked = 0
    for seed in range(12):
        one = example(seed)
        rows, columns = np.nonzero(one.size[0])
        if len(rows) == 0:
            assert one.centre.max() == 0
            continue
        offset = one.offset[0, rows, columns] / 16
        middles = np.stack([columns, rows], 1) * HALF + 0.5 + offset
        spots = {tuple(np.round(it).astype(int)) for it in middles}
        assert len(spots) < 60, "all the ink of a glyph points at one place"
        checked += 1
    assert checked > 6


def test_the_thresholds_are_those_of_the_configuration():
    page = np.full((200, 300), 230, np.uint8)
    page[60:150, 80:95] = 40
    page[60:150, 180:195] = 40
    assert len(SEGMENTER.find(page)[0].instances) == 2
    higher = SHIPPED.config.segmentation.model_copy(update={"ink": 1 - 1e-9})
    assert Segmenter(SHIPPED.segmenter, higher).find(page) == []
    no_centre = SHIPPED.config.segmentation.model_copy(update={"centre": 1 - 1e-9})
    assert Segmenter(SHIPPED.segmenter, no_centre).find(page)[0].instances == []


def test_a_segmenter_finds_the_same_after_it_was_sent_to_another_process():
    page = np.full((200, 150), 230, np.uint8)
    page[50:150, 60:75] = 40
    sent = pickle.loads(pickle.dumps(SEGMENTER))
    np.testing.assert_array_equal(sent.find(page)[0].ink.mask, SEGMENTER.find(page)[0].ink.mask)


@pytest.mark.parametrize(
    ("tflite", "why"),
    [
        (b"", "LiteRT cannot load"),
        (b"not a model" * 100, "LiteRT cannot load"),
        (SHIPPED.classifier, r"outputs of \[1, 10\] channels"),
    ],
)
def test_a_file_that_is_not_a_segmentation_network_is_refused(tflite, why):
    with pytest.raises(ModelUnavailable, match=why):
        Segmenter(tflite, SHIPPED.config.segmentation)
