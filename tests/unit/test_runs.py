"""What a training run made is found by the run's name."""

from __future__ import annotations

import pytest

from digits.errors import BadRequest, ModelUnavailable
from digits.registry import runs
from digits.registry.object_store import NotInStore, open_store


def test_a_run_is_known_by_what_it_made(tmp_path):
    models = open_store(str(tmp_path))
    version = "20261125T000000Z-0123abcd"

    runs.record("run-1", version, models)
    runs.record("run-1", version, models)

    assert runs.version_of("run-1", models) == version
    with pytest.raises(NotInStore, match="No run other"):
        runs.version_of("other", models)


@pytest.mark.parametrize("name", ["", "../models/current", "a b", "x" * 81])
def test_a_runs_name_is_no_path(tmp_path, name):
    with pytest.raises(BadRequest, match="run's name"):
        runs.record(name, "20261125T000000Z-0123abcd", open_store(str(tmp_path)))


def test_a_broken_note_of_a_run_is_named(tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/run-1.json").write_text("{}")
    with pytest.raises(ModelUnavailable, match=r"runs/run-1\.json"):
        runs.version_of("run-1", open_store(str(tmp_path)))


@pytest.mark.parametrize("name", ["../models/current", "a/b", ""])
def test_a_runs_state_stays_among_the_checkpoints(name):
    assert runs.checkpoint_key("run-1") == "checkpoints/run-1.npz"
    with pytest.raises(BadRequest, match="run's name"):
        runs.checkpoint_key(name)
