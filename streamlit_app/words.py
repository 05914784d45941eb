"""Say in plain words what a result means, how sure it is and what a person can do about it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from digits.results import Digit, Result

_CLOSE = 0.05  # a second guess less likely than this is not worth a sentence
_SURE = ((0.99, "Practically certain"), (0.95, "Very sure"), (0.8, "Fairly sure"), (0.5, "Unsure"))


@dataclass(frozen=True)
class Advice:
    """Why a person should look, and what to try."""

    headline: str
    hint: str


_ADVICE = {
    "blank": Advice(
        "No digit found",
        "Write it larger and darker on plain paper, and leave a margin all around.",
    ),
    "not_a_digit": Advice(
        "This does not look like a digit",
        "Only the digits 0 to 9 are known here. Crop the picture to the digit and try again.",
    ),
    "low_confidence": Advice(
        "Better have a look yourself",
        "The network wavers. A sharper picture in even light, the digit filling half of it, helps.",
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
# A newer service may answer with pages, say, which are not in the fields that this app reads.
_NOT_SHOWN = Advice(
    "This app cannot show the whole answer",
    "The service that answered is newer than this app. Update the app, or ask the service itself.",
)


def advice(result: Result) -> Advice | None:
    """What to say where a person should look; None where there is no need.

    A reason that a newer service gives and this app does not know is shown as itself.
    """
    if result.reason:
        return _ADVICE.get(result.reason) or Advice(
            result.reason,
            "This app does not know this reason: the service that answered is newer. Have a look.",
        )
    return _NOT_SHOWN if result.needs_review or result.text is None else None


def confidence(result: Result) -> float:
    """How likely the whole text is right, taking its digits for independent of each other."""
    return math.prod(digit.confidence for digit in result.digits)


def certainty(result: Result) -> str:
    """How sure the answer is, in words."""
    if result.reason == "several_digits":
        return "Only the largest was read"
    probability = confidence(result)
    return next((words for least, words in _SURE if probability >= least), "Guessing")


def percent(probability: float) -> str:
    """A probability in per cent, which never claims to be all or nothing by rounding."""
    if probability > 0.9995:
        return "over 99.9%"
    if probability < 0.0005:
        return "under 0.1%"
    return f"{probability:.1%}"


def runner_up(digit: Digit) -> str:
    """A sentence on the second guess where it is close; otherwise nothing."""
    second = max((d for d in range(10) if d != digit.digit), key=lambda d: digit.probabilities[d])
    probability = digit.probabilities[second]
    if probability < _CLOSE:
        return ""
    article = "an" if second == 8 else "a"
    return f"It could also be {article} {second} ({percent(probability)})."


def counted(count: int, what: str) -> str:
    """A number of things: "1 picture", "2 pictures"."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"
