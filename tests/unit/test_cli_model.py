"""`digits model …`: what people and pipelines do with models, on folders and on S3."""

import json
from types import SimpleNamespace

import boto3
import pytest
from moto import mock_aws

from digits import bundle, store
from digits.cli import main
from tests.unit.bundles import make_bundle, tampered

OLD, NEW = "20261101T000000Z-0206d068", "20261102T000000Z-0206d068"
SHIPPED = bundle.load().manifest


@pytest.fixture
def digits(capsys):
    """Run `digits model` here, and give its exit code and what it wrote."""

    def run(*args):
        code = 0
        try:
            main(["model", *map(str, args)])
        except SystemExit as ended:
            code = ended.code
        written = capsys.readouterr()
        return SimpleNamespace(code=code, out=written.out, err=written.err)

    return run


@pytest.fixture
def old(tmp_path):
    return make_bundle(tmp_path / "old", OLD)


@pytest.fixture
def new(tmp_path):
    return make_bundle(tmp_path / "new", NEW)


@pytest.fixture(params=["folder", "s3"])
def home(request, tmp_path):
    """The address of an empty store, of either kind."""
    if request.param == "folder":
        yield str(tmp_path / "store")
        return
    with mock_aws():
        boto3.client("s3").create_bucket(Bucket="models")
        yield "s3://models/some/prefix"


def damage(home, key):
    """Change a byte of what the store holds under `key`."""
    models = store.open_store(home)
    found = models.read(key)
    models.swap(key, bytes([found.data[0] ^ 1]) + found.data[1:], expected=found.etag)


def assert_one_line(done, *words):
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("Error: ")
    assert done.err.count("\n") == 1
    for word in words:
        assert word in done.err


def test_show_shows_the_shipped_model_its_manifest_as_json(digits):
    assert SHIPPED.version in digits("show").out
    done = digits("show", "--format", "json")
    assert json.loads(done.out) == json.loads((bundle.SHIPPED / "manifest.json").read_text())


def test_show_shows_the_model_in_service_and_since_when(digits, home, old, new):
    models = store.open_store(home)
    store.publish(old, models)
    pointer = store.publish(new, models)
    done = digits("show", home)
    accuracy = f"{SHIPPED.metrics.test_accuracy:.2%}"
    for words in (NEW, pointer.promoted, OLD, SHIPPED.architecture, accuracy):
        assert words in done.out


def test_show_shows_another_version_a_bundle_and_an_address_in_a_store(digits, home, old, new):
    models = store.open_store(home)
    store.publish(old, models)
    store.upload(new, models)
    for args in ((home, "--version", NEW), (new,), (f"{home}/models/{NEW}",)):
        done = digits("show", *args, "--format", "json")
        assert json.loads(done.out)["version"] == NEW


def test_verify_reads_every_file(digits, home, old):
    count = len(SHIPPED.files)
    assert digits("verify").out.startswith(f"{SHIPPED.version}: {count} files")
    store.publish(old, store.open_store(home))
    assert digits("verify", home).out.startswith(f"{OLD}: {count} files")
    damage(home, f"models/{OLD}/images/errors.png")
    assert_one_line(digits("verify", home), "images/errors.png", "digest")


def test_verify_runs_the_model(digits, old):
    """All digests are right, and yet it is no model."""
    (old / "mnist_cnn.tflite").write_bytes(b"this is no LiteRT model")
    manifest = json.loads((old / "manifest.json").read_text())
    described = bundle.describe_file(old / "mnist_cnn.tflite").model_dump()
    manifest["files"]["mnist_cnn.tflite"] = described
    (old / "manifest.json").write_text(json.dumps(manifest))
    assert_one_line(digits("verify", old), "LiteRT")


def test_verify_refuses_a_tampered_bundle_in_a_folder(digits, old):
    tampered(old / "report.json")
    assert_one_line(digits("verify", old), "report.json")


@pytest.mark.parametrize("command", ["show", "verify"])
def test_what_is_not_there_is_one_line(digits, home, command, old):
    assert_one_line(digits(command, home), "Nothing has been promoted")
    assert_one_line(digits(command, f"{home}/models/{NEW}"), f"no models/{NEW}/manifest.json")
    assert_one_line(digits(command, home, "--version", "latest"), "is no version")
    assert_one_line(digits(command, "--version", NEW), "needs a STORE")
    assert_one_line(digits(command, "https://example.org"), "is no store")
