"""Feedback sent through the API: its record, and collecting the records of a bucket in a folder.

The HTTP API stores feedback. It is untrusted: a person reviews the collected folder before it is
used for training.
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


class Feedback(BaseModel):
    """The record of one feedback, stored beside its image in ``feedback/<utc date>/<id>/``.

    Attributes
    ----------
    id, received_at : str
        Its identifier, and the time when the API received it.
    truth : str
        The correction; valid by `corrections.valid`, which the API checks before storing it.
    answer : str or None
        The text that the model had read.
    model : str
        Version of that model.
    key : str or None
        Key of the image in the images bucket, if it was uploaded there.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    received_at: str
    truth: str
    answer: str | None
    model: str
    key: str | None


def collect(store: Store, folder: Path) -> tuple[int, int]:
    """Copy the images whose correction is one digit to `folder`, and list them in ``labels.csv``.

    Only such images can be trained on together with MNIST; the others are skipped. A person must
    review `labels.csv` before training, because anybody can send feedback.

    Parameters
    ----------
    store
        The labels bucket.
    folder
        The folder to write to; created if it does not exist.

    Returns
    -------
    int
        Number of images copied.
    int
        Number of records skipped.

    Raises
    ------
    BadRequest
        If the folder already has a ``labels.csv``, which may have been edited, or cannot be
        written.
    ModelUnavailable
        If the store cannot be read.
    """
    labels = folder / "labels.csv"
    try:
        if labels.exists():
            raise BadRequest(f"{labels} already exists; collect into another folder.")
        folder.mkdir(parents=True, exist_ok=True)
        rows, left = _copy(store, folder)
        # Written last, so that an interrupted run can be repeated in the same folder.
        with labels.open("x", newline="", encoding="utf-8") as stream:
            tabular.delimited(stream, [*map(tabular.Column, COLUMNS)], ",")(rows)
    except OSError as error:
        raise BadRequest(
            f"Cannot write {error.filename or folder} ({error.strerror}); choose another folder."
        ) from error
    return len(rows), left


def _copy(store: Store, folder: Path) -> tuple[list[tuple[str, ...]], int]:
    """Copy the images; return a row for each one copied, and the number of records skipped."""
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
        assert picture is not None  # noqa: S101 - only a conditional read returns None
        (folder / file).write_bytes(picture.data)
        answer = " ".join((correction.answer or "").split())
        rows.append((file, correction.truth, answer, correction.model, correction.received_at))
    return rows, left


def _read(store: Store, key: str) -> Feedback | None:
    """Read the record at `key`; None if the object is not one."""
    record = store.read(key)
    assert record is not None  # noqa: S101
    try:
        return Feedback.model_validate_json(record.data)
    except ValidationError:
        return None
