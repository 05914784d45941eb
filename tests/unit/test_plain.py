"""A threshold finds one digit on plain paper, and leaves every other picture to the networks."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from digits.image import Picture, decode
from digits.recognition.classification import Predictions
from digits.recognition.normalisation import SIDE
from digits.recognition.pipeline import Recogniser
from digits.recognition.plain import standing_alone
from training_job.tile_segmenter import trained

CONFIG = trained.config()
RING = 100, 80, 90, 120  # left, top, width, height


def paper(size: int = 300, level: int = 230) -> np.ndarray:
    return np.full((size, size), level, np.uint8)


def with_ring(grey: np.ndarray, box: tuple[int, int, int, int] = RING, ink: int = 30) -> np.ndarray:
    """A ring, for a zero, that fills the box."""
    left, top, width, height = box
    y, x = np.mgrid[:height, :width]
    radius = np.hypot((x + 0.5) / width * 2 - 1, (y + 0.5) / height * 2 - 1)
    drawn = grey.copy()
    drawn[top : top + height, left : left + width][(radius < 1) & (radius > 0.7)] = ink
    return drawn


def picture_of(grey: np.ndarray) -> Picture:
    return Picture(grey, grey.shape[1], grey.shape[0], "PNG")


@pytest.mark.parametrize("polarity", [0, 255])
def test_a_digit_on_plain_paper_is_found(polarity):
    found = standing_alone(picture_of(with_ring(paper()) ^ polarity))
    assert found is not None
    frame, box = found
    assert box == RING
    assert frame.shape == (SIDE, SIDE)
    assert frame.max() == 1
    assert frame[SIDE // 2, SIDE // 2] == 0
    same, _ = standing_alone(picture_of(with_ring(paper())))
    np.testing.assert_allclose(frame, same, atol=0.02)


def test_shading_of_the_paper_is_taken_out():
    y, x = np.mgrid[:300, :300] / 300
    light = 1 - 0.5 * ((x - 0.3) ** 2 + (y - 0.6) ** 2)
    grey = (with_ring(paper()) * light * np.linspace(0.6, 1, 300)).astype(np.uint8)
    found = standing_alone(picture_of(grey))
    assert found is not None
    np.testing.assert_allclose(found[1], RING, atol=1)


def test_the_box_is_in_pixels_of_the_whole_picture():
    buffer = io.BytesIO()
    large = with_ring(paper(3000), tuple(10 * side for side in RING))
    Image.fromarray(large).save(buffer, "PNG")
    picture = decode(buffer.getvalue())
    assert max(picture.grey.shape) < 3000
    _, box = standing_alone(picture)
    np.testing.assert_allclose(box, [10 * side for side in RING], atol=10)


@pytest.mark.parametrize(
    "disturbed",
    [
        lambda grey: grey.__setitem__((slice(250, 253), slice(20, 23)), 60),
        lambda grey: grey.__setitem__((slice(298, 300), slice(297, 300)), 60),
        lambda grey: grey.__setitem__((slice(190, 198), slice(195, 200)), 30),
        lambda grey: grey.__setitem__((slice(None), slice(30, 31)), 120),
        lambda grey: grey.__setitem__((slice(20, None, 40), slice(None)), 120),
        lambda grey: np.copyto(grey, with_ring(grey, (220, 80, 60, 120))),
        lambda grey: np.copyto(grey, grey // 2, where=np.arange(300) < 50),
    ],
    ids=[
        "a speck",
        "a speck at the edge",
        "a point",
        "an edge",
        "ruled lines",
        "a second digit",
        "the edge of a shadow",
    ],
)
def test_a_picture_with_anything_else_in_it_is_left_to_the_networks(disturbed):
    grey = with_ring(paper())
    disturbed(grey)
    assert standing_alone(picture_of(grey)) is None


@pytest.mark.parametrize(
    "grey",
    [
        paper(),
        with_ring(paper(), (100, 80, 8, 10)),
        with_ring(paper(), (0, 80, 90, 120)),
        with_ring(paper(), (60, 80, 180, 120)),
        with_ring(paper(), ink=200),
    ],
    ids=["blank", "too small", "cut by the border", "as wide as two", "faint"],
)
def test_a_mark_that_may_not_be_a_whole_digit_is_left_to_the_networks(grey):
    assert standing_alone(picture_of(grey)) is None


def test_a_digit_that_the_classifier_does_not_accept_is_left_to_the_networks():
    def classify_frames(frames: np.ndarray) -> Predictions:
        no = np.zeros(len(frames), np.bool_)
        return Predictions(np.eye(10)[[0] * len(frames)], np.full(len(frames), 0.5), ~no, no)

    class Asked(Exception):
        pass

    class Segmenter:
        config = CONFIG.segmentation

        def __call__(self, grey: np.ndarray) -> None:
            raise Asked

    with pytest.raises(Asked):
        Recogniser(classify_frames, Segmenter(), CONFIG).read(picture_of(with_ring(paper())))
