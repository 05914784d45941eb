"""Convert a person's corrections to training's `--extra-data` and to the API's feedback.

Training reads a folder with a `labels.csv` of the columns `file` and `truth`, one digit a picture;
the app offers it as a zip.
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
    """One digit for training: an image file, its correction, the answer and the model's version."""

    file: str
    data: bytes
    truth: str
    answer: str
    model: str


def truth(written: str, text: str | None) -> str:
    """Return the correction that a person wrote on one line; empty if it is not valid.

    Parameters
    ----------
    text
        The `text` of the result. If it has several lines, blanks separate the lines of the
        correction; otherwise blanks are ignored.
    """
    lines = "\n" if text and "\n" in text else ""
    try:
        return corrections.valid(lines.join(written.split()))
    except ValueError:
        return ""


def no_digit(result: Result) -> str:
    """Return the correction `?`, neither digit nor sign, for each mark of the result."""
    return re.sub(r"[^\n\f]", "?", result.text or "?")


def marks(truth: str) -> str:
    """Return the digits, signs and `?` of a correction, without line and page separators."""
    return "".join(truth.split())


def examples(result: Result, truth: str, picture: bytes | None = None) -> list[Example]:
    """Return one example for each digit of a correction that has as many marks as the result.

    With another number of marks they cannot be matched, and there are no examples. Signs and `?`
    give none: training learns digits.

    Parameters
    ----------
    picture
        The image file, if it is available: the example of a single digit is the file itself.
        Otherwise each example is the digit's 28×28 frame, the classifier's input.
    """
    written = marks(truth)
    # The text may hold signs that are not among the digits: then marks and digits do not match.
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
    """Pack examples as a zip."""
    # Of two equal pictures, the later correction counts.
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
    """Convert an image file to the recogniser's grey pixels as a PNG, which is all the API stores.

    It has no metadata such as place, time and camera.

    Raises
    ------
    ImageError
        If it is not an image that can be read.
    """
    packed = io.BytesIO()
    Image.fromarray(image.decode(picture).grey).save(packed, "PNG")
    return packed.getvalue()


def _name(data: bytes, suffix: str) -> str:
    return f"{hashlib.sha256(data).hexdigest()[:12]}.{suffix}"


def _answer(digit: Digit) -> str:
    return "?" if digit.reason == "not_a_digit" else str(digit.digit)
