"""The sheets of `--explain`: cards with explanations, or frames with captions."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from digits.cli.sheet import cards, contact_sheet
from digits.results import Digit, Explanation, ImageInfo, ModelInfo, Result

CARD, FRAME = 282, (207, 58)  # pixels: a card's height, and (x, y) of its frame
TILE, CAPTION, GAP = 140, 16, 8  # pixels: a frame enlarged 5×, its caption, the space between


def frame(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (28, 28), np.uint8)


def digit(seed: int, *, explained: bool = True, review: bool = False, **fields) -> Digit:
    buffer = io.BytesIO()
    Image.fromarray(frame(seed)).save(buffer, "PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    return Digit(
        **{"digit": seed % 10, "confidence": 0.5} | fields,
        probabilities=(0.1,) * 10,
        box=(0, 0, 1, 1),
        needs_review=review,
        reason="low_confidence" if review else None,
        explanation=Explanation(frame=data) if explained else None,
    )


def result(*digits: Digit) -> tuple[str, Result]:
    found = Result(
        text="?",
        needs_review=False,
        reason=None,
        digits=digits,
        image=ImageInfo(width=1, height=1, format="PNG"),
        model=ModelInfo(version="v", sha256="s", preprocessing="1"),
    )
    return "picture.png", found


def sheet(*results: tuple[str, Result]) -> np.ndarray:
    with Image.open(io.BytesIO(contact_sheet(results))) as image:
        assert (image.format, image.mode) == ("PNG", "L")
        return np.asarray(image)


def tile(drawn: np.ndarray, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the frame at a place of the sheet, reduced to 28×28, and the caption below it."""
    x = GAP + index % 8 * (TILE + GAP)
    y = GAP + index // 8 * (TILE + CAPTION + GAP)
    large = drawn[y : y + TILE, x : x + TILE]
    small = large[2::5, 2::5]
    np.testing.assert_array_equal(large, small.repeat(5, 0).repeat(5, 1))
    return small, drawn[y + TILE : y + TILE + CAPTION, x : x + TILE]


def test_every_frame_is_shown_unchanged_and_in_order():
    drawn = sheet(result(digit(0), digit(1)), result(), result(*map(digit, range(2, 11))))
    for seed in range(11):
        shown, caption = tile(drawn, seed)
        np.testing.assert_array_equal(shown, frame(seed))
        assert caption.min() < 100


@pytest.mark.parametrize(
    ("count", "columns", "rows"), [(1, 1, 1), (7, 7, 1), (8, 8, 1), (9, 8, 2), (17, 8, 3)]
)
def test_a_row_of_the_sheet_holds_eight_digits(count, columns, rows):
    drawn = sheet(result(*map(digit, range(count))))
    width, height = columns * (TILE + GAP) + GAP, rows * (TILE + CAPTION + GAP) + GAP
    assert drawn.shape == (height, width)
    assert (drawn[:GAP].min(), drawn[:, :GAP].min()) == (255, 255)
    if count % 8 and rows > 1:
        assert drawn[-(TILE + CAPTION) :, (count % 8) * (TILE + GAP) + GAP :].min() == 255


def test_a_caption_shows_digit_confidence_and_review_mark():
    alike = [digit(3, confidence=0.75) for _ in range(2)]
    others = [
        digit(3, confidence=0.75, digit=4),
        digit(3, confidence=0.751),
        digit(3, confidence=0.75, review=True),
    ]
    drawn = sheet(result(*alike, *others))
    first, *captions = [tile(drawn, index)[1] for index in range(5)]
    assert [np.array_equal(first, caption) for caption in captions] == [True, False, False, False]


def test_the_longest_caption_fits_below_its_frame():
    drawn = sheet(result(digit(8, confidence=1.0, review=True), digit(1)))
    assert drawn[-(CAPTION + GAP) :, GAP + TILE : TILE + 2 * GAP].min() == 255
    assert drawn[-GAP:].min() == 255


def test_a_digit_without_an_explanation_is_left_out():
    drawn = sheet(result(digit(0, explained=False), digit(1)))
    np.testing.assert_array_equal(tile(drawn, 0)[0], frame(1))
    assert drawn.shape[1] == TILE + 2 * GAP


def test_without_digits_the_sheet_is_empty():
    for nothing in ((), (result(),)):
        drawn = sheet(*nothing)
        assert drawn.min() == 255
        assert drawn.shape == (TILE + CAPTION + 2 * GAP, TILE + 2 * GAP)


def test_the_sheet_shows_the_frame_of_the_explanation(classifier, seven):
    answer = classifier.classify(seven, explain="frame")
    explanation = answer.digits[0].explanation
    assert explanation is not None
    shown, _ = tile(sheet(("seven.png", answer)), 0)
    with Image.open(io.BytesIO(base64.b64decode(explanation.frame))) as given:
        np.testing.assert_array_equal(shown, np.asarray(given))


@pytest.fixture
def full(classifier, seven, one) -> list[tuple[str, Result]]:
    return [
        (name, classifier.classify(data, explain="full"))
        for name, data in [("seven.png", seven), ("one.jpg", one)]
    ]


def drawn_cards(results) -> np.ndarray:
    with Image.open(io.BytesIO(cards(results))) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        return np.asarray(image)


def altered(named: tuple[str, Result], **fields) -> tuple[str, Result]:
    """Copy a result with other `fields` of its digit."""
    name, found = named
    digits = (found.digits[0].model_copy(update=fields),)
    return name, found.model_copy(update={"digits": digits})


def test_each_card_shows_frame_occlusion_map_and_feature_maps(full):
    drawn = drawn_cards(full)
    assert drawn.shape[0] == 2 * CARD
    for row, (_, found) in enumerate(full):
        explanation = found.digits[0].explanation
        left, top = FRAME[0], row * CARD + FRAME[1]
        square = drawn[top : top + 196, left : left + 196]
        with Image.open(io.BytesIO(base64.b64decode(explanation.frame))) as given:
            np.testing.assert_array_equal(square[3::7, 3::7, 0], np.asarray(given))
        heat = drawn[top : top + 196, left + 224 : left + 420].astype(int)
        assert np.ptp(heat, axis=2).max() > 100  # in colour
        for maps in (-2 * 224, -224):
            square = drawn[top : top + 196, maps : maps + 196]
            assert (square.min(), square.max()) == (0, 255)
            assert (square[..., 0] == square[..., 1]).all()


def test_the_parts_of_a_card_do_not_overlap_or_reach_its_edges(full):
    long = ("a/very/long/path/" * 9 + "picture.png", full[0][1])
    drawn = drawn_cards([altered(long, confidence=1.0, reason="not_a_digit", needs_review=True)])
    edges = (drawn[:20], drawn[-20:], drawn[:, :20], drawn[:, -20:])
    between = (drawn[:, 180:205], drawn[:, FRAME[0] + 2 * 224 + 212 : FRAME[0] + 2 * 224 + 236])
    assert {part.min() for part in edges + between} == {255}


def bars(named: tuple[str, Result]) -> np.ndarray:
    """Return the ink pixels of each of the ten bars, (10,)."""
    left = FRAME[0] + 2 * 224 + 20
    area = drawn_cards([named])[FRAME[1] : FRAME[1] + 196, left : left + 132]
    return np.array([(part < 240).any(axis=2).sum() for part in np.array_split(area, 10)])


def test_probability_bars_grow_with_the_probabilities(full):
    probabilities = (0.0, 0.0, 0.25, 0.0, 0.0, 0.0, 0.0, 0.5, 0.25, 0.0)
    ink = bars(altered(full[0], probabilities=probabilities, confidence=0.5))
    assert ink.argmax() == 7
    assert (ink[[2, 8]] > ink[[0, 1, 3, 4, 5, 6, 9]].max() * 2).all()


def test_the_colour_of_the_answer_depends_on_needs_review(full):
    def colours(**fields):
        return {tuple(pixel) for pixel in drawn_cards([altered(full[0], **fields)]).reshape(-1, 3)}

    blue, orange = (0x24, 0x47, 0xC4), (0xA8, 0x43, 0x00)
    assert blue in colours()
    assert orange not in colours()
    doubtful = colours(needs_review=True, reason="low_confidence")
    assert orange in doubtful
    assert blue not in doubtful
