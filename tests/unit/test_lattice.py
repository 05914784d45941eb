"""The best path through a line, with a stand-in for both networks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from digits.recognition.glyphs import Glyph, Level
from digits.recognition.lattice import Candidate, Lattice
from training_job.tile_segmenter import trained

CONFIG = trained.config().lattice
PLANE = np.zeros((16, 16), np.uint8)
LEVEL = Level(PLANE, 1.0, PLANE, PLANE, PLANE, PLANE, np.full((16, 16), -1, np.int16))
FRAME = np.zeros((28, 28), np.float32)


def glyph(left: int, top: int, width: int, height: int, number: int) -> Glyph:
    return Glyph(LEVEL, left, top, np.ones((height, width), np.bool_), (number,), 1.0, 0.9)


def of(digit: float, which: int = 0, share: float = 0.97) -> tuple[float, np.ndarray]:
    """What the networks give: of a digit at all, and of each digit."""
    probabilities = np.full(10, (1 - share) / 9)
    probabilities[which] = share
    return digit, probabilities


class StandInEvaluation:
    """Returns the given candidate for each known group of glyphs, and no digit for other groups.

    All have a high contrast, except those in `faint`.
    """

    def __init__(
        self, known: dict[tuple[int, ...], tuple[float, np.ndarray]],
        faint: tuple[tuple[int, ...], ...] = (),
    ) -> None:  # fmt: skip
        self.known, self.faint, self.asked = known, faint, []

    def __call__(self, glyphs):
        found = []
        for one in glyphs:
            self.asked.append(one.numbers)
            digit, probabilities = self.known.get(one.numbers, of(0.01, share=0.3))
            contrast = CONFIG.contrast * (0.9 if one.numbers in self.faint else 5)
            found.append(Candidate(one, FRAME, probabilities, digit, digit > 0.5, contrast))
        return found


def read(line, known, faint=()) -> str:
    """Digits, and ? for any other mark."""
    path = Lattice(StandInEvaluation(known, faint), CONFIG).best_path(line)
    return "".join(
        str(one.candidate.probabilities.argmax()) if one.is_digit else "?" for one in path
    )


BODY, BAR = glyph(0, 20, 50, 80, 0), glyph(20, 0, 60, 12, 1)  # of a 5
SEVEN = glyph(100, 0, 50, 100, 2)


def test_two_parts_of_a_5_are_joined():
    known = {(0,): of(0.7, 3, 0.6), (1,): of(0.1), (2,): of(0.99, 7), (0, 1): of(0.98, 5)}
    line = [BODY, BAR, SEVEN]
    assert read(line, known) == "57"
    (five, _) = Lattice(StandInEvaluation(known), CONFIG).best_path(line)
    assert five.candidate.glyph.box == (0, 0, 80, 100)
    assert five.candidate.sure


def test_two_parts_are_not_joined_if_one_is_a_digit_by_itself():
    known = {(0,): of(0.98, 5), (1,): of(0.1), (2,): of(0.99, 7), (0, 1): of(0.5, 5)}
    assert read([BODY, BAR, SEVEN], known) == "5?7"


@pytest.mark.parametrize("union", [0.1, 0.98])
def test_two_digits_that_look_like_one_together_are_not_joined(union):
    ones = glyph(0, 0, 12, 100, 0), glyph(30, 0, 12, 100, 1)
    assert read(ones, {(0,): of(0.95, 1), (1,): of(0.95, 1), (0, 1): of(union, 4)}) == "11"


def test_a_sign_of_two_parts_is_one_segment():
    upper, lower = glyph(60, 30, 40, 8, 0), glyph(62, 60, 40, 8, 1)
    line = [glyph(0, 0, 50, 100, 3), upper, lower, SEVEN]
    no = {(0,): of(0.05), (1,): of(0.05), (0, 1): of(0.02)}
    assert read(line, {**no, (2,): of(0.99, 7), (3,): of(0.99, 3)}) == "3?7"


def test_two_digits_are_not_joined_to_a_sign():
    digits = glyph(0, 0, 40, 100, 0), glyph(60, 0, 40, 100, 1)
    assert read(digits, {(0,): of(0.6, 3, 0.7), (1,): of(0.6, 3, 0.7), (0, 1): of(0.001)}) == "33"


class TestSigns:
    """Their parts are on levels of their own, or too many to be one candidate."""

    BEFORE, AFTER = glyph(0, 0, 50, 100, 8), glyph(120, 0, 50, 100, 9)
    KNOWN = {(8,): of(0.99, 3), (9,): of(0.99, 7)}  # noqa: RUF012

    def between(self, *parts: tuple[int, int, int, int], known=None) -> list:
        """What is read between two digits of these boxes: left, top, width, height."""
        signs = [
            replace(glyph(*part, number), level=replace(LEVEL)) for number, part in enumerate(parts)
        ]
        stand_in = StandInEvaluation(self.KNOWN | (known or {}))
        first, *found, last = Lattice(stand_in, CONFIG).best_path([self.BEFORE, *signs, self.AFTER])
        assert (first.is_digit, last.is_digit) == (True, True)
        assert (first.box, last.box) == (self.BEFORE.box, self.AFTER.box)
        return found

    @pytest.mark.parametrize(
        ("parts", "largest"),
        [
            pytest.param([(82, 30, 6, 17), (65, 47, 40, 6), (82, 53, 6, 17)], 1, id="a plus"),
            pytest.param([(65, 47, 40, 6), (81, 25, 8, 8), (81, 68, 8, 8)], 0, id="a divide"),
            pytest.param([(80, 30, 8, 8), (81, 60, 8, 9)], 1, id="a colon"),
        ],
    )
    def test_stacked_parts_are_one_segment_with_their_common_box(self, parts, largest):
        (sign,) = self.between(*parts)
        left, top = min(part[0] for part in parts), min(part[1] for part in parts)
        right = max(part[0] + part[2] for part in parts)
        bottom = max(part[1] + part[3] for part in parts)
        assert sign.box == (left, top, right, bottom)
        assert not sign.is_digit
        assert sign.candidate.glyph.numbers == (largest,)
        assert sign.height == max(right - left, bottom - top)

    def test_signs_beside_each_other_are_two(self):
        found = self.between((62, 47, 20, 6), (78, 60, 20, 6))
        assert [one.box[:2] for one in found] == [(62, 47), (78, 60)]

    def test_a_digit_above_a_sign_is_not_joined_with_it(self):
        digit, sign = self.between((65, 0, 40, 70), (65, 90, 40, 8), known={(0,): of(0.99, 2)})
        assert (digit.is_digit, sign.is_digit) == (True, False)
        assert (digit.box, sign.box) == ((65, 0, 105, 70), (65, 90, 105, 98))

    def test_two_digits_above_each_other_are_two(self):
        known = {(0,): of(0.99, 2), (1,): of(0.99, 5)}
        assert len(self.between((65, 0, 30, 60), (66, 62, 30, 60), known=known)) == 2


@pytest.mark.parametrize(("digit", "text"), [(0.05, "7"), (0.99, "74")])
def test_candidates_of_low_contrast_are_left_out_unless_they_are_digits(digit, text):
    grain = glyph(180, 20, 50, 80, 0)
    known = {(2,): of(0.99, 7), (0,): of(digit, 4)}
    assert read([SEVEN, grain], known, faint=((0,),)) == text
    assert read([SEVEN, grain], known) == (text if digit > 0.5 else "7?")


@pytest.mark.parametrize(("side", "ink", "text"), [(8, 0.5, "7"), (8, 1.0, "7?"), (25, 0.5, "7?")])
def test_an_uncertain_speck_is_left_out_and_a_small_sign_is_kept(side, ink, text):
    speck = replace(glyph(160, 80, side, side, 0), score=ink)
    assert read([SEVEN, speck], {(2,): of(0.99, 7), (0,): of(0.05)}) == text


def test_a_small_glyph_that_looks_like_a_digit_is_likelier_a_sign():
    dot = glyph(160, 80, 15, 15, 0)
    assert read([SEVEN, dot], {(2,): of(0.99, 7), (0,): of(0.5, 0)}) == "7?"
    zero = glyph(160, 20, 60, 80, 0)
    assert read([SEVEN, zero], {(2,): of(0.99, 7), (0,): of(0.5, 0)}) == "70"


@pytest.mark.parametrize(
    ("left", "height", "level"),
    [
        pytest.param(60, 100, LEVEL, id="wider than a digit"),
        pytest.param(90, 100, LEVEL, id="far apart"),
        pytest.param(20, 180, LEVEL, id="taller than a digit"),
        pytest.param(20, 100, replace(LEVEL, scale=1.0), id="of another level"),
    ],
)
def test_groups_that_cannot_be_a_digit_are_not_evaluated(left, height, level):
    one, other = glyph(0, 0, 50, 100, 0), glyph(left, 0, 90, height, 1)
    evaluate = StandInEvaluation({(0,): of(0.99, 1), (1,): of(0.01)})
    Lattice(evaluate, CONFIG).best_path([one, replace(other, level=level)])
    assert evaluate.asked == [(0,), (1,)]


def test_groups_of_too_many_parts_are_not_evaluated():
    bars = [glyph(12 * at, 0, 8, 100, at) for at in range(6)]
    evaluate = StandInEvaluation({(at,): of(0.9, 1) for at in range(6)})
    Lattice(evaluate, CONFIG).best_path(bars)
    assert max(map(len, evaluate.asked)) == CONFIG.most_parts


def test_each_candidate_is_evaluated_once():
    evaluate = StandInEvaluation({(0,): of(0.7, 3), (1,): of(0.1), (0, 1): of(0.98, 5)})
    lattice = Lattice(evaluate, CONFIG)
    lattice.candidates([[BODY], [BAR]])
    for _ in range(2):
        lattice.best_path([BODY, BAR])
    assert sorted(evaluate.asked) == [(0,), (0, 1), (1,)]


def test_a_segments_height_is_its_longer_side_in_the_picture():
    half = glyph(0, 0, 30, 10, 0)
    half = replace(half, level=replace(LEVEL, scale=0.5))
    (reading,) = Lattice(StandInEvaluation({(0,): of(0.9)}), CONFIG).best_path([half])
    assert reading.height == 60


@pytest.mark.parametrize(
    ("by_both", "by_segmenter", "share", "quality"),
    [
        pytest.param(0.9, 0.9, 0.9, 0.81, id="one digit, and which"),
        pytest.param(0.9, 0.9, 0.3, 0.27, id="one digit, but which"),
        pytest.param(0.1, 0.2, 0.5, 0.72, id="one other mark"),
        pytest.param(0.1, 0.95, 0.5, 0.05, id="made of digits, and none"),
    ],
)
def test_quality_is_low_where_the_networks_disagree(by_both, by_segmenter, share, quality):
    digit, probabilities = of(by_both, share=share)
    one = Candidate(replace(BODY, digit=by_segmenter), FRAME, probabilities, digit, False, 20.0)
    assert one.quality == pytest.approx(quality)
