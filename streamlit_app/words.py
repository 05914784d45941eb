"""Describe in plain words a result's meaning, its confidence and what a person can do."""

from __future__ import annotations

import math
from dataclasses import dataclass

from digits.results import Digit, Result

_CLOSE = 0.05  # a second guess below this probability is not mentioned
_SURE = ((0.99, "Practically certain"), (0.95, "Very sure"), (0.8, "Fairly sure"), (0.5, "Unsure"))


@dataclass(frozen=True)
class Advice:
    """The reason for a review, and what to try."""

    headline: str
    hint: str


_ADVICE = {
    "blank": Advice(
        "No digit found",
        "Write it larger and darker on plain paper, and leave a margin all around.",
    ),
    "not_a_digit": Advice(
        "This does not look like a digit",
        "Only the digits 0 to 9 can be read. Crop the picture to the digit and try again.",
    ),
    "low_confidence": Advice(
        "Please check this answer",
        "The confidence is low. A sharper picture in even light, half filled by the digit, helps.",
    ),
    "several_digits": Advice(
        "There is more than one digit here",
        "Crop the picture to one of them and try again.",
    ),
    "turned": Advice(
        "The picture seems to lie on its side or upside down",
        "Turn it so that the digits stand upright and try again.",
    ),
}
# A newer service may answer with pages, for example, in fields that this app does not read.
_NOT_SHOWN = Advice(
    "This app cannot show the whole answer",
    "The API is newer than this app. Update the app, or call the API directly.",
)


def advice(result: Result) -> Advice | None:
    """Return the advice for a result that needs review; None for others.

    A newer service's reason that this app does not know is shown unchanged.
    """
    if result.reason:
        return _ADVICE.get(result.reason) or Advice(
            result.reason,
            "This app does not know this reason: the API is newer. Please check the answer.",
        )
    return _NOT_SHOWN if result.needs_review or result.text is None else None


def confidence(result: Result) -> float:
    """Return the probability that the whole text is right, if its digits are independent."""
    return math.prod(digit.confidence for digit in result.digits)


def certainty(result: Result) -> str:
    """Describe the confidence in words."""
    if result.reason == "several_digits":
        return "Only the largest was read"
    probability = confidence(result)
    return next((words for least, words in _SURE if probability >= least), "Guessing")


def percent(probability: float) -> str:
    """Format a probability in per cent; rounding never yields 0 % or 100 %."""
    if probability > 0.9995:
        return "over 99.9%"
    if probability < 0.0005:
        return "under 0.1%"
    return f"{probability:.1%}"


def runner_up(digit: Digit) -> str:
    """Return a sentence on a probable second guess; otherwise an empty text."""
    second = max((d for d in range(10) if d != digit.digit), key=lambda d: digit.probabilities[d])
    probability = digit.probabilities[second]
    if probability < _CLOSE:
        return ""
    article = "an" if second == 8 else "a"
    return f"It could also be {article} {second} ({percent(probability)})."


def counted(count: int, what: str) -> str:
    """Return a count with its noun: "1 picture", "2 pictures"."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"
