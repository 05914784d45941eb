"""Tiles, levels and limits of the segmentation in development, with a stand-in for the network."""

from __future__ import annotations

import time

import numpy as np
import pytest

from digits import bundle
from digits.errors import ModelUnavailable
from digits.recognition import segmentation
from digits.recognition.outputs import CELL, DIGIT, HALF, KINDS, PAPER
from digits.recognition.segmentation import MOST_GLYPHS, MOST_PIXELS, Segmenter, segment


class StandIn:
    """Takes dark pixels for a digit, and each filled square, of a known side, for a glyph.

    A square's centre is where it is darkest. Every output depends on its near surroundings alone.
    """

    def __init__(self) -> None:
        self.shown = 0

    def __call__(self, grey):
        self.shown += grey.size
        height, width = grey.shape
        ink = grey < 128
        kind = np.zeros((height, width, KINDS), np.float32)
        kind[..., DIGIT], kind[..., PAPER] = ink, ~ink
        heat = np.zeros((height // CELL, width // CELL), np.float32)
        offsets = np.zeros((height // HALF, width // HALF, 2), np.float32)
        sizes = np.full((height // HALF, width // HALF), 32, np.float32)
        for left, top, right, bottom in self.squares(ink):
            y, x = (top + bottom) / 2, (left + right) / 2
            heat[min(int(y / CELL), len(heat) - 1), min(int(x / CELL), heat.shape[1] - 1)] = 1
            rows, columns = np.mgrid[top // 2 : bottom // 2 + 1, left // 2 : right // 2 + 1]
            rows, columns = rows.clip(0, height // 2 - 1), columns.clip(0, width // 2 - 1)
            offsets[rows, columns, 0] = x - columns * HALF
            offsets[rows, columns, 1] = y - rows * HALF
            sizes[rows, columns] = max(bottom - top, right - left)
        return kind, heat, offsets, sizes

    @staticmethod
    def squares(ink):
        """Boxes of the squares: each begins where neither the left nor the upper pixel is ink."""
        padded = np.pad(ink, 1)
        corners = ink & ~padded[:-2, 1:-1] & ~padded[1:-1, :-2]
        for y, x in zip(*np.nonzero(corners), strict=True):
            bottom = y + np.argmin(np.append(ink[y:, x], False))
            right = x + np.argmin(np.append(ink[y, x:], False))
            yield x, y, right, bottom


class Noise:
    """Sees handwriting and the centres of small glyphs everywhere."""

    def __init__(self) -> None:
        self.shown = 0

    def __call__(self, grey):
        self.shown += grey.size
        rng = np.random.default_rng(0)
        height, width = grey.shape
        kind = np.zeros((height, width, KINDS), np.float32)
        kind[..., DIGIT] = 1
        heat = rng.random((height // CELL, width // CELL)).astype(np.float32)
        offsets = rng.normal(0, 2, (height // HALF, width // HALF, 2)).astype(np.float32)
        return kind, heat, offsets, np.full((height // HALF, width // HALF), 10, np.float32)


def page(side: int, *squares: tuple[int, int, int]) -> np.ndarray:
    """White, with black squares at left, top and of some side."""
    grey = np.full((side, side), 255, np.uint8)
    for left, top, own in squares:
        grey[top : top + own, left : left + own] = 0
    return grey


def boxes(glyphs):
    return sorted(tuple(round(edge) for edge in glyph.box) for glyph in glyphs)


def box(left, top, own):
    return left, top, left + own, top + own


def near(found, expected, by):
    assert len(found) == len(expected)
    assert np.abs(np.array(found) - np.array(sorted(expected))).max() <= by


def test_tiles_put_together_are_the_whole(monkeypatch):
    places = [(20, 30, 40), (500, 480, 60), (700, 90, 32), (498, 800, 28), (30, 506, 30)]
    grey = page(896, *places)
    tiled = segmentation._look(grey, 896, None, StandIn())
    monkeypatch.setattr(segmentation, "TILE", 1024)
    whole = segmentation._look(grey, 896, None, StandIn())
    for name in ("handwriting", "digit", "printed"):
        np.testing.assert_array_equal(getattr(tiled[0], name), getattr(whole[0], name))
    for plane, other in zip(tiled[1:], whole[1:], strict=True):
        np.testing.assert_array_equal(plane, other)
    assert tiled[1].max() == 1


def test_only_tiles_with_small_writing_are_looked_at_closer():
    network = StandIn()
    segment(page(1792, (100, 100, 32)), network)
    coarse = 112**2 + 224**2 + 448**2
    assert network.shown == coarse + 2 * 576**2  # a corner tile with its context, on two levels


def test_small_glyphs_are_found_once_on_the_first_level_that_shows_them():
    places = [(200, 200, 40), (300, 200, 40), (1500, 1600, 40)]
    found = segment(page(1792, *places), StandIn())
    near(boxes(found), [box(*place) for place in places], by=2)
    assert {glyph.level.grey.shape for glyph in found} == {(1792, 1792)}


def test_a_large_glyph_is_found_once_on_a_coarse_level_beside_small_ones():
    places = [(100, 100, 800), (1200, 300, 40)]
    found = segment(page(1792, *places), StandIn())
    near(boxes(found), [box(*place) for place in places], by=20)
    assert {max(glyph.level.grey.shape) for glyph in found} == {112, 1792}


def test_the_smallest_glyphs_come_from_the_last_level():
    found = segment(page(448, (100, 100, 10)), StandIn())
    near(boxes(found), [box(100, 100, 10)], by=1)


def test_a_glyph_says_its_ink_and_how_sure_the_network_is():
    (glyph,) = segment(page(224, (50, 60, 80)), StandIn())
    assert glyph.mask.all()
    assert (glyph.score, glyph.digit) == (1, 1)
    window = segmentation._window(glyph)
    assert (glyph.level.owner[window] == glyph.numbers[0]).all()


def test_boxes_are_right_where_the_sides_are_no_multiples_of_the_stride():
    grey = page(300, (40, 120, 60))[: 40 + 120 + 60, :171]
    near(boxes(segment(grey, StandIn())), [box(40, 120, 60)], by=3)


@pytest.mark.parametrize("shape", [(8, 8), (28, 28), (1, 900), (700, 3)])
def test_a_picture_is_not_enlarged_beyond_its_own_resolution(shape):
    for side in segmentation._sides(max(shape)):
        level, *_ = segmentation._look(np.zeros(shape, np.uint8), side, None, StandIn())
        assert level.scale <= segmentation.ENLARGED
        limit = np.array(shape) * segmentation.ENLARGED + 16  # padding to the network's stride
        assert (np.array(level.grey.shape) <= limit).all()
        assert not (np.array(level.grey.shape) % 16).any()


def test_ink_at_the_border_does_not_go_on_beyond_it():
    grey = page(300, (40, 120, 60))[:180]
    near(boxes(segment(grey, StandIn())), [box(40, 120, 60)], by=2)


def test_a_large_glyph_that_only_a_fine_level_shows_is_none():
    class OnFineLevels(StandIn):
        def __call__(self, grey):
            if len(grey) <= 448:  # the whole of a coarse level, without the large square
                grey = grey.copy()
                grey[:, round(len(grey) * 90 / 896) :] = 255
            return super().__call__(grey)

    grey = page(896, (40, 40, 30), (100, 40, 200))
    assert boxes(segment(grey, OnFineLevels())) == [box(40, 40, 30)]


def test_nothing_is_looked_at_beyond_the_last_level():
    assert list(segmentation._sides(100_000))[-1] == segmentation.LAST_SIDE


def test_noise_costs_no_more_than_the_limits():
    network = Noise()
    started = time.process_time()
    found = segment(np.zeros((4000, 4000), np.uint8), network)
    assert MOST_PIXELS / 4 < network.shown <= MOST_PIXELS
    assert MOST_GLYPHS / 2 < len(found) <= MOST_GLYPHS * len(list(segmentation._sides(4000)))
    levels = {glyph.level.scale: glyph.level for glyph in found}
    assert max(level.owner.max() for level in levels.values()) < MOST_GLYPHS
    assert time.process_time() - started < 10


def test_each_vote_goes_to_the_nearest_centre():
    rng = np.random.default_rng(0)
    votes = rng.uniform(-20, 820, (5000, 2)).astype(np.float32)
    for rows, columns in (
        (rng.integers(0, 200, 40), rng.integers(0, 200, 40)),
        (rng.integers(0, 200, 900), rng.integers(0, 200, 900)),
        (np.array([7]), np.array([190])),
    ):
        nearest = segmentation._nearest(votes, rows, columns, (400, 400))
        cells = np.round((votes - 1.5) / CELL).clip(0, 199)
        far = (cells[:, :1] - rows) ** 2 + (cells[:, 1:] - columns) ** 2
        np.testing.assert_array_equal(far[np.arange(len(votes)), nearest], far.min(1))


def test_small_glyphs_are_kept_where_the_next_level_costs_too_much(monkeypatch):
    monkeypatch.setattr(segmentation, "MOST_PIXELS", 112**2 + 224**2 + 448**2)
    found = segment(page(1792, (200, 200, 40), (1500, 1600, 40)), StandIn())
    near(boxes(found), [box(200, 200, 40), box(1500, 1600, 40)], by=4)
    assert {glyph.level.grey.shape for glyph in found} == {(448, 448)}


def test_blank_paper_has_no_glyphs():
    assert segment(page(500), StandIn()) == []


@pytest.mark.parametrize("tflite", [b"", b"no network"])
def test_bytes_that_are_no_network_are_a_typed_error(tflite):
    with pytest.raises(ModelUnavailable, match="publish the bundle again"):
        Segmenter(tflite)


def test_a_network_with_other_outputs_is_a_typed_error():
    shipped = bundle.load()
    for tflite in (shipped.segmenter, shipped.classifier):
        with pytest.raises(ModelUnavailable, match="tile_segmenter"):
            Segmenter(tflite)
