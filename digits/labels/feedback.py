"""Corrections that users sent: what is kept of one, and how those of a bucket become a folder.

The HTTP API writes them; a person looks through the folder before it is trained on.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from digits import tabular
from digits.errors import BadRequest
from digits.labels import corrections
from digits.registry.object_store import Store

PREFIX = "feedback/"
IMAGE = "image.png"
RECORD = "feedback.json"
COLUMNS = ("file", "truth", "answer", "model", "received_at")  # of labels.csv


class Correction(BaseModel):
    """What a user says is in a picture, beside it under ``feedback/<utc date>/<id>/``.

    `truth` is a valid correction (see `corrections.valid`): the API checks it before it is kept.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    received_at: str
    truth: str
    answer: str | None
    model: str
    key: str | None


def collect(store: Store, folder: Path) -> tuple[int, int]:
    """Copy the corrections of one digit into `folder`, with a ``labels.csv`` that names them.

    Only a picture whose correction is one digit can be trained on beside MNIST; the others stay
    where they are. Nothing here is believed: `labels.csv` is for a person to look through first.

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
        If the folder has a table already, which somebody may have worked on, or cannot be written.
    ModelUnavailable
        If the store cannot be read.
    """
    labels = folder / "labels.csv"
    try:
        if labels.exists():
            raise BadRequest(f"{labels} is there already; collect into another folder.")
        folder.mkdir(parents=True, exist_ok=True)
        rows, left = _copy(store, folder)
        # Last, so that what was cut off can be done again in the same folder.
        with labels.open("x", newline="", encoding="utf-8") as stream:
            tabular.delimited(stream, [*map(tabular.Column, COLUMNS)], ",")(rows)
    except OSError as error:
        raise BadRequest(
            f"Cannot write {error.filename or folder} ({error.strerror}); choose another folder."
        ) from error
    return len(rows), left


def _copy(store: Store, folder: Path) -> tuple[list[tuple[str, ...]], int]:
    """Copy the pictures; a row for each that was, and how many were left."""
    rows: list[tuple[str, ...]] = []
    left = 0
    for key in store.keys(PREFIX):
        place, _, name = key.rpartition("/")
        if name != RECORD:
            continue
        correction = _read(store, key)
        if correction is None or not corrections.is_digit(correction.truth):
            left += 1
            continue
        file = "-".join((*place.split("/")[-2:], IMAGE))
        picture = store.read(f"{place}/{IMAGE}")
        assert picture is not None  # noqa: S101 - only a conditional read gives none
        (folder / file).write_bytes(picture.data)
        answer = " ".join((correction.answer or "").split())
        rows.append((file, correction.truth, answer, correction.model, correction.received_at))
    return rows, left


def _read(store: Store, key: str) -> Correction | None:
    """The record at `key`; None where somebody else wrote it."""
    record = store.read(key)
    assert record is not None  # noqa: S101
    try:
        return Correction.model_validate_json(record.data)
    except ValidationError:
        return None
