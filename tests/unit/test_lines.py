"""Glyphs are grouped to text lines in reading order, independent of their order and slant."""

from __future__ import annotations

import numpy as np
import pytest

from digits.recognition.glyphs import Glyph, Level
from digits.recognition.lines import text_lines

PLANE = np.zeros((16, 16), np.uint8)
LEVEL = Level(PLANE, 1.0, PLANE, PLANE, PLANE, PLANE, np.full((16, 16), -1, np.int16))


def glyph(left: float, top: float, width: int = 20, height: int = 40) -> Glyph:
    return Glyph(LEVEL, round(left), round(top), np.ones((height, width), np.bool_), (0,), 1.0, 1.0)


def check(*lines: list[Glyph], sure: bool = True) -> None:
    """The glyphs of these lines, in some other order, are grouped to them."""
    every = [one for line in lines for one in line]
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(every))
        found = text_lines([every[place] for place in order], [sure] * len(every))
        assert [[every.index(one) for one in line] for line in found] == [
            [every.index(one) for one in line] for line in lines
        ]


def test_no_glyphs_give_no_lines():
    assert text_lines([], []) == []


def test_glyphs_of_uneven_size_and_place_are_one_line():
    check([glyph(0, 0), glyph(30, 10, height=30), glyph(60, 5), glyph(200, 12)])


def test_lines_are_read_from_the_top():
    check(*([glyph(30 * at, top) for at in range(4)] for top in (0, 60, 120)))


@pytest.mark.parametrize("slant", [-0.25, 0.25])
def test_lines_slant(slant):
    """Over its length each falls or rises by more than the next is apart, beyond a gap at once."""
    places = [*range(0, 300, 60), *range(400, 700, 60)]
    check(*([glyph(x, 300 + top + slant * x) for x in places] for top in (0, 90)))


def test_a_column_has_as_many_lines_as_digits():
    check(*([glyph(10 + at % 2 * 8, 50 * at)] for at in range(5)))


def test_columns_are_read_across():
    check(*([glyph(0, top), glyph(300, top + 5)] for top in (0, 60, 120)))


def test_a_small_sign_joins_the_line_that_is_nearest():
    dot, dash = glyph(52, 36, 4, 4), glyph(52, 90, 16, 4)
    check(
        [glyph(0, 0), glyph(25, 0), dot, glyph(62, 0)],
        [glyph(0, 70), glyph(25, 70), dash, glyph(75, 70)],
    )


def test_small_glyphs_far_from_every_line_form_their_own_lines():
    above, below = glyph(300, -90, 4, 4), [glyph(40, 300, 4, 4), glyph(52, 299, 4, 4)]
    check([above], [glyph(0, 0), glyph(30, 0)], below, [glyph(40, 400, 4, 4)])


@pytest.mark.parametrize("sure", [True, False])
def test_a_flat_glyph_is_as_tall_as_it_is_wide(sure):
    check([glyph(0, 0), glyph(30, 18, 40, 4), glyph(80, 0)], sure=sure)


def test_likely_digits_determine_the_height_of_a_digit():
    digits = [glyph(0, 40, height=20), glyph(60, 40, height=20)]
    tall = [glyph(200 + 40 * at, 0, 30, 100) for at in range(3)]
    found = text_lines([*digits, *tall], [True, True, False, False, False])
    assert found == [[*digits, *tall]]
    found = text_lines([*digits, *tall], [False, False, True, True, True])
    assert found == [tall, digits]
