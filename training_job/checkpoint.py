"""Checkpoints of training runs: the complete state after an epoch, to resume an interrupted run.

A checkpoint is one object of plain arrays (never pickled) in a folder or in S3, which is replaced
as a whole. It holds the fingerprint of its job, so that no other job resumes from it.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from digits.registry.object_store import Store, read_or_none

Arrays = Sequence[NDArray[Any]]


@dataclass(frozen=True)
class State:
    """The state after `epoch`: all variables, and the figures of the epochs so far."""

    epoch: int
    arrays: list[NDArray[Any]]
    history: list[dict[str, float]]


@dataclass(frozen=True)
class Checkpoint:
    """The checkpoint of one job.

    Attributes
    ----------
    store
        The folder or bucket that holds it.
    key
        Its key in the store.
    fingerprint
        Digest of everything that determines the weights; a state with another one is not loaded.
    """

    store: Store
    key: str
    fingerprint: str

    def save(self, epoch: int, arrays: Arrays, history: list[dict[str, float]]) -> None:
        """Replace the checkpoint by the state after `epoch`.

        Raises
        ------
        Conflict
            If another job writes to the same key at this moment.
        StoreUnreachable
            If the store cannot be written to.
        """
        about = {"fingerprint": self.fingerprint, "epoch": epoch, "history": history}
        buffer = io.BytesIO()
        np.savez(
            buffer,
            about=np.frombuffer(json.dumps(about).encode(), np.uint8),
            **{f"v{number}": array for number, array in enumerate(arrays)},  # type: ignore[arg-type]
        )
        found = read_or_none(self.store, self.key)
        self.store.swap(self.key, buffer.getvalue(), expected=found.etag if found else None)

    def load(self) -> State | None:
        """Load the state of this job; None if there is none, or if the object is not valid.

        Raises
        ------
        StoreUnreachable
            If the store does not answer. Starting anew would overwrite an existing checkpoint.
        """
        blob = read_or_none(self.store, self.key)
        if blob is None:
            return None
        try:
            with np.load(io.BytesIO(blob.data), allow_pickle=False) as file:
                about = json.loads(file["about"].tobytes())
                arrays = [file[f"v{number}"] for number in range(len(file.files) - 1)]
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        if about.get("fingerprint") != self.fingerprint:
            return None
        return State(about["epoch"], arrays, about["history"])
