"""Whole numbers: digits are found, put together, cut where they touch, and nothing is guessed."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from digits import layout, reading
from digits.image import Picture
from digits.layout import Piece
from digits.preprocess import Mark
from digits.reading import ClassifiedMark
from digits.recognition.classification import Predictions
from training_job import glyphs, strokes, synthetic_photos

PAPER = 235


def drawn(digit: int, seed: int = 0, height: int = 120) -> np.ndarray:
    """A digit that is drawn stroke by stroke, `height` pixels high."""
    plane = strokes.digit(digit, np.random.default_rng([seed, digit]))
    width = max(1, round(plane.shape[1] * height / plane.shape[0]))
    resized = Image.fromarray(plane.astype(np.float32)).resize((width, height))
    return np.asarray(resized).clip(0, 1)


def page_of(planes: list[np.ndarray], gap: int = 25) -> np.ndarray:
    """Planes side by side on a page, `gap` pixels apart."""
    width = sum(plane.shape[1] + gap for plane in planes) + 120
    page, left = np.full((300, width), float(PAPER)), 60
    for plane in planes:
        window = page[80 : 80 + plane.shape[0], left : left + plane.shape[1]]
        np.minimum(window, PAPER - plane * 200, out=window)
        left += plane.shape[1] + gap
    return page.round().astype(np.uint8)


def png(page: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(page).save(buffer, "PNG")
    return buffer.getvalue()


def test_digits_of_uneven_size_and_place_are_read_in_order(classifier):
    planes = [drawn(digit, height=height) for digit, height in ((4, 120), (0, 90), (7, 105))]
    planes[1] = np.pad(planes[1], ((30, 0), (0, 0)))
    assert classifier.classify(png(page_of(planes)), mode="multiple").text == "407"


@pytest.mark.parametrize("pair", [(3, 0), (2, 5), (0, 6), (5, 8), (0, 0)])
def test_digits_that_touch_are_cut_apart(classifier, pair):
    page = page_of([drawn(digit, seed=3) for digit in pair], gap=-3)
    picture = Image.fromarray((page < 150).astype(np.uint8))
    assert picture.getbbox() is not None
    result = classifier.classify(png(page), mode="multiple")
    assert result.text == f"{pair[0]}{pair[1]}"
    first, second = (digit.box for digit in result.digits)
    assert first[0] + first[2] - second[0] < 0.4 * first[2]


def test_a_wide_digit_is_not_cut(classifier):
    wide = np.asarray(Image.fromarray(drawn(0)).resize((150, 120)))
    assert classifier.classify(png(page_of([wide])), mode="multiple").text == "0"


@pytest.mark.parametrize("digit", [2, 3, 5, 9])
def test_a_digit_whose_pen_skipped_is_read_whole(classifier, digit):
    for seed in range(4):
        plane = drawn(digit, seed)
        plane[66:86] = 0
        for mode in ("single", "multiple"):
            assert classifier.classify(png(page_of([plane])), mode=mode).text == str(digit)


@pytest.mark.parametrize("text", ["11", "10", "17", "71", "41", "00"])
def test_two_digits_are_not_taken_for_one_that_is_broken(classifier, text):
    for gap in (12, 30):
        page = page_of([drawn(int(digit), seed=1) for digit in text], gap)
        assert classifier.classify(png(page), mode="multiple").text == text


@pytest.mark.parametrize("text", ["115", "811", "4119", "117"])
def test_ones_that_nearly_touch_are_no_legs_of_a_letter(classifier, text):
    for seed in range(8):
        page = page_of([drawn(int(digit), seed + 7 * at) for at, digit in enumerate(text)], gap=2)
        assert classifier.classify(png(page), mode="multiple").text == text


def test_a_letter_among_digits_is_marked_and_not_guessed(classifier):
    letters = glyphs.load(held_out=True, digits=False)
    marked = 0
    for character in "KMRWX#":
        place = int(np.flatnonzero(letters.characters == character)[0])
        letter = synthetic_photos.stroke(letters.images[place])
        letter = np.asarray(Image.fromarray(letter).resize((100, 120)))
        page = page_of([drawn(5), letter, drawn(2)])
        result = classifier.classify(png(page), mode="multiple")
        assert result.text is not None
        assert (result.text[0], result.text[-1]) == ("5", "2")
        marked += "?" in result.text and result.needs_review
    assert marked >= 5


def test_a_page_without_a_digit_says_why(classifier):
    letters = glyphs.load(held_out=True, digits=False)
    reasons = []
    for place in np.flatnonzero(np.isin(letters.characters, list("KMRWX#")))[::5]:
        sample = synthetic_photos.photo(
            synthetic_photos.stroke(letters.images[place]), "", level="easy", seed=1
        )
        reasons.append(classifier.classify(sample.data).reason)
    assert reasons.count(None) <= 0.03 * len(reasons)
    said = sum(reason in {"not_a_digit", "several_digits"} for reason in reasons)
    assert said >= 0.9 * len(reasons)


@pytest.mark.parametrize(("digit", "is_digit"), [(0.02, False), (0.1, True)])
def test_a_rejected_glyph_that_is_likely_a_digit_is_read_for_review(classifier, digit, is_digit):
    def classify_frames(frames: np.ndarray) -> Predictions:
        no = np.zeros(len(frames), np.bool_)
        return Predictions(np.eye(10)[[7] * len(frames)], np.full(len(frames), digit), no, no)

    for many in (1, 2):
        page = page_of([drawn(7)] * many, gap=250)
        picture = Picture(page, page.shape[1], page.shape[0], "PNG")
        lines = reading.read(picture, classify_frames, classifier.segmenter)
        said = [(one.is_digit, one.accepted) for line in lines for one in line]
        assert said == [(is_digit, False)] * many


def test_a_glyph_inside_one_of_the_opposite_polarity_is_rejected():
    letter = (20, 30, 80, 120)
    for box, is_digit in (((50, 60, 20, 50), False), ((50, 60, 20, 95), True)):
        mark = Mark(np.zeros((28, 28), np.float32), box)
        lines = ((ClassifiedMark(mark, np.eye(10)[1], 0.9, True, True),),)
        ((found,),) = reading._without_holes(lines, [letter])
        assert (found.is_digit, found.accepted) == (is_digit, is_digit)


@pytest.mark.parametrize("level", ["easy", "medium"])
def test_one_digit_is_the_same_either_way(classifier, level):
    digits, labels = synthetic_photos.load(held_out=True)
    for seed in range(20):
        sample = synthetic_photos.photo(digits[seed], int(labels[seed]), level=level, seed=seed)
        single, multiple = (
            classifier.classify(sample.data, mode=mode) for mode in ("single", "multiple")
        )
        if not single.needs_review:
            assert single.text == multiple.text


class TestCuts:
    def test_a_cut_runs_where_the_ink_is_thinnest(self):
        mask = np.zeros((60, 100), np.bool_)
        mask[5:55, 5:40] = mask[5:55, 55:95] = True
        mask[28:32, 40:55] = True  # a bridge
        parts = layout.cuts(Piece(10, 20, mask), pen=4)
        edges = [part.right for part in parts[:-1]]
        assert any(50 <= edge <= 66 for edge in edges)
        assert sum(part.area for part in parts) == np.count_nonzero(mask)

    def test_what_is_all_ink_is_not_cut(self):
        assert len(layout.cuts(Piece(0, 0, np.ones((60, 60), np.bool_)), pen=6)) == 1


class TestPieces:
    def test_together_they_cover_what_each_covered(self):
        one = Piece(2, 3, np.ones((4, 5), np.bool_))
        other = Piece(10, 1, np.ones((2, 2), np.bool_))
        both = layout.together([one, other])
        assert (both.left, both.top, both.right, both.bottom) == (2, 1, 12, 7)
        assert both.area == one.area + other.area

    def test_small_ones_join_the_line_they_are_nearest_to_and_far_ones_none(self):
        def box(left: int, top: int, height: int) -> Piece:
            return Piece(left, top, np.ones((height, 10), np.bool_))

        upper, lower = [box(0, 0, 40), box(30, 2, 40)], [box(0, 80, 40)]
        dash, far = box(12, 20, 4), box(12, 300, 4)
        lines = layout.lines_of([*upper, *lower, dash, far], 40)
        assert [len(line) for line in lines] == [3, 1]
        assert dash in lines[0]


LEFT, MIDDLE, RIGHT = (10, 10, 20, 30), (40, 10, 20, 30), (70, 10, 20, 30)
ALL = (10, 10, 80, 30)


def read_as(*marks: tuple[int | None, tuple[int, int, int, int]]) -> reading.Lines:
    """A line of digits in boxes; None is a glyph that is not a digit."""
    line = []
    for digit, box in marks:
        probabilities = np.full(10, 0.001)
        probabilities[digit or 0] = 0.99
        there = digit is not None
        mark = Mark(np.zeros((28, 28), np.float32), box)
        line.append(ClassifiedMark(mark, probabilities, 0.98 if there else 0.01, there, there))
    return (tuple(line),)


def text_of(lines: reading.Lines) -> str:
    """The digits; in brackets if not accepted, ? if not a digit."""
    words = (
        "?" if not one.is_digit
        else f"{one.probabilities.argmax()}" if one.accepted
        else f"({one.probabilities.argmax()})"
        for line in lines for one in line
    )  # fmt: skip
    return "".join(words)


@pytest.mark.parametrize(
    ("hypotheses", "expected"),
    [
        pytest.param([], "", id="blank"),
        pytest.param([read_as((7, LEFT)), ()], "(7)", id="one hypothesis alone"),
        pytest.param([read_as((7, LEFT)), read_as((7, LEFT))], "7", id="two that agree"),
        pytest.param(
            [read_as((1, LEFT)), read_as((7, LEFT)), read_as((7, LEFT))], "7", id="two outvote one"
        ),
        pytest.param(
            [read_as((4, LEFT), (2, RIGHT)), read_as((4, LEFT), (3, RIGHT))],
            "4(2)",
            id="agreement on a part of a line",
        ),
        pytest.param(
            [
                read_as((6, RIGHT)),
                read_as((6, RIGHT)),
                read_as((1, LEFT), (0, MIDDLE), (6, RIGHT)),
                read_as((1, LEFT), (0, MIDDLE), (6, RIGHT)),
            ],
            "106",
            id="a digit that one hypothesis lacks",
        ),
    ],
)
def test_digits_of_the_best_hypothesis_are_accepted_if_another_confirms_them(hypotheses, expected):
    assert text_of(reading._best_hypothesis(hypotheses, [], small=5)) == expected


def test_ones_in_one_component_that_is_no_digit_are_the_legs_of_a_letter():
    letter, ones, too = read_as((None, ALL)), *(read_as((1, LEFT), (1, RIGHT)) for _ in range(2))
    assert text_of(reading._best_hypothesis([letter], [ones, too], small=5)) == "?"
    assert text_of(reading._best_hypothesis([ones], [too, letter], small=5)) == "11"


def test_digits_too_small_for_the_segmenter_need_no_confirmation():
    assert text_of(reading._best_hypothesis([read_as((7, LEFT)), ()], [], small=50)) == "7"
