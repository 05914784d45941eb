"""How right a reading of a page is: four scores, because readings fail differently.

Line breaks and blanks do not count, for a page may be read in lines of another length. In a truth
`?` is one handwritten sign that is no digit; as any sign is, it may be read as itself or as `?`.
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
        The digits are right and in order, whatever stands between them.
    strict : bool
        And every sign is in its place, as itself or as `?`.
    accepted : bool
        Nobody was asked to look at it.
    edits : int
        Digits to insert, delete or replace before the reading is right.
    digits : int
        Digits of the truth.
    """

    exact: bool
    strict: bool
    accepted: bool
    edits: int
    digits: int

    @property
    def accepted_error(self) -> bool:
        """Wrong, and nobody is asked to look; where there are no digits nothing is right."""
        return self.accepted and not (self.strict and self.digits > 0)


def score(truth: str, text: str, accepted: bool) -> Score:
    """Compare a reading with the truth.

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
    """Edit distance (Levenshtein): insertions, deletions and replacements."""
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
