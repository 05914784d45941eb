"""Training runs: the record of the published version, and the key of the checkpoint."""

from __future__ import annotations

import pytest

from digits.errors import BadRequest, ModelUnavailable
from digits.registry import runs
from digits.registry.object_store import NotInStore, open_store


def test_a_run_records_the_version_it_published(tmp_path):
    models = open_store(str(tmp_path))
    version = "20261125T000000Z-0123abcd"

    runs.record("run-1", version, models)
    runs.record("run-1", version, models)

    assert runs.version_of("run-1", models) == version
    with pytest.raises(NotInStore, match="No run other"):
        runs.version_of("other", models)


@pytest.mark.parametrize("name", ["", "../models/current", "a b", "x" * 81])
def test_a_runs_name_cannot_be_a_path(tmp_path, name):
    with pytest.raises(BadRequest, match="not a valid name of a run"):
        runs.record(name, "20261125T000000Z-0123abcd", open_store(str(tmp_path)))


def test_an_invalid_record_of_a_run_raises(tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/run-1.json").write_text("{}")
    with pytest.raises(ModelUnavailable, match=r"runs/run-1\.json"):
        runs.version_of("run-1", open_store(str(tmp_path)))


@pytest.mark.parametrize("name", ["../models/current", "a/b", ""])
def test_a_checkpoints_key_stays_below_its_prefix(name):
    assert runs.checkpoint_key("run-1") == "checkpoints/run-1.npz"
    with pytest.raises(BadRequest, match="not a valid name of a run"):
        runs.checkpoint_key(name)
