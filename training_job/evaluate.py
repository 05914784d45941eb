"""Metrics of a classifier: accuracy, negative log-likelihood, calibration and thresholds."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from digits.recognition.classification import softmax

Probabilities = NDArray[np.float64]
Labels = NDArray[np.uint8]

BINS = 15  # bins of the reliability diagram, as in Guo et al., 2017
ACCEPTED_SHARE = 0.995  # share of held-out digits that is to be accepted; chosen by hand


def negative_log_likelihood(probabilities: Probabilities, labels: Labels) -> float:
    """Return the mean negative log-likelihood of the labels, in nats."""
    return float(_losses(probabilities, labels).mean())


def _losses(probabilities: Probabilities, labels: Labels) -> NDArray[np.float64]:
    of_truth = probabilities[np.arange(len(labels)), labels]
    return np.asarray(-np.log(np.maximum(of_truth, np.finfo(np.float64).tiny)))


def reliability(
    probabilities: Probabilities, labels: Labels, bins: int = BINS
) -> list[dict[str, float]]:
    """Return the mean confidence and the accuracy of `bins` groups of equal size, by confidence.

    The group with the lowest confidence comes first. Equal-mass bins: Nguyen and O'Connor,
    "Posterior Calibration and Exploratory Analysis for Natural Language Processing Models", EMNLP
    2015.
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    bins = min(bins, len(labels))
    groups = np.array_split(np.argsort(confidence, kind="stable"), bins)
    return [
        {
            "count": len(group),
            "confidence": float(confidence[group].mean()),
            "accuracy": float(right[group].mean()),
        }
        for group in groups
    ]


def expected_calibration_error(groups: list[dict[str, float]]) -> float:
    """Return the mean distance of confidence and accuracy, weighted by the size of the groups.

    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
    """
    total = sum(group["count"] for group in groups)
    gaps = (group["count"] * abs(group["confidence"] - group["accuracy"]) for group in groups)
    return sum(gaps) / total


def fit_temperature(logits: NDArray[np.floating[Any]], labels: Labels) -> float:
    """Return the temperature in 0.05..20 that minimises the labels' loss (Guo et al., 2017)."""

    def loss(log_temperature: float) -> float:
        return negative_log_likelihood(softmax(logits, np.exp(log_temperature)), labels)

    found = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded")
    return float(np.exp(found.x))


def acceptance_threshold(scores: NDArray[np.float64], share: float = ACCEPTED_SHARE) -> float:
    """Return the threshold that a `share` of the scores reaches."""
    return float(np.quantile(scores, 1 - share))


def report(
    probabilities: Probabilities, labels: Labels, accepted: NDArray[np.bool_]
) -> dict[str, Any]:
    """Compute all metrics of one data set, as JSON; shares are in 0..1.

    Parameters
    ----------
    probabilities : float64 (n, 10)
        Calibrated probabilities of the digits.
    labels : uint8 (n,)
        The true digits.
    accepted : bool (n,)
        Whether the answer is accepted, that is needs no review.
    """
    guesses = probabilities.argmax(axis=1)
    right = guesses == labels
    groups = reliability(probabilities, labels)
    losses = _losses(probabilities, labels)
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, guesses, labels=range(10), zero_division=0
    )
    return {
        "images": len(labels),
        "accuracy": float(right.mean()),
        "errors": int((~right).sum()),
        "negative_log_likelihood": float(losses.mean()),
        "negative_log_likelihood_standard_error": float(losses.std() / np.sqrt(len(labels))),
        "expected_calibration_error": expected_calibration_error(groups),
        "accepted": float(accepted.mean()),
        "accuracy_of_accepted": float(right[accepted].mean()) if accepted.any() else None,
        "confusion_matrix": confusion_matrix(labels, guesses, labels=range(10)).tolist(),
        "digits": [
            {
                "digit": digit,
                "images": int(support[digit]),
                "precision": float(precision[digit]),
                "recall": float(recall[digit]),
                "f1": float(f1[digit]),
            }
            for digit in range(10)
        ],
        "reliability": groups,
    }
