"""Where a run that was cut off goes on: after each epoch, everything that the next one needs.

One object of plain arrays (never pickled), replaced whole, in a folder or in S3. It carries the
fingerprint of the job that it belongs to, so that no other job goes on from it.
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
    """The state after `epoch`: every variable, and the figures of the epochs so far."""

    epoch: int
    arrays: list[NDArray[Any]]
    history: list[dict[str, float]]


@dataclass(frozen=True)
class Checkpoint:
    """One job's place for its state.

    Attributes
    ----------
    store
        A folder or S3.
    key
        Where in it.
    fingerprint
        Names all that decides the weights; a state with another one is not gone on from.
    """

    store: Store
    key: str
    fingerprint: str

    def save(self, epoch: int, arrays: Arrays, history: list[dict[str, float]]) -> None:
        """Replace the state by that after `epoch`.

        Raises
        ------
        Conflict
            If another job writes there at this moment.
        StoreUnreachable
            If it cannot be written.
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
        """The last state of this very job; None if the store has none, or it cannot be read.

        Raises
        ------
        StoreUnreachable
            If the place does not answer: to start anew would overwrite what may be there.
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
