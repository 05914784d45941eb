"""A bundle is served only if each file matches its digest in the manifest."""

import json
import shutil
import subprocess
import sys

import pytest

from digits.errors import ModelUnavailable
from digits.registry import bundle
from tests.bundles import SCHEMA_1, make_schema_1


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(bundle.SHIPPED, tmp_path / "bundle")


def edit(folder, **changes):
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_the_shipped_bundle_is_complete():
    manifest = bundle.verify(bundle.in_folder(bundle.SHIPPED))
    assert {"segmenter.tflite", "config.json", "mnist_cnn.tflite", "mnist_cnn.keras",
            "mnist_cnn.h5", "report.json", "history.csv",
            "images/confusion_matrix.png", "images/feature_maps_layer1.png",
            "images/feature_maps_layer2.png", "images/training_curves.png",
            "images/reliability.png", "images/errors.png"} <= set(manifest.files)  # fmt: skip


def test_the_version_carries_the_digest_of_the_served_model():
    loaded = bundle.load()
    assert loaded.manifest.version.endswith("-" + loaded.model_info.sha256[:8])


@pytest.mark.parametrize(
    "name",
    ["mnist_cnn.tflite", "segmenter.tflite", "config.json", "report.json", "images/errors.png"],
)
def test_a_tampered_file_is_named(folder, name):
    (folder / name).write_bytes((folder / name).read_bytes()[:-1] + b"!")
    with pytest.raises(ModelUnavailable, match=name):
        bundle.verify(bundle.in_folder(folder))


@pytest.mark.parametrize("name", ["mnist_cnn.tflite", "segmenter.tflite", "config.json"])
def test_a_tampered_model_is_not_loaded(folder, name):
    (folder / name).write_bytes(b"something else")
    with pytest.raises(ModelUnavailable, match=name):
        bundle.load(folder)


@pytest.mark.parametrize(
    "name", ["manifest.json", "mnist_cnn.tflite", "segmenter.tflite", "config.json"]
)
def test_an_incomplete_bundle_is_refused(folder, name):
    (folder / name).unlink()
    with pytest.raises(ModelUnavailable, match=name):
        bundle.load(folder)


def test_a_newer_schema_is_refused_with_the_advice_to_upgrade(folder):
    edit(folder, schema=3, files="listed elsewhere since schema 3")
    with pytest.raises(bundle.NewerSchema, match=r"bundle schema 3.*upgrade this software"):
        bundle.load(folder)


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b'{"schema": "3"}', b'{"schema": 2}', b"\xff"])
def test_an_invalid_manifest_raises(raw):
    with pytest.raises(ModelUnavailable, match="not a valid manifest") as hit:
        bundle.parse_manifest(raw)
    assert not isinstance(hit.value, bundle.NewerSchema)


def test_a_manifest_of_schema_1_is_read_and_its_bundle_verified_but_not_served(tmp_path):
    """The manifest is the one that version 0.1.0 shipped, byte for byte."""
    raw = (SCHEMA_1 / "manifest.json").read_bytes()
    manifest = bundle.parse_manifest(raw)
    assert (manifest.schema_, manifest.version) == (1, "20261127T214303Z-74e98cb6")
    assert manifest.to_json() == raw
    folder = make_schema_1(tmp_path / "bundle")
    assert bundle.verify(bundle.in_folder(folder)).version == manifest.version
    for read in (bundle.load, lambda it: bundle.contents(bundle.in_folder(it))):
        with pytest.raises(ModelUnavailable) as hit:
            read(folder)
        assert str(hit.value) == (
            "Model 20261127T214303Z-74e98cb6 has bundle schema 1, which version 0.1.0 of this"
            " software serves and this version does not; train or publish a schema-2 model and"
            " promote it."
        )


def test_a_model_for_another_preprocessing_is_read_but_not_served(folder):
    given = json.loads((folder / "manifest.json").read_text())["input"]
    edit(folder, input=given | {"preprocessing": "0"}, git_commit="abc123")
    assert bundle.verify(bundle.in_folder(folder)).input.preprocessing == "0"
    with pytest.raises(ModelUnavailable, match=r"preprocessing 0.*git commit abc123"):
        bundle.load(folder)


@pytest.mark.parametrize("name", ["mnist_cnn.tflite", "segmenter.tflite", "config.json"])
def test_a_manifest_without_a_required_file_raises(folder, name):
    files = json.loads((folder / "manifest.json").read_text())["files"]
    del files[name]
    edit(folder, files=files)
    with pytest.raises(ModelUnavailable, match=f"does not list {name}"):
        bundle.load(folder)


def config_with(folder, **changes):
    """Change values of the segmentation's configuration; None takes one away."""
    config = json.loads((folder / "config.json").read_text())
    config["segmentation"] |= changes
    config["segmentation"] = {k: v for k, v in config["segmentation"].items() if v is not None}
    (folder / "config.json").write_text(json.dumps(config))
    files = json.loads((folder / "manifest.json").read_text())["files"]
    edit(folder, files=files | {
        "config.json": bundle.describe_file(folder / "config.json").model_dump()
    })  # fmt: skip


@pytest.mark.parametrize(
    "wrong",
    [
        *({"ink": None}, {"ink": 0}, {"ink": 1.0}, {"ink": "0.5"}, {"ink": True}),
        *({"scrap": -0.1}, {"scrap": 1.1}, {"faint_ink": 0.6}, {"centre": float("nan")}),
    ],
)
def test_a_configuration_with_a_missing_or_invalid_value_raises(folder, wrong):
    config_with(folder, **wrong)
    with pytest.raises(ModelUnavailable, match=r"config\.json is not a valid .*\(segmentation"):
        bundle.load(folder)


def test_additional_fields_of_a_configuration_are_ignored(folder):
    config_with(folder, ink=0.6, kinds=7)
    assert bundle.load(folder).config.segmentation.ink == 0.6


def test_the_shipped_configuration_is_written_as_it_is_read():
    assert bundle.load().config.to_json() == (bundle.SHIPPED / "config.json").read_bytes()


def test_the_registry_and_the_gate_do_not_import_litert():
    script = (
        "import sys, digits.config, digits.cli.models;"
        "from digits.registry import bundle, gate, registry;"
        "print(*{'ai_edge_litert', 'numpy', 'PIL'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


def test_a_manifest_that_does_not_match_the_pointers_digest_raises(folder):
    with pytest.raises(ModelUnavailable, match="digest in the pointer"):
        bundle.read(bundle.in_folder(folder), manifest_sha256="0" * 64)


def test_additional_fields_of_a_manifest_are_kept(folder):
    edit(folder, note="from the future")
    assert b"from the future" in bundle.load(folder).manifest.to_json()


@pytest.mark.parametrize("created", ["yesterday", "2026-11-25", "2026-11-25T10:00:00"])
def test_a_creation_time_without_a_time_zone_raises(folder, created):
    edit(folder, created=created)
    with pytest.raises(ModelUnavailable, match="created"):
        bundle.load(folder)
