"""Training runs in a store: the model that each run published, and the key of its checkpoint.

Runs are named, because a run in the cloud returns nothing but its exit status: by the name, the
caller finds the model afterwards.
"""

from __future__ import annotations

import re

from pydantic import BaseModel, ConfigDict, ValidationError

from digits.errors import BadRequest, ModelUnavailable
from digits.registry.bundle import Version
from digits.registry.object_store import NotInStore, Store, put, read_or_none


class TrainingRun(BaseModel):
    """`runs/<name>.json`: the model version that the training run of that name published."""

    model_config = ConfigDict(frozen=True)

    version: Version


def record(run: str, version: str, store: Store) -> None:
    """Record the version that a training run published, replacing any earlier record of the name.

    Raises
    ------
    BadRequest
        If `run` is not a valid name.
    Conflict, StoreUnreachable
        As for `object_store.put`.
    """
    put(store, _key(run), TrainingRun(version=version).model_dump_json().encode() + b"\n")


def version_of(run: str, store: Store) -> str:
    """Return the version that a training run published.

    Raises
    ------
    BadRequest
        If `run` is not a valid name.
    NotInStore
        If no run of that name has published a model.
    ModelUnavailable
        If the record is not valid.
    """
    blob = read_or_none(store, _key(run))
    if blob is None:
        raise NotInStore(f"No run {run} has published a model in {store.address}.")
    try:
        return TrainingRun.model_validate_json(blob.data).version
    except ValidationError as error:
        raise ModelUnavailable(
            f"{_key(run)} in {store.address} is not valid; train again."
        ) from error


def checkpoint_key(run: str) -> str:
    """Return the key of a run's checkpoint. Raises `BadRequest` if the name is not valid."""
    return f"checkpoints/{_checked(run)}.npz"


def _key(run: str) -> str:
    return f"runs/{_checked(run)}.json"


def _checked(run: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,80}", run):
        raise BadRequest(
            f"{run!r} is not a valid name of a run: use 1 to 80 letters, digits, dots, dashes and"
            " underscores."
        )
    return run
