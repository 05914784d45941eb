"""A page that is turned is marked for review, with the reason."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from digits import image, orientation
from digits.recognition.classification import Predictions
from training_job import synthetic_photos

NUMBERS = 30


def turned(data: bytes, quarters: int) -> bytes:
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(data)) as upright:
        whole = ImageOps.exif_transpose(upright).convert("RGB")
    whole.rotate(90 * quarters, expand=True).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def numbers() -> list[bytes]:
    """Photos of numbers of two to six held-out digits, on one line or two."""
    digits, labels = synthetic_photos.load(held_out=True)
    rng = np.random.default_rng(25)
    samples = []
    for seed in range(NUMBERS):
        chosen = rng.integers(0, len(digits), int(rng.integers(2, 7)))
        samples.append(
            synthetic_photos.number(
                [digits[place] for place in chosen],
                [int(labels[place]) for place in chosen],
                level=("easy", "medium")[seed % 2],
                seed=seed,
                lines=1 + (len(chosen) > 3 and seed % 3 == 0),
            ).data
        )
    return samples


@pytest.mark.parametrize(("quarters", "as_turned"), [(1, 0.35), (2, 0.7), (3, 0.35)])
def test_turned_numbers_are_for_review(classifier, numbers, quarters, as_turned):
    results = [classifier.classify(turned(data, quarters), mode="multiple") for data in numbers]
    assert sum(result.needs_review for result in results) >= 0.9 * NUMBERS
    assert sum(result.reason == "turned" for result in results) >= as_turned * NUMBERS


def test_upright_numbers_are_not_turned(classifier, numbers):
    results = [classifier.classify(data, mode="multiple") for data in numbers]
    assert sum(result.reason == "turned" for result in results) <= 1


def test_a_picture_of_one_digit_is_never_turned(classifier):
    digits, labels = synthetic_photos.load(held_out=True)
    for seed in range(5):
        data = synthetic_photos.photo(digits[seed], int(labels[seed]), level="easy", seed=seed).data
        for mode in ("single", "multiple"):
            assert classifier.classify(turned(data, 2), mode=mode).reason != "turned"


def likely(upright: float, other: float):
    """A classifier for which a frame is a digit with `upright` if its first row is lit."""

    def classify_frames(frames: np.ndarray) -> Predictions:
        assert len(frames) <= 4 * orientation.MOST
        lit = frames[:, 0].min(axis=1) > 0.5
        yes = np.ones(len(frames), np.bool_)
        digit = np.where(lit, upright, other)
        return Predictions(np.eye(10)[[7] * len(frames)], digit, yes, yes)

    return classify_frames


def lit(count: int) -> np.ndarray:
    frames = np.zeros((count, 28, 28), np.float32)
    frames[:, 0] = 1
    return frames


@pytest.mark.parametrize("count", [2, 32, 33, 500])
def test_a_page_is_turned_if_its_glyphs_are_likelier_digits_in_another_orientation(count):
    assert orientation.is_turned(lit(count), likely(0.3, 0.9))
    assert not orientation.is_turned(lit(count), likely(0.9, 0.3))
    assert not orientation.is_turned(lit(count), likely(0.9, 0.9))


@pytest.mark.parametrize("count", [0, 1])
def test_a_single_glyph_is_never_turned(count):
    assert not orientation.is_turned(lit(count), likely(0.3, 0.9))


def test_each_digit_keeps_its_own_reason_before_that_of_the_page(classifier, numbers):
    for data in numbers:
        result = classifier.classify(turned(data, 2), mode="multiple")
        if result.reason == "turned":
            assert {digit.reason for digit in result.digits} <= {
                "turned", "low_confidence", "not_a_digit",
            }  # fmt: skip
            assert all(digit.needs_review for digit in result.digits)


def test_a_picture_that_exif_turns_upright_is_not_turned(classifier, numbers):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to show it
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(turned(numbers[2], 1))) as lying:
        lying.save(buffer, "JPEG", exif=exif, quality=95)
    assert image.decode(buffer.getvalue()).width == image.decode(numbers[2]).width
    result = classifier.classify(buffer.getvalue(), mode="multiple")
    assert result.reason == classifier.classify(numbers[2], mode="multiple").reason
