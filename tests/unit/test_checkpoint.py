"""Checkpoints are loaded only by their job, and a resumed run ends with the same weights."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from digits.registry.object_store import FolderStore
from training_job.checkpoint import Checkpoint
from training_job.classifier.fit import fit
from training_job.classifier.model import deep, reference
from training_job.classifier.recipes import Recipe
from training_job.data import Split
from training_job.progress import RunProgress

ARRAYS = [np.arange(6, dtype=np.float32).reshape(2, 3), np.array(7, np.int64)]
HISTORY = [{"epoch": 1, "loss": 0.5}]


@pytest.fixture
def checkpoint(tmp_path) -> Checkpoint:
    return Checkpoint(FolderStore(tmp_path), "checkpoints/run.npz", "this job")


def test_what_was_saved_is_loaded(checkpoint):
    checkpoint.save(1, ARRAYS, HISTORY)

    state = checkpoint.load()

    assert (state.epoch, state.history) == (1, HISTORY)
    for given, found in zip(ARRAYS, state.arrays, strict=True):
        assert given.dtype == found.dtype
        np.testing.assert_array_equal(given, found)


def test_a_later_state_takes_the_place_of_an_earlier_one(checkpoint):
    checkpoint.save(1, ARRAYS, HISTORY)
    checkpoint.save(2, ARRAYS, HISTORY * 2)
    assert checkpoint.load().epoch == 2


def test_without_a_checkpoint_nothing_is_loaded(checkpoint):
    assert checkpoint.load() is None


def test_a_checkpoint_of_another_job_is_not_loaded(checkpoint):
    checkpoint.save(1, ARRAYS, HISTORY)
    assert dataclasses.replace(checkpoint, fingerprint="another job").load() is None


@pytest.mark.parametrize("data", [b"", b"garbage", b"PK\x03\x04 cut short"])
def test_a_broken_checkpoint_is_not_loaded(checkpoint, tmp_path, data):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/run.npz").write_bytes(data)
    assert checkpoint.load() is None


def test_it_is_never_unpickled(checkpoint, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    with (tmp_path / "checkpoints/run.npz").open("wb") as file:
        np.savez(file, about=np.array([{"an": "object"}], dtype=object))
    assert checkpoint.load() is None


class _Killed(BaseException):
    """Raised in place of a signal that ends the run."""


class _KilledAfter(RunProgress):
    """Kills the run when it reports this epoch."""

    def __init__(self, epoch: int) -> None:
        super().__init__()
        self._last = epoch

    def epoch(self, row, epochs) -> None:
        if row["epoch"] == self._last:
            raise _Killed


@pytest.fixture(scope="module")
def some_digits() -> Split:
    generator = np.random.default_rng(0)
    x = generator.random((256, 28, 28, 1), np.float32)
    return Split(x, generator.integers(0, 10, 256).astype(np.uint8))


@pytest.mark.parametrize("architecture", [reference, deep])
def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(
    architecture, some_digits, checkpoint
):
    recipe = Recipe(epochs=3, batch_size=64)
    run = (architecture, some_digits, some_digits, recipe, 5)
    _, straight, history = fit(*run, RunProgress())

    with pytest.raises(_Killed):
        fit(*run, _KilledAfter(2), checkpoint)
    assert checkpoint.load().epoch == 2
    _, resumed, resumed_history = fit(*run, RunProgress(), checkpoint)

    assert resumed_history == history
    for one, other in zip(straight.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_another_seed_gives_other_weights(some_digits):
    recipe = Recipe(epochs=1, batch_size=64)
    one, other = (
        fit(reference, some_digits, some_digits, recipe, seed, RunProgress())[0] for seed in (1, 2)
    )
    assert not np.array_equal(one.get_weights()[0], other.get_weights()[0])
