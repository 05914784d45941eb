"""The text of a correction: of a label, or of a result by feedback through the API.

It has the form of the `text` of results: one line for each text line, separated by newlines, pages
separated by form feeds, and the empty string for an image without digits and signs.
"""

from __future__ import annotations

SIGNS = ".,-+/:()=×÷%"
MAX_CHARACTERS = 4096  # more than a handwritten page has, and small enough for a JSON request
# The allowed characters as a JSON Schema pattern; a schema also needs `MAX_CHARACTERS`. The hyphen
# is last in the class, where it is not a range.
PATTERN = r"^[0-9?.,+/:()=×÷%\n\f-]*$"

_DIGITS = "0123456789"
MARKS = f"{_DIGITS}{SIGNS}?"  # the characters that a line may contain
_ALLOWED = frozenset(f"{MARKS}\n\f")
_QUOTED = 40  # characters of an invalid correction that its error message quotes at most


def valid(written: str) -> str:
    """Validate a correction and return it without blank lines.

    Raises
    ------
    ValueError
        If it has more than `MAX_CHARACTERS` or other characters than results have. The message can
        be shown to users.
    """
    if len(written) > MAX_CHARACTERS:
        raise ValueError(
            f"A correction has at most {MAX_CHARACTERS:,} characters, but this one has"
            f" {len(written):,}."
        )
    if not _ALLOWED.issuperset(written):
        shown = written if len(written) <= _QUOTED else written[:_QUOTED] + "…"
        raise ValueError(
            f"{shown!r} is not a valid correction: use digits and signs, and ? for a mark that is"
            " neither."
        )
    pages = (page.split("\n") for page in written.split("\f"))
    return "\f".join("\n".join(line for line in page if line) for page in pages)


def is_digit(correction: str) -> bool:
    """Whether a correction is a single digit, and so can be a training label."""
    return len(correction) == 1 and correction in _DIGITS
