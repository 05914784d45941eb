"""Names that others depend on stay; new ones are added to the list on purpose."""

from __future__ import annotations

import pytest

from tests import frozen_names
from tests.frozen_names import RENDERED, found, found_rendered, listed


def check(there: set[str], frozen: set[str]) -> None:
    missing = sorted(frozen - there)
    assert not missing, "renamed or removed, which breaks whoever uses them: bring them back"
    new = sorted(there - frozen)
    assert not new, "run `python -m tests.frozen_names` to add them: they stay from now on"


def test_frozen_names_are_there_and_all_names_are_frozen():
    check(found(), {it for it in listed() if not it.startswith(RENDERED)})


def test_frozen_names_of_the_rendered_template_are_there_and_all_are_frozen():
    check(found_rendered(), {it for it in listed() if it.startswith(RENDERED)})


def test_the_list_is_sorted_and_holds_each_name_once():
    lines = frozen_names.LIST.read_text(encoding="utf-8").splitlines()
    assert lines == sorted(set(lines))


@pytest.mark.parametrize(
    "name",
    [
        "api POST /classify query multiple",
        "code too_large",
        "column labels collect truth",
        "command digits labels backfill --no-wait",
        "command digits labels correct --stack",
        "command python -m training_job --extra-data",
        "environment DIGITS_LABEL_MODE",
        "environment DIGITS_REQUIRE_ALL",
        "field GET /labels/{key} 200 error.code",
        "field GET /labels/{key} 200 source.version_id",
        "field GET /model 200 files{}.sha256",
        "field POST /classify 200 results[].digits[].explanation.feature_maps[].png",
        "field POST /feedback request truth",
        "field correction source.key",
        "field pointer manifest_sha256",
        "field problem request_id",
        "field tombstone deleted",
        "key corrections/.long/<sha256 of the image key>.json",
        "key in LabelsBucket sweep/",
        "key labels/<image key>.json",
        "key models/current.json",
        "key uploads/<utc date>/<random>/<name>",
        "metric Digit7",
        "metric ModelRefreshFailed",
        "metric dimension code",
        "object metadata digits-mode",
        "reason several_digits",
        "stack output ApiUrl",
        "stack parameter LabelMode",
        "stack rendered ApiUsagePlan",
        "stack resource ImagesBucket",
        "training stack output StateMachineArn",
    ],
)
def test_every_kind_of_name_is_in_the_list(name):
    assert name in listed()


def test_adding_names_drops_none(tmp_path, monkeypatch, capsys):
    names = tmp_path / "names.txt"
    names.write_text("code that_was_removed\ncode too_large\n")
    monkeypatch.setattr(frozen_names, "LIST", names)
    monkeypatch.setattr(frozen_names, "found", lambda: {"code too_large", "code brand_new"})
    monkeypatch.setattr(frozen_names, "found_rendered", set)

    with pytest.raises(SystemExit, match="1 names"):
        frozen_names.main()

    assert names.read_text() == "code brand_new\ncode that_was_removed\ncode too_large\n"
    assert capsys.readouterr().out == "+ code brand_new\nmissing: code that_was_removed\n"


def test_a_name_that_is_gone_or_new_is_named():
    with pytest.raises(AssertionError, match="code too_large"):
        check({"code conflict"}, {"code conflict", "code too_large"})
    with pytest.raises(AssertionError, match="brand_new"):
        check({"code conflict", "code brand_new"}, {"code conflict"})
