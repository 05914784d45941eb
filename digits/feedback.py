"""Corrections that users sent: what is kept of one, and how those of a bucket become a folder.

The HTTP door writes them; a person looks through the folder before it is trained on.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from digits.errors import BadRequest
from digits.storage import Store

PREFIX = "feedback/"
IMAGE = "image.png"
RECORD = "feedback.json"


class Correction(BaseModel):
    """What a user says is in a picture, beside it under ``feedback/<utc date>/<id>/``."""

    model_config = ConfigDict(frozen=True)

    id: str
    received_at: str
    truth: str
    answer: str | None
    model: str
    key: str | None


def collect(store: Store, folder: Path) -> tuple[int, int]:
    """Copy the corrections of one digit into `folder`, with a ``labels.csv`` that names them.

    Only a picture whose truth is one digit can be trained on beside MNIST; the others stay where
    they are. Nothing here is believed: `labels.csv` is for a person to look through first.

    Parameters
    ----------
    store
        The labels bucket.
    folder
        Where to; made if need be.

    Returns
    -------
    Corrections that were copied, and those that were left.

    Raises
    ------
    BadRequest
        If the folder has a table already, which somebody may have worked on.
    ModelUnavailable
        If the store cannot be read.
    """
    labels = folder / "labels.csv"
    if labels.exists():
        raise BadRequest(f"{labels} is there already; collect into another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    copied, left = 0, 0
    with labels.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(("file", "truth", "answer", "model", "received_at"))
        for key in store.keys(PREFIX):
            place, _, name = key.rpartition("/")
            if name != RECORD:
                continue
            correction = _read(store, key)
            if correction is None or not re.fullmatch("[0-9]", correction.truth):
                left += 1
                continue
            file = "-".join((*place.split("/")[-2:], IMAGE))
            picture = store.read(f"{place}/{IMAGE}")
            assert picture is not None  # noqa: S101 - only a conditional read gives none
            (folder / file).write_bytes(picture.data)
            answer = (correction.answer or "").replace("\n", " ")
            table.writerow(
                (file, correction.truth, answer, correction.model, correction.received_at)
            )
            copied += 1
    return copied, left


def _read(store: Store, key: str) -> Correction | None:
    """The record at `key`; None where somebody else wrote it."""
    record = store.read(key)
    assert record is not None  # noqa: S101
    try:
        return Correction.model_validate_json(record.data)
    except ValidationError:
        return None
