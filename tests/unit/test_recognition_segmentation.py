"""Segmentation: tiles, levels and limits, with stand-ins for the network."""

from __future__ import annotations

import io
import pickle
import time

import numpy as np
import pytest
from PIL import Image

from digits.errors import ModelUnavailable
from digits.image import Picture, decode
from digits.recognition import glyphs, pyramid, segmentation
from digits.recognition.glyphs import MAX_GLYPHS, MAX_STROKE_SIDE, Glyph, Level, join_strokes
from digits.recognition.network import Segmenter
from digits.recognition.outputs import BACKGROUND, CELL, DIGIT, HALF, KINDS, PAPER
from digits.recognition.pyramid import FIRST_SIDE, LAST_SIDE, MAX_ENLARGEMENT, run_level, sides
from digits.recognition.segmentation import MAX_PIXELS, segment
from digits.registry import bundle
from training_job.tile_segmenter import trained

SHIPPED = bundle.load()
CONFIG = trained.config().segmentation
COARSE = 64**2 + 112**2 + 224**2  # pixels of the levels of a square up to 224, padded to 16


class StandInNetwork:
    """Classifies dark pixels as digits, and each filled square of a known side as a glyph.

    A square is darkest at its centre. Every output depends only on pixels nearby.
    """

    config = CONFIG

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

    config = CONFIG

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


def page(side: int, *squares: tuple[int, int, int]) -> Picture:
    """White, with black squares at left, top and of some side."""
    grey = np.full((side, side), 255, np.uint8)
    for left, top, own in squares:
        grey[top : top + own, left : left + own] = 0
    return picture_of(grey)


def picture_of(grey: np.ndarray) -> Picture:
    return Picture(grey, grey.shape[1], grey.shape[0], "PNG")


def sides_of(glyphs) -> set[int]:
    """Longer sides of the levels that glyphs are found on."""
    return {max(glyph.level.grey.shape) for glyph in glyphs}


def boxes(glyphs):
    return sorted(tuple(round(edge) for edge in glyph.box) for glyph in glyphs)


def box(left, top, own):
    return left, top, left + own, top + own


def near(found, expected, by):
    assert len(found) == len(expected)
    assert np.abs(np.array(found) - np.array(sorted(expected))).max() <= by


def test_tiles_give_the_same_as_the_whole_level(monkeypatch):
    places = [(20, 30, 40), (500, 480, 60), (700, 90, 32), (498, 800, 28), (30, 506, 30)]
    grey = page(896, *places).grey
    tiled = run_level(grey, grey.shape, 896, None, StandInNetwork())
    monkeypatch.setattr(pyramid, "TILE", 1024)
    whole = run_level(grey, grey.shape, 896, None, StandInNetwork())
    for name in ("handwriting", "digit", "printed", "background"):
        np.testing.assert_array_equal(getattr(tiled[0], name), getattr(whole[0], name))
    for plane, other in zip(tiled[1:], whole[1:], strict=True):
        np.testing.assert_array_equal(plane, other)
    assert tiled[1].max() == 1


def test_only_tiles_with_small_writing_are_run_on_the_next_level():
    network = StandInNetwork()
    segment(page(1792, (100, 100, 32)), network)
    assert (
        network.shown == COARSE + 448**2 + 2 * 576**2
    )  # a corner tile with its context, on two levels


def test_small_glyphs_are_found_once_on_the_first_level_that_shows_them():
    places = [(200, 200, 40), (300, 200, 40), (1500, 1600, 40)]
    found = segment(page(1792, *places), StandInNetwork())
    near(boxes(found), [box(*place) for place in places], by=2)
    assert {glyph.level.grey.shape for glyph in found} == {(1792, 1792)}


def test_a_large_glyph_is_found_once_on_a_coarse_level_beside_small_ones():
    places = [(100, 100, 800), (1200, 300, 40)]
    found = segment(page(1792, *places), StandInNetwork())
    near(boxes(found), [box(*place) for place in places], by=20)
    assert {max(glyph.level.grey.shape) for glyph in found} == {112, 1792}


def test_the_smallest_glyphs_come_from_the_last_level():
    found = segment(page(448, (100, 100, 10)), StandInNetwork())
    near(boxes(found), [box(100, 100, 10)], by=1)


def test_a_glyph_has_its_ink_and_the_networks_probabilities():
    (glyph,) = segment(page(224, (50, 60, 80)), StandInNetwork())
    assert glyph.mask.all()
    assert (glyph.score, glyph.digit) == (1, 1)
    assert (glyph.level.owner[glyph.window] == glyph.numbers[0]).all()


def test_boxes_are_right_if_the_sides_are_not_multiples_of_the_stride():
    grey = page(300, (40, 120, 60)).grey[: 40 + 120 + 60, :171]
    near(boxes(segment(picture_of(grey), StandInNetwork())), [box(40, 120, 60)], by=3)


@pytest.mark.parametrize("shape", [(8, 8), (28, 28), (1, 900), (700, 3)])
def test_a_picture_is_not_enlarged_beyond_its_own_resolution(shape):
    for side in sides(max(shape)):
        level, *_ = run_level(np.zeros(shape, np.uint8), shape, side, None, StandInNetwork())
        most = max(MAX_ENLARGEMENT, FIRST_SIDE / max(shape))
        assert level.scale <= most
        limit = np.array(shape) * most + 16  # padding to the network's stride
        assert (np.array(level.grey.shape) <= limit).all()
        assert not (np.array(level.grey.shape) % 16).any()


def test_ink_at_the_border_does_not_extend_into_the_padding():
    grey = page(300, (40, 120, 60)).grey[:180]
    near(boxes(segment(picture_of(grey), StandInNetwork())), [box(40, 120, 60)], by=2)


def test_a_large_glyph_on_a_fine_level_only_is_ignored():
    class OnFineLevels(StandInNetwork):
        def __call__(self, grey):
            if len(grey) <= 448:  # the whole of a coarse level, without the large square
                grey = grey.copy()
                grey[:, round(len(grey) * 90 / 896) :] = 255
            return super().__call__(grey)

    picture = page(896, (40, 40, 30), (100, 40, 200))
    assert boxes(segment(picture, OnFineLevels())) == [box(40, 40, 30)]


def test_there_is_no_level_after_the_last():
    assert list(sides(100_000))[-1] == LAST_SIDE


def test_noise_costs_no_more_than_the_limits():
    network = Noise()
    started = time.process_time()
    found = segment(picture_of(np.zeros((4000, 4000), np.uint8)), network)
    assert MAX_PIXELS / 4 < network.shown <= MAX_PIXELS
    assert MAX_GLYPHS / 2 < len(found) <= MAX_GLYPHS * len(list(sides(4000)))
    levels = {glyph.level.scale: glyph.level for glyph in found}
    assert max(level.owner.max() for level in levels.values()) < MAX_GLYPHS
    assert time.process_time() - started < 10


def test_each_vote_goes_to_the_nearest_centre():
    rng = np.random.default_rng(0)
    votes = rng.uniform(-20, 820, (5000, 2)).astype(np.float32)
    for rows, columns in (
        (rng.integers(0, 200, 40), rng.integers(0, 200, 40)),
        (rng.integers(0, 200, 900), rng.integers(0, 200, 900)),
        (np.array([7]), np.array([190])),
    ):
        nearest = glyphs._nearest(votes, rows, columns, (400, 400))
        cells = np.round((votes - 1.5) / CELL).clip(0, 199)
        far = (cells[:, :1] - rows) ** 2 + (cells[:, 1:] - columns) ** 2
        np.testing.assert_array_equal(far[np.arange(len(votes)), nearest], far.min(1))


def test_small_glyphs_are_kept_where_the_next_level_costs_too_much(monkeypatch):
    monkeypatch.setattr(segmentation, "MAX_PIXELS", COARSE + 448**2)
    found = segment(page(1792, (200, 200, 40), (1500, 1600, 40)), StandInNetwork())
    near(boxes(found), [box(200, 200, 40), box(1500, 1600, 40)], by=4)
    assert {glyph.level.grey.shape for glyph in found} == {(448, 448)}


def test_blank_paper_has_no_glyphs():
    assert segment(page(500), StandInNetwork()) == []


@pytest.mark.parametrize("tflite", [b"", b"no network"])
def test_bytes_that_are_not_a_network_raise_a_typed_error(tflite):
    with pytest.raises(ModelUnavailable, match="publish the bundle again"):
        Segmenter(tflite, CONFIG)


def test_a_network_with_other_outputs_raises_a_typed_error():
    with pytest.raises(ModelUnavailable, match="segmenter"):
        Segmenter(SHIPPED.classifier, CONFIG)


def test_a_segmenter_finds_the_same_after_it_was_sent_to_another_process():
    grey = np.full((64, 48), 230, np.uint8)
    grey[10:50, 20:26] = 40
    segmenter = Segmenter(trained.NETWORK.read_bytes(), CONFIG)
    sent = pickle.loads(pickle.dumps(segmenter))
    assert sent.config == CONFIG
    for one, other in zip(sent(grey), segmenter(grey), strict=True):
        np.testing.assert_array_equal(one, other)


def test_small_writing_is_decoded_again_at_the_resolution_that_shows_it():
    places = [(200, 200, 40), (1500, 1600, 40)]
    buffer = io.BytesIO()
    Image.fromarray(page(1792, *places).grey).save(buffer, "PNG")
    picture = decode(buffer.getvalue())
    assert max(picture.grey.shape) < 1792
    near(boxes(segment(picture, StandInNetwork())), [box(*place) for place in places], by=2)


class TestCoarsestLevel:
    def test_it_has_56_pixels_and_finds_a_glyph_that_fills_the_picture(self):
        assert list(sides(60)) == [56, 112]
        (glyph,) = segment(page(448, (20, 20, 400)), StandInNetwork())
        assert glyph.level.scale == 56 / 448

    def test_no_glyph_is_too_large_for_it(self):
        class Larger(StandInNetwork):
            def __call__(self, grey):
                *outputs, sizes = super().__call__(grey)
                return *outputs, np.full_like(sizes, 1.2 * CONFIG.large)

        found = segment(page(448, (20, 20, 400)), Larger())
        assert [glyph.level.scale for glyph in found] == [56 / 448]


class TestQuality:
    """A square of 70 pixels in 896, which the levels 448 and 896 show."""

    PICTURE = page(896, (100, 100, 70))

    @staticmethod
    def by_level(**of: float):
        """A quality for each level's side."""
        return lambda glyphs: [of[f"at_{max(glyph.level.grey.shape)}"] for glyph in glyphs]

    def test_a_glyph_of_high_quality_is_not_segmented_again(self):
        network = StandInNetwork()
        found = segment(self.PICTURE, network, self.by_level(at_448=CONFIG.trusted))
        assert sides_of(found) == {448}
        assert network.shown == COARSE + 448**2

    @pytest.mark.parametrize(
        ("coarse", "fine", "kept"), [(0.3, 0.9, 896), (0.3, 0.4, 896), (0.3, 0.2, 448)]
    )
    def test_a_glyph_of_low_quality_is_replaced_by_a_better_one(self, coarse, fine, kept):
        quality = self.by_level(at_448=coarse, at_896=fine, at_1792=0.05)
        found = segment(self.PICTURE, StandInNetwork(), quality)
        assert sides_of(found) == {kept}
        near(boxes(found), [box(100, 100, 70)], by=2)

    def test_a_glyph_of_low_quality_on_every_level_is_dropped(self):
        poor = CONFIG.kept / 2
        quality = self.by_level(at_448=poor, at_896=poor, at_1792=poor)
        assert segment(self.PICTURE, StandInNetwork(), quality) == []

    def test_a_glyph_of_low_quality_does_not_replace_good_ones_inside_it(self):
        class Vague(StandInNetwork):
            """Sees the two squares as one on the coarse levels."""

            def __call__(self, grey):
                if len(grey) <= 448:
                    grey = grey.copy()
                    scale = len(grey) / 896
                    rows = slice(round(100 * scale), round(150 * scale))
                    grey[rows, round(100 * scale) : round(204 * scale)] = 0
                return super().__call__(grey)

        places = [(100, 100, 50), (154, 100, 50)]
        quality = self.by_level(at_448=0.4, at_896=0.9)
        near(
            boxes(segment(page(896, *places), Vague(), quality)),
            [box(*place) for place in places],
            by=2,
        )


class TestComponents:
    class Halves(StandInNetwork):
        """Takes the halves of a square for two glyphs."""

        @staticmethod
        def squares(ink):
            for left, top, right, bottom in StandInNetwork.squares(ink):
                middle = (left + right) // 4 * 2
                yield left, top, middle - 2, bottom
                yield middle, top, right, bottom

    PICTURE = page(448, (100, 100, 80))

    def test_without_a_quality_glyphs_are_those_of_the_votes(self):
        assert len(segment(self.PICTURE, self.Halves())) == 2

    @pytest.mark.parametrize(("whole", "half", "count"), [(0.9, 0.6, 1), (0.6, 0.9, 2)])
    def test_a_component_of_higher_quality_replaces_the_glyphs_in_it(self, whole, half, count):
        def quality(glyphs):
            wide = (glyph.mask.shape[1] > 0.8 * glyph.mask.shape[0] for glyph in glyphs)
            return [whole if one else half for one in wide]

        found = segment(self.PICTURE, self.Halves(), quality)
        assert len(found) == count
        assert sum(np.count_nonzero(glyph.mask) for glyph in found) == 40**2
        owners = {number for glyph in found for number in glyph.numbers}
        assert len(owners) == 2

    def test_glyphs_elsewhere_are_not_compared(self):
        def glyph(left, width):
            return Glyph(BLANK, left, 5, np.ones((40, width), np.bool_), (0,), 1.0, 1.0)

        within, beside, whole = glyph(10, 20), glyph(60, 20), glyph(10, 40)
        chosen = segmentation._chosen([(0.9, within), (0.1, beside)], [(0.5, whole)])
        assert [one for _, one in chosen] == [beside, whole]

    def test_one_glyph_of_the_same_ink_is_kept(self):
        mask = np.ones((40, 40), np.bool_)
        vote, whole = (Glyph(BLANK, 5, 5, mask, (0,), 1.0, 1.0) for _ in range(2))
        assert segmentation._chosen([(0.4, vote)], [(0.5, whole)]) == [(0.4, vote)]


def level_of(handwriting: np.ndarray, printed: np.ndarray) -> Level:
    """A level on which the network sees what it is told, all handwriting being digits'."""
    blank = np.zeros(handwriting.shape, np.uint8)
    owner = np.full(handwriting.shape, -1, np.int16)
    return Level(blank, 1.0, handwriting, handwriting.copy(), printed, blank.copy(), owner)


BLANK = level_of(np.zeros((96, 96), np.uint8), np.zeros((96, 96), np.uint8))


class TestStrokesThatLookLikePrint:
    @staticmethod
    def joined(by_hand: int, printed: int) -> Level:
        """An upright stroke of so many rows of each kind."""
        rows, window = by_hand + printed, slice(20, 26)
        handwriting, print_ = (np.zeros((rows + 40, 64), np.uint8) for _ in range(2))
        handwriting[20 : 20 + by_hand, window] = 200
        print_[20 + by_hand : 20 + rows, window] = 200
        level = level_of(handwriting, print_)
        join_strokes(level)
        return level

    @pytest.mark.parametrize(("by_hand", "printed"), [(40, 20), (20, 40)])
    def test_the_whole_stroke_is_handwriting_though_parts_look_printed(self, by_hand, printed):
        level = self.joined(by_hand, printed)
        assert (level.handwriting[20:80, 20:26] == 200).all()
        assert (level.digit[20 : 20 + by_hand, 20:26] == 200).all()
        assert level.printed.max() == 0

    def test_print_with_little_handwriting_stays_print(self):
        level = self.joined(10, 50)
        assert (level.handwriting > 0).sum() == 10 * 6
        assert (level.printed > 0).sum() == 50 * 6

    def test_components_larger_than_a_glyph_are_unchanged(self):
        level = self.joined(100, MAX_STROKE_SIDE - 99)
        assert (level.printed > 0).any()


class OnCloth(StandInNetwork):
    """Sees on one level that the right half of the picture is no paper."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def __call__(self, grey):
        kind, *outputs = super().__call__(grey)
        if len(grey) == self.side:
            half = kind[:, grey.shape[1] // 2 :]
            half *= 0.4
            half[..., BACKGROUND] = 0.6
        return kind, *outputs


@pytest.mark.parametrize(("side", "holds"), [(112, False), (224, True), (448, True)])
def test_the_background_of_two_levels_holds_for_finer_ones(side, holds):
    on_paper, on_cloth = (390, 100, 40), (470, 100, 40)
    found = segment(page(896, on_paper, on_cloth), OnCloth(side))
    expected = [box(*on_paper)] if holds else [box(*on_paper), box(*on_cloth)]
    near(boxes(found), expected, by=2)
    assert sides_of(found) == {896}
