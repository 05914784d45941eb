"""Pictures of one's own that train beside MNIST: a folder or an S3 prefix with a `labels.csv`.

`labels.csv` has a header and the columns `file` and `truth`; files are named relative to it. The
pictures go through the recogniser's own preprocessing, so what is trained on is what is served.
"""

from __future__ import annotations

import csv
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from digits import image, preprocess
from digits.errors import DigitsError
from digits.ink import Plane
from training_job.data import Split, read_bytes
from training_job.errors import TrainingError

LABELS = "labels.csv"


@dataclass(frozen=True)
class Extra:
    """The frames of own pictures, and the SHA-256 over all that they were made from."""

    split: Split
    sha256: str


def load(address: str) -> Extra:
    """Read, check and normalise every picture that ``labels.csv`` names.

    Parameters
    ----------
    address
        A folder or ``s3://bucket/prefix``.

    Raises
    ------
    TrainingError
        Naming the line of ``labels.csv`` whose picture or truth cannot be used: to leave one out in
        silence would train another model than was asked for.
    """
    root = address.rstrip("/")
    table = read_bytes(f"{root}/{LABELS}", "--extra-data")
    digest = hashlib.sha256(table)
    frames, truths = [], []
    for line, name, truth in _rows(table):
        data = read_bytes(f"{root}/{name}", "--extra-data")
        digest.update(data)
        frames.append(_frame(data, f"{LABELS}, line {line}, {name}"))
        truths.append(truth)
    x = np.stack(frames)[..., np.newaxis]
    return Extra(Split(x, np.array(truths, np.uint8)), digest.hexdigest())


def _rows(table: bytes) -> list[tuple[int, str, int]]:
    """Line number, file and truth of each line."""
    try:
        reader = csv.DictReader(io.StringIO(table.decode("utf-8-sig"), newline=""))
        rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise TrainingError(f"{LABELS} is not a CSV file in UTF-8; save it again.") from error
    if not rows or not {"file", "truth"} <= set(reader.fieldnames or ()):
        raise TrainingError(f"{LABELS} needs the columns file and truth, and a line a picture.")
    checked = []
    for line, row in enumerate(rows, start=2):
        name, truth = (row["file"] or "").strip(), (row["truth"] or "").strip()
        if truth not in set("0123456789"):
            raise TrainingError(f"{LABELS}, line {line}: the truth must be a digit from 0 to 9.")
        if not name or Path(name).is_absolute() or ".." in Path(name).parts:
            raise TrainingError(f"{LABELS}, line {line}: name a file in the folder or below it.")
        checked.append((line, name, int(truth)))
    return checked


def _frame(data: bytes, where: str) -> Plane:
    try:
        mark = preprocess.largest(image.decode(data))
    except DigitsError as error:
        raise TrainingError(f"{where}: {error}") from error
    if mark is None:
        raise TrainingError(f"{where}: no digit is found in it; take the line out.")
    return mark.frame
