"""Pictures of one's own that train beside MNIST: a folder or an S3 prefix with a `labels.csv`.

`labels.csv` has a header and the columns `file` and `truth`. Files are named relative to it. Each
`truth` is a correction (see `digits.corrections`): lines of one digit are trained on, others are
left out and counted. The pictures go through the recogniser's own preprocessing, so what is trained
on is what is served.
"""

from __future__ import annotations

import csv
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from digits import corrections, image, preprocess
from digits.errors import DigitsError
from digits.ink import Plane
from training_job.data import Split, read_bytes
from training_job.errors import TrainingError

LABELS = "labels.csv"


@dataclass(frozen=True)
class Extra:
    """The frames of own pictures.

    Attributes
    ----------
    split
        The frames and their digits.
    sha256
        Over the table and the pictures that the frames were made from.
    left_out
        How many lines were left out: their correction is valid, but not one digit.
    """

    split: Split
    sha256: str
    left_out: int


def load(address: str) -> Extra:
    """Read, check and normalise each picture that ``labels.csv`` says is of one digit.

    Parameters
    ----------
    address
        A folder or ``s3://bucket/prefix``.

    Raises
    ------
    TrainingError
        Naming the line of ``labels.csv`` whose picture cannot be read or whose truth is not a valid
        correction, or if no line is of one digit.
    """
    root = address.rstrip("/")
    table = read_bytes(f"{root}/{LABELS}", "--extra-data")
    digest = hashlib.sha256(table)
    frames, truths = [], []
    rows = _rows(table)
    for line, name, truth in rows:
        if not corrections.is_digit(truth):
            continue
        data = read_bytes(f"{root}/{name}", "--extra-data")
        digest.update(data)
        frames.append(_frame(data, f"{LABELS}, line {line}, {name}"))
        truths.append(int(truth))
    if not frames:
        raise TrainingError(f"No line of {LABELS} has a truth of one digit; give some that do.")
    x = np.stack(frames)[..., np.newaxis]
    split = Split(x, np.array(truths, np.uint8))
    return Extra(split, digest.hexdigest(), left_out=len(rows) - len(frames))


def _rows(table: bytes) -> list[tuple[int, str, str]]:
    """Number of its last line in the file, picture and truth of each row."""
    try:
        reader = csv.DictReader(io.StringIO(table.decode("utf-8-sig"), newline=""))
        rows = [(reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise TrainingError(f"{LABELS} is not a CSV file in UTF-8; save it again.") from error
    if not rows or not {"file", "truth"} <= set(reader.fieldnames or ()):
        raise TrainingError(f"{LABELS} needs the columns file and truth, and a line a picture.")
    checked = []
    for line, row in rows:
        name = (row["file"] or "").strip()
        if row["truth"] is None:
            raise TrainingError(f"{LABELS}, line {line}: the truth is missing; add it.")
        try:
            # Spaces around it come from spreadsheets; line and page ends are part of it.
            truth = corrections.valid(row["truth"].strip(" \t").replace("\r\n", "\n"))
        except ValueError as error:
            raise TrainingError(f"{LABELS}, line {line}: {error}") from error
        if not name or Path(name).is_absolute() or ".." in Path(name).parts:
            raise TrainingError(f"{LABELS}, line {line}: name a file in the folder or below it.")
        checked.append((line, name, truth))
    return checked


def _frame(data: bytes, where: str) -> Plane:
    try:
        mark = preprocess.largest(image.decode(data))
    except DigitsError as error:
        raise TrainingError(f"{where}: {error}") from error
    if mark is None:
        raise TrainingError(f"{where}: no digit is found in it; take the line out.")
    return mark.frame
