"""Training runs in a store: which model each made, and where its state is kept meanwhile.

A run has a name because whoever starts one in the cloud is given nothing back but its end.
"""

from __future__ import annotations

import re

from pydantic import BaseModel, ConfigDict, ValidationError

from digits.errors import BadRequest, ModelUnavailable
from digits.registry.bundle import Version
from digits.registry.object_store import NotInStore, Store, put, read_if_there


class Run(BaseModel):
    """`runs/<name>.json`: what a training run of that name made."""

    model_config = ConfigDict(frozen=True)

    version: Version


def record(run: str, version: str, store: Store) -> None:
    """Note which version a training run made, whatever was noted of a run of that name before.

    Raises
    ------
    BadRequest
        If that is no name for a run.
    Conflict, StoreUnreachable
        As for `object_store.put`.
    """
    put(store, _key(run), Run(version=version).model_dump_json().encode() + b"\n")


def version_of(run: str, store: Store) -> str:
    """The version that a training run made.

    Raises
    ------
    BadRequest
        If that is no name for a run.
    NotInStore
        If no run of that name has published a model.
    ModelUnavailable
        If what is noted of it is not valid.
    """
    blob = read_if_there(store, _key(run))
    if blob is None:
        raise NotInStore(f"No run {run} has published a model in {store.address}.")
    try:
        return Run.model_validate_json(blob.data).version
    except ValidationError as error:
        raise ModelUnavailable(
            f"{_key(run)} in {store.address} is not valid; train again."
        ) from error


def checkpoint_key(run: str) -> str:
    """Where the state of a run is kept. Raises `BadRequest` if that is no name for a run."""
    return f"checkpoints/{_checked(run)}.npz"


def _key(run: str) -> str:
    return f"runs/{_checked(run)}.json"


def _checked(run: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,80}", run):
        raise BadRequest("A run's name is 1 to 80 letters, digits, dots, dashes and underscores.")
    return run
