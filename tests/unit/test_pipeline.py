"""What is answered of the marks of a picture where one digit is asked, and what is left out."""

from __future__ import annotations

import numpy as np
import pytest

from digits.image import Picture
from digits.recognition import pipeline
from digits.recognition.lattice import Candidate, Reading
from digits.recognition.pipeline import Box, Mark, evidence, only_digit
from digits.recognition.segmentation import Glyph, Level

PICTURE = Picture(np.zeros((200, 300), np.uint8), 300, 200, "PNG")
FRAME = np.zeros((28, 28), np.float32)


def mark(digit: int, box: Box, *, accepted: bool = True) -> Mark:
    return Mark(FRAME, box, np.eye(10)[digit], True, accepted)


def asked(*marks: Mark) -> tuple[str, bool]:
    """The digit, in brackets where it is not accepted, and whether there are several."""
    lines, several = only_digit((marks,), PICTURE)
    found = [one for line in lines for one in line]
    said = [f"{one.probabilities.argmax()}" for one in found]
    return "".join(
        digit if one.accepted else f"({digit})" for digit, one in zip(said, found, strict=True)
    ), several


SEVEN, OTHER = (50, 40, 60, 100), (150, 50, 60, 90)


def test_a_blank_picture_has_none():
    assert only_digit((), PICTURE) == ((), False)


def test_the_largest_is_answered_and_a_second_as_tall_is_said():
    assert asked(mark(7, SEVEN), mark(3, OTHER)) == ("7", True)
    assert asked(mark(3, OTHER), mark(7, SEVEN)) == ("7", True)


def test_digits_of_several_lines_are_several():
    lines = ((mark(7, (50, 10, 50, 80)),), (mark(3, (50, 110, 50, 70)),))
    (((found,),), several) = only_digit(lines, PICTURE)
    assert (found.probabilities.argmax(), several) == (7, True)


def test_a_smaller_one_is_left_aside():
    assert asked(mark(7, SEVEN), mark(3, (150, 50, 30, 45))) == ("7", False)


def test_it_is_not_accepted_beside_something_as_tall_that_is_not():
    assert asked(mark(7, SEVEN), mark(3, OTHER, accepted=False)) == ("(7)", False)
    small = mark(3, (150, 50, 30, 45), accepted=False)
    assert asked(mark(7, SEVEN), small) == ("7", False)


def test_one_that_is_accepted_goes_before_a_larger_one_that_is_not():
    larger = mark(3, (130, 20, 120, 160), accepted=False)
    assert asked(mark(7, SEVEN), larger) == ("(7)", False)


@pytest.mark.parametrize(
    "box",
    [
        pytest.param((0, 40, 40, 100), id="left"),
        pytest.param((150, 2, 60, 90), id="top"),
        pytest.param((250, 40, 50, 100), id="right"),
        pytest.param((150, 90, 60, 108), id="bottom"),
    ],
)
def test_scraps_that_the_border_cuts_are_left_aside(box):
    scrap = mark(3, box, accepted=False)
    assert asked(mark(7, SEVEN), scrap) == ("7", False)
    assert asked(scrap) == ("(3)", False)


def test_a_digit_at_the_border_is_no_scrap():
    assert asked(mark(7, SEVEN), mark(3, (250, 40, 50, 100))) == ("7", True)


class TestSpecks:
    PLANE = np.zeros((16, 16), np.uint8)
    LEVEL = Level(PLANE, 1.0, PLANE, PLANE, PLANE, PLANE, np.full((16, 16), -1, np.int16))

    def reading(self, height: int, *, is_digit: bool) -> Reading:
        glyph = Glyph(self.LEVEL, 0, 0, np.ones((height, 10), np.bool_), (0,), 1.0, 1.0)
        return Reading(Candidate(glyph, FRAME, np.eye(10)[1], 0.9, True), is_digit)

    def test_a_line_of_small_marks_is_left_out_beside_digits(self):
        digits = [self.reading(100, is_digit=True), self.reading(20, is_digit=False)]
        small, large = ([self.reading(height, is_digit=False)] for height in (20, 60))
        assert pipeline._without_specks([small, digits, large, []], 0.35) == [digits, large]

    def test_without_a_digit_none_is(self):
        small = [self.reading(20, is_digit=False)]
        assert pipeline._without_specks([small, []], 0.35) == [small]


def test_evidence_is_in_finite_log_odds():
    given = evidence(np.array([0.5, 0.0, 1.0]), np.array([0.9, 0.5, 0.5]), np.array([0.5] * 3))
    assert given.shape == (3, 3)
    assert np.isfinite(given).all()
    assert given[0] == pytest.approx([0, np.log(9), 0])
    assert given[1, 0] == pytest.approx(-given[2, 0])
