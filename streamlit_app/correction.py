"""A picture that was read wrongly, with the truth, as training's `--extra-data` reads it.

That is a folder with a `labels.csv` of the columns `file` and `truth`, one digit a picture; here it
comes as a zip.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import zipfile

from digits.results import Result

_DIGITS = frozenset("0123456789")


def truth(written: str) -> str:
    """The digits that a person wrote down; empty where there is anything else in it."""
    found = "".join(written.split())
    return found if set(found) <= _DIGITS else ""


def archive(data: bytes, result: Result, truth: str) -> bytes | None:
    """The zip, or None where it cannot be told which mark is which digit.

    One digit goes as the picture itself; of several, each as the 28×28 frame that the network saw.
    """
    if not truth or len(truth) != len(result.digits):
        return None
    name = hashlib.sha256(data).hexdigest()[:12]
    files = {f"{name}.{result.image.format.lower()}": data}
    if len(truth) > 1:
        frames = [digit.explanation.frame for digit in result.digits if digit.explanation]
        files = {f"{name}-{at}.png": base64.b64decode(png) for at, png in enumerate(frames, 1)}
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(("file", "truth"))
    writer.writerows(zip(files, truth, strict=True))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as folder:
        folder.writestr("labels.csv", table.getvalue())
        for file, content in files.items():
            folder.writestr(file, content)
    return packed.getvalue()
