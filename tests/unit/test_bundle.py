"""A bundle is served only if every byte of it is the one that its manifest describes."""

import json
import shutil

import pytest

from digits import bundle
from digits.errors import ModelUnavailable


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(bundle.SHIPPED, tmp_path / "bundle")


def edit(folder, **changes):
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_the_shipped_bundle_is_whole():
    manifest = bundle.verify(bundle.in_folder(bundle.SHIPPED))
    assert {"mnist_cnn.tflite", "mnist_cnn.keras", "mnist_cnn.h5", "report.json", "history.csv",
            "images/confusion_matrix.png", "images/feature_maps_layer1.png",
            "images/feature_maps_layer2.png", "images/training_curves.png",
            "images/reliability.png", "images/errors.png"} <= set(manifest.files)  # fmt: skip


def test_the_version_carries_the_digest_of_the_served_model():
    loaded = bundle.load()
    assert loaded.manifest.version.endswith("-" + loaded.model_info.sha256[:8])


@pytest.mark.parametrize("name", ["mnist_cnn.tflite", "report.json", "images/errors.png"])
def test_a_tampered_file_is_named(folder, name):
    (folder / name).write_bytes((folder / name).read_bytes()[:-1] + b"!")
    with pytest.raises(ModelUnavailable, match=name):
        bundle.verify(bundle.in_folder(folder))


def test_a_tampered_model_is_not_loaded(folder):
    (folder / "mnist_cnn.tflite").write_bytes(b"something else")
    with pytest.raises(ModelUnavailable, match=r"mnist_cnn\.tflite"):
        bundle.load(folder)


@pytest.mark.parametrize("name", ["manifest.json", "mnist_cnn.tflite"])
def test_a_half_published_bundle_is_refused(folder, name):
    (folder / name).unlink()
    with pytest.raises(ModelUnavailable, match=name):
        bundle.load(folder)


def test_a_newer_schema_is_refused(folder):
    edit(folder, schema=2)
    with pytest.raises(ModelUnavailable, match="schema-1"):
        bundle.load(folder)


def test_a_model_for_another_preprocessing_is_refused(folder):
    given = json.loads((folder / "manifest.json").read_text())["input"]
    edit(folder, input=given | {"preprocessing": "0"})
    with pytest.raises(ModelUnavailable, match="preprocessing 0"):
        bundle.load(folder)


def test_a_manifest_that_names_no_model_is_refused(folder):
    edit(folder, files={})
    with pytest.raises(ModelUnavailable, match=r"mnist_cnn\.tflite"):
        bundle.load(folder)


def test_another_manifest_than_the_promoted_one_is_refused(folder):
    with pytest.raises(ModelUnavailable, match="promoted"):
        bundle.read(bundle.in_folder(folder), manifest_sha256="0" * 64)


def test_what_a_later_writer_adds_to_a_manifest_is_kept(folder):
    edit(folder, note="from the future")
    assert b"from the future" in bundle.load(folder).manifest.to_json()


@pytest.mark.parametrize("created", ["yesterday", "2026-11-25", "2026-11-25T10:00:00"])
def test_a_model_whose_age_cannot_be_told_is_refused(folder, created):
    edit(folder, created=created)
    with pytest.raises(ModelUnavailable, match="created"):
        bundle.load(folder)
