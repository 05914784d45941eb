"""Metrics agree with their definitions and with scikit-learn."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, log_loss, precision_score, recall_score

from digits.recognition.classification import softmax
from training_job import evaluate


def sure(digits, confidences) -> np.ndarray:
    """Probabilities with these predictions and confidences; the rest is spread evenly."""
    digits, confidences = np.asarray(digits), np.asarray(confidences, float)
    rows = np.repeat(((1 - confidences) / 9)[:, None], 10, axis=1)
    rows[np.arange(len(digits)), digits] = confidences
    return rows


@pytest.fixture(scope="module")
def drawn():
    """Logits, and labels drawn from their softmax."""
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 2, (20_000, 10))
    shares = softmax(logits, 1.0).cumsum(axis=1)
    labels = (generator.random((20_000, 1)) > shares).sum(axis=1)
    return logits, np.minimum(labels, 9).astype(np.uint8)


def test_loss_is_the_mean_negative_log_likelihood_of_the_labels():
    probabilities = sure([3, 3], [0.5, 0.25])
    labels = np.array([3, 3], np.uint8)
    expected = (math.log(2) + math.log(4)) / 2
    assert evaluate.negative_log_likelihood(probabilities, labels) == pytest.approx(expected)


def test_loss_agrees_with_scikit_learn(drawn):
    logits, labels = drawn
    probabilities = softmax(logits, 1.0)
    assert evaluate.negative_log_likelihood(probabilities, labels) == pytest.approx(
        log_loss(labels, probabilities, labels=range(10))
    )


def test_the_loss_of_a_label_of_probability_0_is_finite():
    probabilities = np.eye(10)[[4]]
    assert 100 < evaluate.negative_log_likelihood(probabilities, np.array([5])) < math.inf


def test_groups_have_equal_size_and_rising_confidence():
    confidences = [0.9, 0.5, 0.8, 0.6, 0.7, 0.95]
    labels = np.array([1, 0, 1, 1, 0, 1], np.uint8)  # those at 0.5 and 0.7 are wrong
    groups = evaluate.reliability(sure([1] * 6, confidences), labels, bins=3)
    assert [group["count"] for group in groups] == [2, 2, 2]
    assert [group["confidence"] for group in groups] == pytest.approx([0.55, 0.75, 0.925])
    assert [group["accuracy"] for group in groups] == [0.5, 0.5, 1.0]


def test_there_are_fifteen_groups_of_all_images(drawn):
    logits, labels = drawn
    groups = evaluate.reliability(softmax(logits, 1.0), labels)
    assert len(groups) == 15
    assert sum(group["count"] for group in groups) == len(labels)
    assert max(g["count"] for g in groups) - min(g["count"] for g in groups) <= 1


def test_few_images_make_fewer_groups_and_none_is_empty():
    groups = evaluate.reliability(sure([1, 2], [0.5, 0.6]), np.array([1, 2], np.uint8))
    assert [group["count"] for group in groups] == [1, 1]


def test_calibration_error_weighs_each_gap_by_its_group():
    groups = [
        {"count": 1, "confidence": 0.5, "accuracy": 0.7},
        {"count": 3, "confidence": 0.9, "accuracy": 0.8},
    ]
    assert evaluate.expected_calibration_error(groups) == pytest.approx((0.2 + 3 * 0.1) / 4)


def test_calibration_error_is_the_overconfidence_at_constant_confidence():
    labels = np.array([1] * 80 + [2] * 20, np.uint8)
    groups = evaluate.reliability(sure([1] * 100, [1.0] * 100), labels)
    # Equal confidences stay in their order, so all wrong ones share groups: 0.2 in all the same.
    assert evaluate.expected_calibration_error(groups) == pytest.approx(0.2)


def test_calibration_error_is_small_where_labels_follow_the_probabilities(drawn):
    logits, labels = drawn
    groups = evaluate.reliability(softmax(logits, 1.0), labels)
    assert evaluate.expected_calibration_error(groups) < 0.02  # sampling


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_a_known_temperature_is_found_again(drawn, temperature):
    logits, labels = drawn
    assert evaluate.fit_temperature(logits * temperature, labels) == pytest.approx(
        temperature, rel=0.03
    )


def test_the_threshold_accepts_the_share_that_was_asked_for():
    generator = np.random.default_rng(0)
    likely = generator.uniform(0.2, 1, 1_000)
    threshold = evaluate.acceptance_threshold(likely, share=0.9)
    assert (likely >= threshold).mean() == pytest.approx(0.9, abs=0.001)
    assert evaluate.acceptance_threshold(likely) < threshold  # by default nearly all


def test_a_report_agrees_with_scikit_learn(drawn):
    logits, labels = drawn
    probabilities = softmax(logits, 1.0)
    guesses = probabilities.argmax(axis=1)
    report = evaluate.report(probabilities, labels, probabilities.max(axis=1) > 0.5)
    assert report["images"] == len(labels)
    assert report["accuracy"] == pytest.approx(accuracy_score(labels, guesses))
    assert report["errors"] == (guesses != labels).sum()
    for name, score in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
        expected = score(labels, guesses, labels=range(10), average=None)
        assert [row[name] for row in report["digits"]] == pytest.approx(expected)
    assert [row["digit"] for row in report["digits"]] == list(range(10))


def test_the_confusion_matrix_counts_labels_by_predictions():
    report = evaluate.report(
        sure([1, 7, 7], [0.9] * 3), np.array([7, 7, 7], np.uint8), np.ones(3, np.bool_)
    )
    matrix = np.array(report["confusion_matrix"])
    assert matrix.shape == (10, 10)
    assert matrix[7, 1] == 1
    assert matrix[7, 7] == 2
    assert matrix.sum() == 3


def test_accepted_answers_are_judged_by_themselves():
    probabilities = sure([1, 1, 1, 1], [0.9, 0.9, 0.4, 0.4])
    report = evaluate.report(
        probabilities, np.array([1, 1, 2, 2], np.uint8), np.array([1, 1, 0, 0], np.bool_)
    )
    assert report["accuracy"] == 0.5
    assert report["accepted"] == 0.5
    assert report["accuracy_of_accepted"] == 1.0


def test_a_report_can_be_written_even_where_nothing_is_accepted():
    report = evaluate.report(sure([1], [0.4]), np.array([1], np.uint8), np.array([False]))
    assert report["accuracy_of_accepted"] is None
    assert json.loads(json.dumps(report, allow_nan=False)) == report
