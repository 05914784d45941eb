"""Occlusion maps show the influential pixels, and feature maps the layers' activations."""

from __future__ import annotations

import numpy as np
import pytest

from digits.explain import explain, occlusion, overlay, picture, tiled
from digits.results import Explanation

BAR, STEM = (slice(5, 8), slice(7, 21)), (slice(8, 24), slice(17, 20))


@pytest.fixture
def frame() -> np.ndarray:
    """A 7: a bar, and a stem below its end."""
    drawn = np.zeros((28, 28), np.float32)
    drawn[BAR] = drawn[STEM] = 1
    return drawn


def network(weights: np.ndarray, digit: int = 7):
    """Scores that are nothing but the ink under `weights` for `digit`, and 1 for each other one."""

    def logits(frames):
        assert frames.dtype == np.float32
        scores = np.ones((len(frames), 10), np.float32)
        scores[:, digit] = 5 + (frames * weights).sum(axis=(1, 2))
        return scores

    return logits


def weighed(*parts) -> np.ndarray:
    weights = np.zeros((28, 28), np.float32)
    for part, weight in parts:
        weights[part] = weight
    return weights


def test_the_map_is_brightest_where_the_decisive_stroke_is(frame):
    found = occlusion(frame, 7, network(weighed((BAR, 1))))
    assert found[BAR].max() == found.max() == 255
    assert found[14:, :].max() == 0  # the stem tells nothing


def test_only_the_answered_digit_counts(frame):
    both = network(weighed((BAR, 1)))
    assert occlusion(frame, 7, both).max() == 255
    # Without the bar a 1 is the more likely for it.
    assert occlusion(frame, 1, both).max() == 0


def test_ink_that_lowers_the_digits_score_is_dark(frame):
    found = occlusion(frame, 7, network(weighed((BAR, 1), (STEM, -1))))
    assert found[16:, :].max() == 0
    assert found[BAR].max() == 255


def test_a_probability_near_one_does_not_flatten_the_map(frame):
    def sure(frames):
        return network(weighed((BAR, 1)))(frames) + np.eye(10, dtype=np.float32)[7] * 200

    np.testing.assert_array_equal(
        occlusion(frame, 7, sure), occlusion(frame, 7, network(weighed((BAR, 1))))
    )


@pytest.mark.parametrize("place", [(3, 3), (14, 9), (13, 14), (24, 26)])
def test_the_map_is_aligned_with_the_frame(place):
    found = occlusion(np.ones((28, 28), np.float32), 7, network(weighed((place, 1))))
    rows, columns = np.nonzero(found > 128)
    assert abs(rows.mean() - place[0]) <= 1
    assert abs(columns.mean() - place[1]) <= 1


def test_the_map_of_a_mirrored_frame_is_mirrored(frame):
    weights = weighed((BAR, 1), (STEM, 0.5))
    there = occlusion(frame, 7, network(weights))
    back = occlusion(frame[::-1, ::-1], 7, network(weights[::-1, ::-1]))
    np.testing.assert_allclose(back[::-1, ::-1].astype(int), there, atol=1)


@pytest.mark.parametrize("weight", [0, 1e-6])
def test_a_map_of_noise_is_not_amplified(frame, weight):
    assert occlusion(frame, 7, network(weighed((BAR, weight)))).max() < 8


def test_all_squares_are_classified_in_one_batch(frame):
    asked = []

    def logits(frames):
        asked.append(frames)
        return network(weighed((BAR, 1)))(frames)

    occlusion(frame, 7, logits)
    (frames,) = asked
    assert frames.shape == (1 + 14 * 14, 28, 28)
    np.testing.assert_array_equal(frames[0], frame)
    assert (frames <= frame).all()  # covered with black, never with ink


def test_occluding_the_brightest_pixels_lowers_the_shipped_networks_confidence(classifier, seven):
    answer = classifier.classify(seven, explain="full").digits[0]
    frame, heat = (
        np.asarray(picture(data), np.float32)
        for data in (answer.explanation.frame, answer.explanation.occlusion)
    )
    dark = np.where(frame > 128, heat, 256)  # the ink that matters least

    def doubt(place):
        covered = frame.copy()
        y, x = np.unravel_index(place, frame.shape)
        covered[max(y - 3, 0) : y + 3, max(x - 3, 0) : x + 3] = 0
        scores = classifier.logits(covered[np.newaxis] / 255)[0]
        return np.delete(scores, answer.digit).max() - scores[answer.digit]

    assert doubt(heat.argmax()) > doubt(dark.argmin()) + 1


def test_feature_maps_are_tiled_in_order_and_scaled_separately():
    maps = np.zeros((2, 3, 5), np.float32)
    maps[0, 0, 0], maps[1, 2, 1], maps[0, 1, 3] = 1, 100, 0.01
    maps[1, 1, 3] = 0.005
    maps[0, 0, 1], maps[0, 0, 4] = -50, -4  # silent, and no less
    drawn = tiled(maps)

    assert drawn.shape == (2 * 3 - 1, 3 * 4 - 1)
    assert drawn.dtype == np.uint8
    assert [drawn[0, 0], drawn[1, 6], drawn[3, 1], drawn[4, 1]] == [255, 255, 255, 128]
    assert drawn[0, 4] == drawn[:2, 8:].max() == drawn[3:, 4:7].max() == 0
    assert (drawn[2], drawn[:, 3], drawn[3:, 8:]) == (  # between them, and where there is none
        pytest.approx(96), pytest.approx(96), pytest.approx(np.full((2, 3), 96)),
    )  # fmt: skip


def test_the_heat_map_colours_only_influential_pixels(frame):
    def logits_and_maps():
        class Both:
            logits = staticmethod(network(weighed((BAR, 1))))
            activations = staticmethod(lambda _: [])

        return Both()

    full = explain(frame, 7, logits_and_maps(), "full")
    drawn = np.asarray(overlay(full, 3)).astype(int)
    assert drawn.shape == (84, 84, 3)
    colourful = np.ptp(drawn, axis=2)[1::3, 1::3]
    assert colourful[BAR].max() > 100
    assert colourful[16:].max() == 0
    stem = drawn[1::3, 1::3][16:24, 17:20]
    assert stem.min() == stem.max() == 153  # its own grey, dimmed


def test_an_explanation_of_the_frame_only_does_not_run_the_network(frame):
    found = explain(frame, 7, None, "frame")
    assert set(found.model_dump()) == {"frame"}
    np.testing.assert_array_equal(np.asarray(picture(found.frame)), frame * 255)


def test_parts_not_requested_are_omitted_from_the_json():
    assert Explanation(frame="x").model_dump(mode="json") == {"frame": "x"}
    assert Explanation(frame="x").model_dump_json() == '{"frame":"x"}'
    assert Explanation.model_validate({"frame": "x"}) == Explanation(frame="x")
