"""Answers that a person corrected, as training's `--extra-data` and the API's feedback take them.

For training that is a folder with a `labels.csv` of the columns `file` and `truth`, one digit a
picture; here it comes as a zip.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import re
import zipfile
from collections.abc import Iterable
from typing import NamedTuple

from PIL import Image

from digits import image
from digits.labels import corrections
from digits.results import Digit, Result


class Example(NamedTuple):
    """One digit to learn from: an image file, what it truly is, what was read in it and by whom."""

    file: str
    data: bytes
    truth: str
    answer: str
    model: str


def truth(written: str, text: str | None) -> str:
    """The correction that a person wrote on one line; empty where it is not a valid one.

    Parameters
    ----------
    text
        What was read. Where it has several lines, blanks separate the lines of the correction;
        otherwise they mean nothing.
    """
    lines = "\n" if text and "\n" in text else ""
    try:
        return corrections.valid(lines.join(written.split()))
    except ValueError:
        return ""


def no_digit(result: Result) -> str:
    """The correction that says of each mark that was read that it is neither digit nor sign."""
    return re.sub(r"[^\n\f]", "?", result.text or "?")


def marks(truth: str) -> str:
    """The digits, signs and `?` of a correction, without what separates lines and pages."""
    return "".join(truth.split())


def examples(result: Result, truth: str, picture: bytes | None = None) -> list[Example]:
    """One example for each digit of the correction, where every mark that was read has its own.

    With another number of marks it is not known which is which, and there are no examples. A sign
    or `?` gives none: training learns digits.

    Parameters
    ----------
    picture
        The image file, where it is still there: a picture of one digit goes as it is. Otherwise
        each digit goes as the 28×28 frame that the classifier was given.
    """
    written = marks(truth)
    # Signs may be in the text and not among the digits; then marks and digits do not pair up.
    if not len(written) == len(marks(result.text or "")) == len(result.digits):
        return []
    if picture and len(written) == 1:
        files, suffix = [picture], result.image.format.lower()
    else:
        files = [base64.b64decode(d.explanation.frame) for d in result.digits if d.explanation]
        suffix = "png"
    return [
        Example(_name(data, suffix), data, true, _answer(digit), result.model.version)
        for data, true, digit in zip(files, written, result.digits, strict=True)
        if corrections.is_digit(true)
    ]


def archive(examples: Iterable[Example]) -> bytes:
    """The examples as a zip."""
    # Two pictures may be the same; the later truth holds.
    by_file = {example.file: example for example in examples}
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(("file", "truth"))
    writer.writerows((example.file, example.truth) for example in by_file.values())
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as folder:
        folder.writestr("labels.csv", table.getvalue())
        for example in by_file.values():
            folder.writestr(example.file, example.data)
    return packed.getvalue()


def grey(picture: bytes) -> bytes:
    """What the recogniser sees of an image file, as a PNG: all that the API keeps of it.

    It is small however large the file is, and place, time and camera stay behind.

    Raises
    ------
    ImageError
        If it is not an image that is read here.
    """
    packed = io.BytesIO()
    Image.fromarray(image.decode(picture).grey).save(packed, "PNG")
    return packed.getvalue()


def _name(data: bytes, suffix: str) -> str:
    return f"{hashlib.sha256(data).hexdigest()[:12]}.{suffix}"


def _answer(digit: Digit) -> str:
    return "?" if digit.reason == "not_a_digit" else str(digit.digit)
