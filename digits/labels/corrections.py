"""What a person may say is in an image: the correction of a label, or feedback through the API.

A correction says what the `text` of results says. One line for each line of writing, joined by
newlines; pages joined by form feeds; of an image without digits and signs, nothing.
"""

from __future__ import annotations

SIGNS = ".,-+/:()=×÷%"
MAX_CHARACTERS = 4096  # more than a page of handwriting holds; a JSON body has room for it
# For JSON Schema, which also needs `MAX_CHARACTERS`. The hyphen is last, where it is itself.
PATTERN = r"^[0-9?.,+/:()=×÷%\n\f-]*$"

_DIGITS = "0123456789"
MARKS = f"{_DIGITS}{SIGNS}?"  # whatever a line may hold
_ALLOWED = frozenset(f"{MARKS}\n\f")
_QUOTED = 40  # characters of a refused correction that its error message repeats


def valid(written: str) -> str:
    """Return the correction that was written, without its blank lines.

    Raises
    ------
    ValueError
        If it is too long, or says what results cannot say. The message is fit to show to a person.
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
    """Whether a correction is one digit, which is what training learns from."""
    return len(correction) == 1 and correction in _DIGITS
