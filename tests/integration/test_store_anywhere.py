"""Behaviour of the model registry that folders and S3 share."""

from __future__ import annotations

import pytest

from digits.errors import Conflict
from digits.registry import bundle, object_store, registry
from digits.registry.object_store import NotInStore
from tests.bundles import NEW, OLD, make_bundle, version_in_service
from tests.integration.conftest import MODELS


@pytest.fixture(params=["folder", "s3"])
def models(request, tmp_path):
    if request.param == "folder":
        return object_store.open_store(str(tmp_path / "store"))
    request.getfixturevalue("s3")
    return object_store.open_store(f"s3://{MODELS}")


def test_a_published_version_is_never_overwritten(models, tmp_path, old):
    registry.publish(old, models)
    other = make_bundle(tmp_path / "other", OLD, temperature=3.0)
    with pytest.raises(Conflict, match="never overwritten"):
        registry.publish(other, models)
    assert bundle.verify(registry.in_store(models, OLD)).decision.temperature != 3.0


def test_a_promotion_based_on_an_older_pointer_is_a_conflict(models, tmp_path, old, new):
    third = make_bundle(tmp_path / "third", "20261103T000000Z-0206d068")
    registry.publish(old, models)
    registry.upload(third, models)
    seen = registry.pointer_state(models)
    registry.publish(new, models)
    with pytest.raises(Conflict, match="changed by another writer"):
        registry.promote("20261103T000000Z-0206d068", models, expected=seen)
    assert version_in_service(models) == NEW


def test_the_second_of_two_first_promotions_is_a_conflict(models, old, new):
    registry.upload(old, models)
    registry.upload(new, models)
    nothing = registry.pointer_state(models)
    registry.promote(OLD, models, expected=nothing)
    with pytest.raises(Conflict):
        registry.promote(NEW, models, expected=nothing)
    assert version_in_service(models) == OLD


def test_an_empty_store_raises_that_nothing_is_promoted(models):
    with pytest.raises(NotInStore, match="Nothing has been promoted"):
        registry.current(models)
