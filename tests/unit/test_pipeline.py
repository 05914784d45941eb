"""Selecting the digit of a picture that should have one, and leaving out specks."""

from __future__ import annotations

import numpy as np
import pytest

from digits.image import Picture
from digits.recognition import pipeline
from digits.recognition.glyphs import Glyph, Level
from digits.recognition.lattice import Candidate, PathSegment
from digits.recognition.pipeline import (
    Box,
    RecognisedGlyph,
    SingleDigit,
    digit_log_odds,
    single_digit,
)

PICTURE = Picture(np.zeros((200, 300), np.uint8), 300, 200, "PNG")
FRAME = np.zeros((28, 28), np.float32)


def mark(digit: int, box: Box, *, accepted: bool = True) -> RecognisedGlyph:
    return RecognisedGlyph(FRAME, box, np.eye(10)[digit], True, accepted)


def asked(*marks: RecognisedGlyph) -> str:
    """The digit, in brackets where it is not accepted, and what is said of the others."""
    only = single_digit((marks,), PICTURE)
    assert only.mark is not None
    digit = str(only.mark.probabilities.argmax())
    said = [digit if only.mark.accepted else f"({digit})"]
    return " ".join([*said, *["several"] * only.several, *["unread"] * only.unread])


SEVEN, OTHER, SMALL = (50, 40, 60, 100), (150, 50, 60, 90), (150, 50, 30, 45)


def test_a_blank_picture_has_no_single_digit():
    assert single_digit((), PICTURE) == SingleDigit(None, several=False, unread=False)


def test_the_largest_digit_is_selected_and_a_second_one_is_reported():
    assert asked(mark(7, SEVEN), mark(3, OTHER)) == "7 several"
    assert asked(mark(3, OTHER), mark(7, SEVEN)) == "7 several"


def test_digits_of_several_lines_are_several():
    seven = mark(7, (50, 10, 50, 80))
    only = single_digit(((seven,), (mark(3, (50, 110, 50, 70)),)), PICTURE)
    assert only.mark is seven
    assert (only.several, only.unread) == (True, False)


def test_a_smaller_digit_is_ignored():
    assert asked(mark(7, SEVEN), mark(3, SMALL)) == "7"


def test_a_tall_glyph_that_is_not_accepted_is_reported_as_unread():
    assert asked(mark(7, SEVEN), mark(3, OTHER, accepted=False)) == "7 unread"
    assert asked(mark(7, SEVEN), mark(3, SMALL, accepted=False)) == "7"
    third = mark(1, (230, 50, 20, 90), accepted=False)
    assert asked(mark(7, SEVEN), mark(3, OTHER), third) == "7 several unread"


def test_an_accepted_digit_is_preferred_to_a_larger_glyph_that_is_not():
    larger = mark(3, (130, 20, 120, 160), accepted=False)
    assert asked(mark(7, SEVEN), larger) == "7 unread"


def test_without_an_accepted_digit_the_largest_glyph_is_selected():
    marks = mark(7, SEVEN, accepted=False), mark(3, OTHER, accepted=False)
    assert asked(*marks) == "(7)"


@pytest.mark.parametrize(
    "box",
    [
        pytest.param((0, 40, 40, 100), id="left"),
        pytest.param((150, 2, 60, 90), id="top"),
        pytest.param((250, 40, 50, 100), id="right"),
        pytest.param((150, 90, 60, 108), id="bottom"),
    ],
)
def test_glyphs_cut_by_the_border_are_ignored(box):
    scrap = mark(3, box, accepted=False)
    assert asked(mark(7, SEVEN), scrap) == "7"
    assert asked(scrap) == "(3)"


def test_an_accepted_digit_at_the_border_is_kept():
    assert asked(mark(7, SEVEN), mark(3, (250, 40, 50, 100))) == "7 several"


class TestSpecks:
    PLANE = np.zeros((16, 16), np.uint8)
    LEVEL = Level(PLANE, 1.0, PLANE, PLANE, PLANE, PLANE, np.full((16, 16), -1, np.int16))

    def reading(self, height: int, *, is_digit: bool) -> PathSegment:
        glyph = Glyph(self.LEVEL, 0, 0, np.ones((height, 10), np.bool_), (0,), 1.0, 1.0)
        return PathSegment(
            Candidate(glyph, FRAME, np.eye(10)[1], 0.9, True, 20.0), is_digit, (glyph,)
        )

    def test_a_line_of_small_glyphs_is_left_out_beside_digits(self):
        digits = [self.reading(100, is_digit=True), self.reading(20, is_digit=False)]
        small, large = ([self.reading(height, is_digit=False)] for height in (20, 60))
        assert pipeline._without_specks([small, digits, large, []], 0.35) == [digits, large]

    def test_without_a_digit_no_line_is_left_out(self):
        small = [self.reading(20, is_digit=False)]
        assert pipeline._without_specks([small, []], 0.35) == [small]


def test_log_odds_are_finite():
    given = digit_log_odds(
        np.array([0.5, 0.0, 1.0]), np.array([0.9, 0.5, 0.5]), np.array([0.5] * 3)
    )
    assert given.shape == (3, 3)
    assert np.isfinite(given).all()
    assert given[0] == pytest.approx([0, np.log(9), 0])
    assert given[1, 0] == pytest.approx(-given[2, 0])
