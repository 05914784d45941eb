"""Scores of a reading of a page: exact, strict, accepted, and edit distance.

Line breaks and blanks are ignored, because a reader may group text lines differently. In a truth,
`?` is one handwritten sign. A sign counts as correct if it is read as itself or as `?`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

UNKNOWN = "?"


@dataclass(frozen=True)
class Score:
    """The scores of one picture.

    Attributes
    ----------
    exact : bool
        All digits are correct and in order; other characters are ignored.
    strict : bool
        All digits are correct, and each sign is in its place, as itself or as `?`.
    accepted : bool
        The reading needs no review.
    edits : int
        Edit distance between the digits of the reading and of the truth.
    digits : int
        Number of digits of the truth.
    """

    exact: bool
    strict: bool
    accepted: bool
    edits: int
    digits: int

    @property
    def accepted_error(self) -> bool:
        """Accepted and not strictly correct; without digits in the truth, accepted at all."""
        return self.accepted and not (self.strict and self.digits > 0)


def score(truth: str, text: str, accepted: bool) -> Score:
    """Score a reading against the truth.

    Examples
    --------
    >>> score("123.4", "123?4", accepted=True).strict
    True
    >>> score("12", "1 27", accepted=False).edits
    1
    """
    want, got = _digits(truth), _digits(text)
    return Score(want == got, _strict(truth, text), accepted, distance(want, got), len(want))


def distance(one: str, other: str) -> int:
    """Return the edit distance (Levenshtein): insertions, deletions and replacements."""
    row = list(range(len(other) + 1))
    for above, a in enumerate(one, 1):
        new = [above]
        for place, b in enumerate(other, 1):
            new.append(min(row[place] + 1, new[-1] + 1, row[place - 1] + (a != b)))
        row = new
    return row[-1]


def _digits(text: str) -> str:
    return re.sub(r"\D", "", text)


def _strict(truth: str, text: str) -> bool:
    want, got = "".join(truth.split()), "".join(text.split())
    return len(want) == len(got) and all(
        a == b or (not a.isdigit() and not b.isdigit() and UNKNOWN in {a, b})
        for a, b in zip(want, got, strict=True)
    )
