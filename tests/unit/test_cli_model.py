"""`digits model …` on model registries in folders and in S3."""

import json
import subprocess
import sys
from types import SimpleNamespace

import boto3
import pytest
from moto import mock_aws

from digits.cli import main
from digits.registry import bundle, gate, object_store, registry, runs
from tests.bundles import NEW, OLD, make_bundle, make_schema_1, put_in_service, tampered

SHIPPED = bundle.load().manifest


@pytest.fixture
def digits(capsys):
    """Return a function that runs `digits model` in this process."""

    def run(*args):
        code = 0
        try:
            main(["model", *map(str, args)])
        except SystemExit as ended:
            code = ended.code
        written = capsys.readouterr()
        return SimpleNamespace(code=code, out=written.out, err=written.err)

    return run


@pytest.fixture(params=["folder", "s3"])
def home(request, tmp_path):
    """Yield the address of an empty store, in a folder or in S3."""
    if request.param == "folder":
        yield str(tmp_path / "store")
        return
    with mock_aws():
        boto3.client("s3").create_bucket(Bucket="models")
        yield "s3://models/some/prefix"


def damage(home, key):
    """Change a byte of the object `key` in the store."""
    models = object_store.open_store(home)
    found = models.read(key)
    models.swap(key, bytes([found.data[0] ^ 1]) + found.data[1:], expected=found.etag)


def assert_one_line(done, *words):
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("Error: ")
    assert done.err.count("\n") == 1
    for word in words:
        assert word in done.err


def test_show_prints_the_shipped_model_and_its_manifest_as_json(digits):
    assert SHIPPED.version in digits("show").out
    done = digits("show", "--format", "json")
    assert json.loads(done.out) == json.loads((bundle.SHIPPED / "manifest.json").read_text())


def test_show_prints_the_model_in_service_and_its_promotion_time(digits, home, old, new):
    models = object_store.open_store(home)
    registry.publish(old, models)
    pointer = registry.publish(new, models)
    done = digits("show", home)
    accuracy = f"{SHIPPED.metrics.test_accuracy:.2%}"
    for words in (NEW, pointer.promoted, OLD, SHIPPED.architecture, accuracy):
        assert words in done.out


def test_show_accepts_a_version_a_bundle_and_an_address_in_a_store(digits, home, old, new):
    models = object_store.open_store(home)
    registry.publish(old, models)
    registry.upload(new, models)
    for args in ((home, "--version", NEW), (new,), (f"{home}/models/{NEW}",)):
        done = digits("show", *args, "--format", "json")
        assert json.loads(done.out)["version"] == NEW


def test_verify_checks_the_digest_of_every_file(digits, home, old):
    count = len(SHIPPED.files)
    assert digits("verify").out.startswith(f"{SHIPPED.version}: {count} files")
    registry.publish(old, object_store.open_store(home))
    assert digits("verify", home).out.startswith(f"{OLD}: {count} files")
    damage(home, f"models/{OLD}/images/errors.png")
    assert_one_line(digits("verify", home), "images/errors.png", "digest")


def test_verify_loads_the_model_in_litert(digits, old):
    """All digests match, but the file is not a model."""
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
def test_a_missing_model_is_an_error_of_one_line(digits, home, command, old):
    assert_one_line(digits(command, home), "Nothing has been promoted")
    assert_one_line(digits(command, f"{home}/models/{NEW}"), f"no models/{NEW}/manifest.json")
    assert_one_line(digits(command, home, "--version", "latest"), "is not a version")
    assert_one_line(digits(command, "--version", NEW), "needs the STORE")
    assert_one_line(digits(command, "https://example.org"), "is not the address of a store")


def bad_test(report):
    report["test"]["accuracy"] = 0.98


def test_list_marks_the_model_in_service_and_incomplete_versions(digits, home, old, new):
    models = object_store.open_store(home)
    registry.publish(old, models)
    registry.publish(new, models)
    models.swap("models/20261109T000000Z-0206d068/history.csv", b"epoch", expected=None)
    lines = {
        version: line
        for line in digits("list", home).out.splitlines()
        for version in (OLD, NEW, "20261109T000000Z-0206d068")
        if version in line
    }
    assert "in service" in lines[NEW]
    assert "previous" in lines[OLD]
    assert "incomplete: no manifest.json" in lines["20261109T000000Z-0206d068"]
    assert f"{SHIPPED.metrics.test_accuracy:.2%}" in lines[NEW]

    items = json.loads(digits("list", home, "--format", "json").out)
    assert [(i["version"], i["in_service"], i["previous"]) for i in items] == [
        (OLD, False, True), (NEW, True, False), ("20261109T000000Z-0206d068", False, False),
    ]  # fmt: skip
    assert [item["problem"] for item in items][:2] == [None, None]
    assert items[0]["test_accuracy"] == SHIPPED.metrics.test_accuracy


def test_promote_prints_each_criterion_and_the_model_in_service(digits, home, old, new):
    models = object_store.open_store(home)
    registry.publish(old, models)
    registry.upload(new, models)
    done = digits("promote", NEW, home)
    assert done.code == 0
    (line,) = [line for line in done.out.splitlines() if "test accuracy, compared" in line]
    assert "passed" in line
    assert f"{SHIPPED.metrics.test_accuracy:.3%}" in line
    assert done.err == f"{NEW} is in service in {home}; before it, {OLD}.\n"
    assert registry.current(models)[0].version == NEW


def test_promote_uploads_a_bundle_from_a_folder_first(digits, home, new):
    assert digits("promote", new, home).code == 0
    assert registry.current(object_store.open_store(home))[0].version == NEW


def test_promote_accepts_the_name_of_a_training_run(digits, home, new):
    models = object_store.open_store(home)
    registry.upload(new, models)
    runs.record("nightly-7", NEW, models)
    assert digits("promote", "runs/nightly-7", home).code == 0
    assert registry.current(models)[0].version == NEW
    assert_one_line(digits("promote", "runs/another", home), "No run another")


def test_a_refused_promotion_exits_with_1_and_changes_nothing(digits, home, tmp_path, old):
    models = object_store.open_store(home)
    registry.publish(old, models)
    worse = make_bundle(tmp_path / "worse", NEW, report=bad_test)
    done = digits("promote", worse, home)
    assert done.code == 1
    assert "failed" in done.out
    assert done.err.startswith(f"Refused: {NEW} is not promoted: test accuracy is 98.000%")
    assert "--force" in done.err
    assert done.err.count("\n") == 1
    assert registry.current(models)[0].version == OLD


def test_promote_can_be_forced_with_a_reason(digits, home, tmp_path):
    worse = make_bundle(tmp_path / "worse", NEW, report=bad_test)
    done = digits("promote", worse, home, "--force", "a demonstration")
    assert done.code == 0
    assert "Forced: promoted in spite of test accuracy: a demonstration" in done.err
    assert "a demonstration" in digits("show", home).out
    assert_one_line(digits("promote", worse, home, "--force", " "), "needs a reason")


def test_promote_prints_the_criteria_as_json(digits, home, tmp_path, new):
    items = json.loads(digits("promote", new, home, "--format", "json").out)
    assert {"name", "value", "sense", "bound", "unit", "why", "passed"} == set(items[0])
    assert items[0]["passed"] is True
    worse = make_bundle(tmp_path / "worse", OLD, report=bad_test)
    done = digits("promote", worse, home, "--format", "json")
    assert done.code == 1
    assert json.loads(done.out)[0]["passed"] is False


def test_promote_refuses_a_broken_or_missing_model(digits, home, new):
    (new / "mnist_cnn.tflite").write_bytes(b"this is no LiteRT model")
    manifest = json.loads((new / "manifest.json").read_text())
    described = bundle.describe_file(new / "mnist_cnn.tflite").model_dump()
    manifest["files"]["mnist_cnn.tflite"] = described
    (new / "manifest.json").write_text(json.dumps(manifest))
    assert_one_line(digits("promote", new, home), "LiteRT")
    assert_one_line(digits("promote", OLD, home), f"no models/{OLD}/manifest.json")
    assert_one_line(digits("promote", "latest", home), "is not a version")
    assert registry.pointer_state(object_store.open_store(home)).etag is None


def test_a_concurrent_promotion_is_an_error_of_one_line(digits, home, old, new, monkeypatch):
    models = object_store.open_store(home)
    registry.upload(new, models)
    real = gate.evaluate

    def evaluated_slowly(*args, **kwargs):
        registry.publish(old, object_store.open_store(home))
        return real(*args, **kwargs)

    monkeypatch.setattr(gate, "evaluate", evaluated_slowly)
    assert_one_line(digits("promote", NEW, home), "changed by another writer", "try again")
    assert registry.current(models)[0].version == OLD


def test_rollback_restores_the_previous_model(digits, home, old, new):
    models = object_store.open_store(home)
    assert_one_line(digits("rollback", home), "No model was in service")
    registry.publish(old, models)
    assert_one_line(digits("rollback", home), "No model was in service")
    registry.publish(new, models)
    done = digits("rollback", home)
    assert (done.code, done.err) == (0, "")
    assert done.out == f"{OLD} is in service in {home}; before it, {NEW}.\n"
    assert digits("rollback", home, "--to", NEW).code == 0
    assert registry.current(models)[0].version == NEW
    assert_one_line(digits("rollback", home, "--to", "20261109T000000Z-0206d068"), "There is no")


def test_diff_prints_the_differences_and_all_metrics(digits, home, tmp_path, old):
    def better(report):
        report["test"]["errors"] += 5
        report["outside"] = {"photos": {"images": 10, "accuracy": 0.9}}

    models = object_store.open_store(home)
    registry.publish(old, models)
    registry.upload(make_bundle(tmp_path / "new", NEW, temperature=3.0, report=better), models)
    items = json.loads(digits("diff", OLD, NEW, home, "--format", "json").out)
    rows = {item["name"]: (item["before"], item["after"], item["change"]) for item in items}
    assert rows["version"] == (OLD, NEW, None)
    assert rows["decision.temperature"][1] == 3.0
    assert rows["metrics.test_accuracy"][2] == 0.0
    assert rows["report.test.errors"][2] == 5
    assert not any(
        name.startswith(("classifier", "segmenter", "config", "schema")) for name in rows
    )
    assert rows["report.outside.photos.accuracy"] == (None, 0.9, None)
    assert not any(name.startswith(("files", "training", "data")) for name in rows)
    everything = json.loads(digits("diff", OLD, NEW, home, "--all", "--format", "json").out)
    names = {item["name"] for item in everything}
    assert {"training.epochs", "data.sha256.x_test"} <= names
    assert {"schema", "segmenter.sha256", "config.segmentation.ink"} <= names
    assert "report.segmentation.instances.recall" in names
    assert not names & {"report.test.confusion_matrix", "report.test.digits"}
    table = digits("diff", OLD, NEW, home).out
    assert "decision.temperature" in table
    assert "+5" in table


def test_diff_accepts_bundles_stores_and_versions_in_stores(digits, home, old, new):
    models = object_store.open_store(home)
    registry.publish(old, models)
    registry.upload(new, models)
    for pair in ((old, new), (home, new), (home, f"{home}/models/{NEW}"), (home, NEW, home)):
        items = json.loads(digits("diff", *pair, "--format", "json").out)
        assert (items[0]["before"], items[0]["after"]) == (OLD, NEW)
    assert_one_line(digits("diff", OLD, NEW), "name the STORE")


@pytest.mark.parametrize("report", [None, b"no JSON", b"[]"])
def test_diff_of_a_model_without_a_report_uses_its_manifest(digits, old, new, report):
    (new / "report.json").unlink()
    if report is not None:
        (new / "report.json").write_bytes(report)
        manifest = json.loads((new / "manifest.json").read_text())
        described = bundle.describe_file(new / "report.json").model_dump()
        manifest["files"]["report.json"] = described
        (new / "manifest.json").write_text(json.dumps(manifest))
    items = json.loads(digits("diff", old, new, "--format", "json").out)
    assert ("report.test.accuracy", None) in [(item["name"], item["after"]) for item in items]


def test_an_empty_or_invalid_store_is_an_error_of_one_line(digits, home):
    assert_one_line(digits("list", home), "There is no model in")
    assert_one_line(digits("list", "https://example.org"), "is not the address of a store")


def test_of_two_promotions_at_once_none_is_lost(tmp_path):
    """Two processes promote at once: one is refused, or the other's model becomes the previous."""
    home = tmp_path / "store"
    models = object_store.open_store(str(home))
    versions = [OLD, NEW]
    for version in versions:
        registry.upload(make_bundle(tmp_path / version, version), models)
    rivals = [
        subprocess.Popen(
            [sys.executable, "-c", "from digits.cli import main; main()",
             "model", "promote", version, str(home)],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )
        for version in versions
    ]  # fmt: skip
    said = [rival.communicate(timeout=120)[1] for rival in rivals]
    won = [version for version, rival in zip(versions, rivals, strict=True) if not rival.returncode]
    pointer = registry.current(models)[0]
    assert pointer.version in won
    if len(won) == 1:
        (message,) = [words for words, rival in zip(said, rivals, strict=True) if rival.returncode]
        assert "changed by another writer" in message
    else:
        assert {pointer.version, pointer.previous} == set(versions), "one after the other"


@pytest.mark.parametrize("command", [["show"], ["show", "--format", "json"], ["list"], ["diff"]])
def test_a_closed_pipe_prints_no_stack_trace(old, tmp_path, command):
    registry.publish(old, object_store.open_store(str(tmp_path / "store")))
    addresses = {"list": [tmp_path / "store"], "diff": [old, old, "--all"]}.get(command[0], [])
    process = subprocess.Popen(
        [sys.executable, "-c", "from digits.cli import main; main()",
         "model", *command, *map(str, addresses)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(60) == 141


def test_show_prints_both_networks_and_the_configuration(digits):
    shown = digits("show").out
    for name in ("mnist_cnn.tflite", "segmenter.tflite"):
        file = SHIPPED.files[name]
        assert f"{file.bytes:,} bytes" in shown
        assert file.sha256 in shown.replace("\n", "")
    assert "config: segmentation.ink" in shown


@pytest.fixture
def schema_1(home, tmp_path):
    """Put a model of schema 1 in service; return its version and the folder of its bundle."""
    folder = make_schema_1(tmp_path / "schema 1")
    pointer = put_in_service(folder, object_store.open_store(home))
    return SimpleNamespace(version=pointer.version, folder=folder)


def test_a_model_of_schema_1_is_shown_listed_and_verified_as_one_that_cannot_be_served(
    digits, home, schema_1
):
    shown = digits("show", home)
    assert (shown.code, shown.err) == (0, "")
    assert "schema 1: cannot be served by this version" in shown.out
    assert "99.71%" in shown.out
    listed = json.loads(digits("list", home, "--format", "json").out)
    assert [(it["schema"], it["in_service"]) for it in listed] == [(1, True)]
    assert "version 0.1.0 of this software serves" in listed[0]["problem"]
    verified = digits("verify", home)
    assert verified.code == 1
    assert verified.out == f"{schema_1.version}: 2 files, every digest matches the manifest.\n"
    assert verified.err.startswith("Cannot be served: ")
    assert "promote it" in verified.err
    damage(home, f"models/{schema_1.version}/report.json")
    assert_one_line(digits("verify", home), "report.json", "digest")


def test_a_model_of_schema_1_is_compared_with_one_of_schema_2(digits, schema_1, new):
    items = json.loads(digits("diff", schema_1.folder, new, "--format", "json").out)
    rows = {item["name"]: (item["before"], item["after"]) for item in items}
    assert rows["schema"] == (1, 2)
    assert rows["segmenter.sha256"] == (None, SHIPPED.files["segmenter.tflite"].sha256)
    config, report = (
        json.loads((bundle.SHIPPED / name).read_text()) for name in (bundle.CONFIG, bundle.REPORT)
    )
    assert rows["config.segmentation.ink"] == (None, config["segmentation"]["ink"])
    assert rows["report.segmentation.pages"] == (None, report["segmentation"]["pages"])


def test_diff_prints_the_differences_in_the_configuration(digits, old, new):
    config = json.loads((new / "config.json").read_text())
    before = config["segmentation"]["ink"]
    config["segmentation"]["ink"] = before + 0.125
    (new / "config.json").write_text(json.dumps(config))
    manifest = json.loads((new / "manifest.json").read_text())
    manifest["files"]["config.json"] = bundle.describe_file(new / "config.json").model_dump()
    (new / "manifest.json").write_text(json.dumps(manifest))
    items = json.loads(digits("diff", old, new, "--format", "json").out)
    changed = {it["name"]: (it["before"], it["after"]) for it in items if "config" in it["name"]}
    assert changed == {"config.segmentation.ink": (before, before + 0.125)}


def test_a_roll_back_to_schema_1_is_an_error_of_one_line_and_keeps_the_pointer(
    digits, home, schema_1, new
):
    models = object_store.open_store(home)
    assert digits("promote", new, home).code == 0
    assert schema_1.version in digits("show", home).out
    pointer = models.read(registry.POINTER)
    for args in ([], ["--to", schema_1.version]):
        done = digits("rollback", home, *args)
        assert_one_line(done, schema_1.version, "bundle schema 1", "version 0.1.0")
        assert models.read(registry.POINTER) == pointer


def test_a_roll_back_to_a_model_that_litert_cannot_load_keeps_the_pointer(digits, home, old, new):
    (old / "segmenter.tflite").write_bytes(b"this is no LiteRT model")
    manifest = json.loads((old / "manifest.json").read_text())
    described = bundle.describe_file(old / "segmenter.tflite").model_dump()
    manifest["files"]["segmenter.tflite"] = described
    (old / "manifest.json").write_text(json.dumps(manifest))
    models = object_store.open_store(home)
    put_in_service(old, models)
    registry.publish(new, models)
    pointer = models.read(registry.POINTER)
    assert_one_line(digits("rollback", home), "LiteRT cannot load the segmentation network")
    assert models.read(registry.POINTER) == pointer
