"""The training job: architectures, a complete run, the command line, and interruption."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import boto3
import keras
import numpy as np
import pytest
from moto import mock_aws
from moto.core import set_initial_no_auth_action_count
from typer.main import get_command
from typer.testing import CliRunner

from digits import Classifier
from digits.errors import ModelUnavailable
from digits.registry import bundle, object_store, registry
from digits.registry.object_store import S3Store
from tests.bundles import make_schema_1, tampered
from training_job import assemble, data, external_evaluation, segmentation, train
from training_job.__main__ import app
from training_job.classifier.fit import ClassifierTrainer, OneCycle
from training_job.classifier.model import ARCHITECTURES, activation_of, deep, reference
from training_job.classifier.recipes import RECIPES, Precision, Recipe
from training_job.data import Mnist, Split
from training_job.errors import NotPromoted, TrainingError
from training_job.progress import RunProgress
from training_job.train import Job

ROOT = Path(__file__).parents[2]

CONTRACT = {
    *("mnist_cnn.tflite", "mnist_cnn.keras", "mnist_cnn.h5", "history.csv", "report.json"),
    *("segmenter.tflite", "config.json"),
    *("images/confusion_matrix.png", "images/training_curves.png", "images/reliability.png"),
    *("images/feature_maps_layer1.png", "images/feature_maps_layer2.png", "images/errors.png"),
}


# --- The networks and their schedule


def test_the_reference_network_is_the_textbooks_layer_by_layer():
    model = reference()
    layers = [(type(layer).__name__, tuple(layer.output.shape[1:])) for layer in model.layers]
    assert layers == [
        ("Conv2D", (26, 26, 32)),
        ("MaxPooling2D", (13, 13, 32)),
        ("Conv2D", (11, 11, 64)),
        ("MaxPooling2D", (5, 5, 64)),
        ("Flatten", (1600,)),
        ("Dense", (128,)),
        ("Dropout", (128,)),
        ("Dense", (10,)),
        ("Softmax", (10,)),
    ]
    first, second = (model.get_layer(name) for name in ("conv1", "conv2"))
    assert first.kernel.shape == (3, 3, 1, 32)
    assert second.kernel.shape == (3, 3, 32, 64)
    rectified = [layer.activation.__name__ for layer in (first, second, model.get_layer("hidden"))]
    assert rectified == ["relu"] * 3
    assert model.get_layer("dropout").rate == 0.5
    assert model.count_params() == 225_034


def test_feature_maps_are_those_after_the_activation():
    assert activation_of(reference(), "conv2") == "conv2"
    assert activation_of(deep(), "conv2") == "relu2"


@pytest.mark.parametrize("architecture", ARCHITECTURES.values())
def test_every_network_gives_probabilities_of_ten_digits(architecture):
    images = np.random.default_rng(0).random((3, 28, 28, 1), np.float32)
    probabilities = architecture(training=False).predict(images, verbose=0)
    assert probabilities.shape == (3, 10)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(("step", "share"), [(0, 0), (10, 0.5), (20, 1), (50, 0.5), (80, 0)])
def test_the_learning_rate_rises_linearly_and_falls_in_a_half_cosine(step, share):
    rate = OneCycle(peak=4e-3, steps=80, warm_up=0.25)(step)
    assert float(rate) == pytest.approx(share * 4e-3, abs=1e-8)


def test_the_learning_rate_has_one_peak():
    schedule = OneCycle(peak=1.0, steps=80, warm_up=0.25)
    steps = np.diff([float(schedule(step)) for step in range(81)])
    assert (steps[:20] > 0).all()
    assert (steps[20:] < 0).all()


def test_training_follows_the_schedule():
    recipe = Recipe(epochs=2, batch_size=16)
    run = ClassifierTrainer(reference, recipe, 64)
    images = np.zeros((64, 28, 28, 1), np.float32)
    run.epoch(images, np.eye(10)[np.zeros(64, int)], np.arange(64), lambda: None)
    expected = OneCycle(recipe.peak_rate, 8, recipe.warm_up)(4)
    assert float(run._optimizer.learning_rate) == pytest.approx(float(expected))


@pytest.mark.parametrize("architecture", ARCHITECTURES.values())
def test_bfloat16_trains_like_float32(architecture):
    images = np.random.default_rng(1).random((64, 28, 28, 1), np.float32)
    truths = np.eye(10)[np.arange(64) % 10]
    losses, answers = {}, {}
    for precision in get_args(Precision):
        keras.utils.set_random_seed(5)
        run = ClassifierTrainer(
            architecture, Recipe(epochs=8, batch_size=32, precision=precision), 64
        )
        rows = [run.epoch(images, truths, np.arange(64), lambda: None) for _ in range(8)]
        losses[precision] = rows[0]["loss"], rows[-1]["loss"]
        served = run.averaged()
        assert {weight.dtype for weight in served.weights} == {"float32"}
        assert {layer.compute_dtype for layer in served.layers} == {"float32"}
        answers[precision] = np.asarray(served(images)[0])
    assert losses["bfloat16"][1] < losses["bfloat16"][0]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.1)
    assert (answers["bfloat16"] != answers["float32"]).any()  # or both were computed in the same


# --- A real run


def first(split: Split, count: int) -> Split:
    return Split(split.x[:count], split.y[:count])


@pytest.fixture(scope="module")
def little() -> Mnist:
    """Fewer images, except held-out ones, from which photos are rendered."""
    whole = data.load()
    return Mnist(first(whole.train, 4_000), whole.held_out, first(whole.test, 1_000))


@pytest.fixture(scope="module")
def run(little, tmp_path_factory):
    """One complete run in seconds: the folder of its bundle, and its output."""
    out = tmp_path_factory.mktemp("run") / "bundle"
    lines: list[str] = []
    uci = external_evaluation._uci
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "load", lambda source: little)
        patch.setattr(external_evaluation, "_uci", lambda: itertools.islice(uci(), 30))
        patch.setattr(train, "_PHOTOS_PER_LEVEL", dict.fromkeys(train._PHOTOS_PER_LEVEL, 10))
        patch.setattr(segmentation, "PAGES", 6)
        patch.setattr("builtins.print", lambda line, **_: lines.append(line))
        train.train(Job(epochs=2, seed=3, out=out), RunProgress())
    return SimpleNamespace(out=out, lines=lines)


def test_the_bundle_is_whole_and_holds_every_file_of_the_contract(run):
    manifest = bundle.verify(bundle.in_folder(run.out))
    assert set(manifest.files) >= CONTRACT
    there = {str(p.relative_to(run.out)) for p in run.out.rglob("*") if p.is_file()}
    assert there == {*manifest.files, "manifest.json"}
    assert all(info.bytes > 0 for info in manifest.files.values())


def test_the_manifest_is_written_last(run):
    times = {p.name: p.stat().st_mtime_ns for p in run.out.rglob("*") if p.is_file()}
    assert max(times, key=lambda name: times[name]) == "manifest.json"


def test_nothing_is_left_beside_the_bundle(run):
    assert [path.name for path in run.out.parent.iterdir()] == ["bundle"]


def test_the_manifest_has_the_settings_and_data_of_the_run(run):
    manifest = bundle.load(run.out).manifest
    assert (manifest.architecture, manifest.recipe) == ("reference", "quick")
    assert (manifest.training.epochs, manifest.training.seed) == (2, 3)
    assert manifest.training.batch_size == RECIPES["reference", "quick"].batch_size
    assert manifest.training.parameters == 225_034
    assert manifest.training.versions["keras"] == keras.__version__
    assert manifest.data.sha256 == data.DIGESTS
    assert manifest.version.endswith(manifest.files["mnist_cnn.tflite"].sha256[:8])


def test_its_metrics_are_those_of_the_served_model(run, little):
    loaded = bundle.load(run.out)
    classifier = Classifier(loaded)
    probabilities = classifier.probabilities(little.test.x[..., 0])
    right = probabilities.argmax(axis=1) == little.test.y
    metrics = loaded.manifest.metrics
    assert metrics.test_accuracy == right.mean() > 0.5  # it has learnt something
    of_truth = probabilities[np.arange(1_000), little.test.y]
    assert metrics.negative_log_likelihood == pytest.approx(-np.log(of_truth).mean(), abs=1e-5)


def test_the_report_agrees_with_the_manifest(run):
    report = json.loads((run.out / "report.json").read_text())
    metrics = bundle.load(run.out).manifest.metrics
    assert report["test"]["images"] == 1_000
    assert report["held_out"]["images"] == 5_000
    assert report["test"]["accuracy"] == metrics.test_accuracy
    assert report["test"]["expected_calibration_error"] == metrics.expected_calibration_error


def test_the_segmentation_network_is_the_shipped_one_and_measured_anew(run):
    manifest, shipped = bundle.load(run.out).manifest, bundle.load().manifest
    for name in ("segmenter.tflite", "config.json"):
        assert manifest.files[name] == shipped.files[name]
    report = json.loads((run.out / "report.json").read_text())
    assert report["segmentation"]["pages"] == 6
    assert report["segmentation"]["instances"]["recall"] > 0.5
    page = (run.out / "report.html").read_text()
    assert "<h2>Segmentation</h2>" in page
    assert f"{report['segmentation']['instances']['recall']:.2%}" in page


@pytest.fixture
def quick_figures(little, monkeypatch):
    """Figures on few pictures, so that a bundle is assembled in seconds."""
    uci = external_evaluation._uci
    monkeypatch.setattr(data, "load", lambda source: little)
    monkeypatch.setattr(external_evaluation, "_uci", lambda: itertools.islice(uci(), 30))
    monkeypatch.setattr(train, "_PHOTOS_PER_LEVEL", dict.fromkeys(train._PHOTOS_PER_LEVEL, 10))
    monkeypatch.setattr(segmentation, "PAGES", 6)


def test_a_bundle_of_schema_1_and_a_segmentation_network_are_assembled_to_schema_2(
    run, quick_figures, tmp_path
):
    """The figures are those that a training run with this network measures."""
    old = make_schema_1(tmp_path / "old")
    for name in (bundle.REPORT, bundle.TFLITE):
        shutil.copy(run.out / name, old / name)
    manifest = json.loads((run.out / "manifest.json").read_text())
    manifest |= {"schema": 1, "files": {
        name: bundle.describe_file(old / name).model_dump()
        for name in (bundle.REPORT, bundle.TFLITE)
    }}  # fmt: skip
    (old / "manifest.json").write_text(json.dumps(manifest))

    made = assemble.assemble(old, bundle.SHIPPED, tmp_path / "new")

    assert bundle.load(tmp_path / "new").manifest == made
    assert (made.schema_, made.derived_from) == (2, manifest["version"])
    assert made.files[bundle.TFLITE].sha256 == manifest["files"][bundle.TFLITE]["sha256"]
    assert made.version != manifest["version"]
    assert made.version.endswith(manifest["version"][-8:])
    before, after = (
        json.loads((folder / "report.json").read_text()) for folder in (run.out, tmp_path / "new")
    )
    for name in ("segmentation", "outliers", "parity", "serving", "layers"):
        assert after[name] == before[name]
    assert after["test"]["accuracy"] == before["test"]["accuracy"] == made.metrics.test_accuracy
    assert after["test"]["accepted"] == before["test"]["accepted"]
    for name, figures in after["outside"].items():
        assert figures["accuracy"] == before["outside"][name]["accuracy"]


def test_a_segmentation_network_that_is_not_the_one_of_its_bundle_is_not_assembled(tmp_path, old):
    tampered(old / "segmenter.tflite")
    with pytest.raises(ModelUnavailable, match=r"segmenter\.tflite.*digest"):
        assemble.assemble(bundle.SHIPPED, old, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_a_classifier_for_another_preprocessing_is_not_assembled(tmp_path, old):
    manifest = json.loads((old / "manifest.json").read_text())
    manifest["input"]["preprocessing"] = "1"
    (old / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(TrainingError, match="trained for preprocessing 1"):
        assemble.assemble(old, bundle.SHIPPED, tmp_path / "bundle")


def test_a_run_without_a_segmentation_network_is_refused_before_it_trains(tmp_path):
    (tmp_path / "empty").mkdir()
    job = Job(segmenter=tmp_path / "empty", out=tmp_path / "bundle")
    with pytest.raises(ModelUnavailable, match=r"segmenter\.tflite"):
        train.train(job, RunProgress())
    assert not (tmp_path / "bundle").exists()


def test_the_history_has_a_line_for_each_epoch(run):
    lines = (run.out / "history.csv").read_text().splitlines()
    assert lines[0].startswith("epoch,")
    assert [line.split(",")[0] for line in lines[1:]] == ["1", "2"]


def test_without_a_terminal_each_line_is_json(run):
    said = [json.loads(line) for line in run.lines]
    assert [line["epoch"] for line in said if "epoch" in line] == [1, 2]
    assert all(line["seconds"] >= 0 and line["message"] for line in said)
    assert said[-1]["version"] == bundle.load(run.out).manifest.version


# --- Publishing


@pytest.fixture
def trained(run, monkeypatch):
    """Replaces training by copying the bundle of `run`."""

    def copied(job, recipe, target, folder, progress):
        shutil.copytree(run.out, folder, dirs_exist_ok=True)
        return bundle.load(folder).manifest

    monkeypatch.setattr(train, "_build_bundle", copied)


@pytest.fixture
def s3():
    with mock_aws():
        client = boto3.client("s3")
        client.create_bucket(Bucket="models")
        yield client


@pytest.fixture
def written(monkeypatch):
    """The keys that are written to S3, in order."""
    keys: list[str] = []
    swap = S3Store.swap

    def noted(self, key, data, *, expected):
        keys.append(key)
        swap(self, key, data, expected=expected)

    monkeypatch.setattr(S3Store, "swap", noted)
    return keys


def test_files_go_up_first_then_the_manifest_and_the_pointer_last(
    trained, s3, written, tmp_path, monkeypatch
):
    def passes(version, target):
        registry.promote(version, target, expected=registry.pointer_state(target))
        return SimpleNamespace(criteria=())

    monkeypatch.setattr(train.gate, "promote", passes)
    manifest = train.train(Job(out=tmp_path / "bundle", publish="s3://models"), RunProgress())
    *files, last_file, pointer = written
    assert set(files) == {f"models/{manifest.version}/{name}" for name in manifest.files}
    assert last_file == f"models/{manifest.version}/manifest.json"
    assert pointer == "models/current.json"
    served, _ = registry.current(object_store.open_store("s3://models"))
    assert served.version == manifest.version


def test_without_promotion_it_is_published_and_not_in_service(trained, s3, written, tmp_path):
    job = Job(out=tmp_path / "bundle", publish="s3://models", promote=False)
    manifest = train.train(job, RunProgress())
    assert f"models/{manifest.version}/manifest.json" in written
    assert "models/current.json" not in written


def test_a_model_that_the_gate_refuses_is_published_and_not_in_service(
    trained, s3, written, tmp_path
):
    """This model is refused: it was trained on 4,000 images for two epochs."""
    job = Job(out=tmp_path / "bundle", publish="s3://models")
    with pytest.raises(NotPromoted):
        train.train(job, RunProgress())
    assert any(key.endswith("/manifest.json") for key in written)
    assert "models/current.json" not in written
    bundle.verify(bundle.in_folder(job.out))


# --- The command line


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Runs the job as the command line does, in an empty folder; its exit code and its lines."""
    monkeypatch.chdir(tmp_path)
    signals = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
    before = {sign: signal.getsignal(sign) for sign in signals}

    def run(*arguments: str):
        done = CliRunner().invoke(app, [str(argument) for argument in arguments])
        return done.exit_code, done.stderr.splitlines()

    yield run
    for sign, handler in before.items():
        signal.signal(sign, handler)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (["--architecture", "alexnet"], "choose one of reference, deep"),
        (["--recipe", "slow"], "choose one of quick, release"),
        (["--epochs", "0"], "--epochs must be at least 1"),
        (["--precision", "float16"], "--precision must be float32 or bfloat16"),
        (["--batch-size", "0"], "--batch-size must be from 1 to 55000"),
        (["--batch-size", "55001"], "--batch-size must be from 1 to 55000"),
        (["--seed", "-1"], "--seed must be from 0"),
        (["--data", "none.npz"], "check --data"),
        (["--out", "/proc/none/bundle"], "choose another --out"),
        (["--out", "/"], "choose another --out"),
        (["--publish", "ftp://models"], "s3://bucket"),
        (["--extra-data", "none"], "check --extra-data"),
    ],
)
def test_wrong_input_is_one_line_that_says_what_to_do(command, tmp_path, wrong, says):
    code, lines = command(*wrong)
    assert code == 2
    (line,) = lines
    assert line.startswith("Failed: ")
    assert says in line
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_file_of_data_leaves_the_old_bundle(command, tmp_path):
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle/manifest.json").write_text("old")
    (tmp_path / "mnist.npz").write_bytes(b"no zip")
    code, lines = command("--data", "mnist.npz")
    assert (code, len(lines)) == (2, 1)
    assert "not an .npz file" in lines[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "mnist.npz"]
    assert (tmp_path / "bundle/manifest.json").read_text() == "old"


def test_a_bucket_that_is_not_there_is_found_out_before_training(command, tmp_path, s3):
    code, lines = command("--publish", "s3://none")
    assert (code, len(lines)) == (2, 1)
    assert "s3://none (NoSuchBucket)" in lines[0]
    assert list(tmp_path.iterdir()) == []


@set_initial_no_auth_action_count(0)  # moto asks IAM from now on
def test_s3_without_permission_is_found_out_before_training(command, tmp_path, s3):
    code, lines = command("--publish", "s3://models")
    assert (code, len(lines)) == (2, 1)
    assert re.search(r"s3://models \(\w+\); check .* permissions", lines[0])
    assert list(tmp_path.iterdir()) == []


@set_initial_no_auth_action_count(1)  # reading the pointer is allowed, writing is not
def test_a_bundle_that_s3_does_not_take_is_whole_in_its_folder(command, trained, s3, tmp_path):
    code, lines = command("--publish", "s3://models")
    assert (code, len(lines)) == (2, 1)
    assert "permissions" in lines[0]
    bundle.verify(bundle.in_folder(tmp_path / "bundle"))


def test_an_s3_that_does_not_answer_is_found_out_before_training(command, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # the discard port: nobody there
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    code, lines = command("--publish", "s3://models")
    assert (code, len(lines)) == (2, 1)
    assert "EndpointConnectionError" in lines[0]
    assert list(tmp_path.iterdir()) == []


def test_an_option_that_is_not_a_number_is_named_in_the_last_line(command):
    code, lines = command("--epochs", "many")
    assert code == 2
    assert "--epochs" in lines[-1]


def test_settings_come_from_the_environment_too(command, monkeypatch):
    monkeypatch.setenv("DIGITS_ARCHITECTURE", "alexnet")
    code, lines = command()
    assert code == 2
    assert "alexnet" in lines[0]


def test_every_option_has_help_and_an_environment_variable():
    options = [option for option in get_command(app).params if option.name != "help"]
    assert {"architecture", "recipe", "epochs", "seed", "data", "out", "publish"} <= {
        option.name for option in options
    }
    for option in options:
        assert len(option.help) > 10, option.name
        assert option.envvar.startswith("DIGITS_"), option.name


def test_help_is_fast_and_names_every_option():
    command = [sys.executable, "-X", "importtime", "-m", "training_job", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    for option in get_command(app).params:
        assert option.opts[0] in done.stdout
    assert "s3://bucket[/prefix]" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "typer" in imported
    assert not imported & {"tensorflow", "keras", "sklearn", "matplotlib"}


# --- Stopping


@pytest.fixture
def training(tmp_path):
    """A run without end that has completed one epoch, with an old bundle in its output folder."""
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle/manifest.json").write_text("old")
    script = """
from training_job import data
from training_job.__main__ import app
from training_job.data import Mnist, Split
whole = data.load()
few = Split(whole.train.x[:256], whole.train.y[:256])
data.load = lambda source: Mnist(few, few, few)
app()
"""
    arguments = ["--epochs", "100000", "--out", str(tmp_path / "bundle")]
    with subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None
        said = [json.loads(process.stdout.readline()) for _ in range(3)]
        assert [line["message"].split()[0] for line in said] == ["rendering", "drawing", "epoch"]
        yield process
        process.kill()


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_stopped_leaves_the_old_bundle_and_one_line(training, tmp_path, sign):
    """TensorFlow's log messages would hide the line."""
    training.send_signal(sign)
    _, errors = training.communicate(timeout=60)
    assert training.returncode == 128 + sign
    (line,) = errors.splitlines()
    assert line.startswith("Failed: Stopped.")
    assert (tmp_path / "bundle/manifest.json").read_text() == "old"
    # A checkpoint, to go on from, and no draft.
    assert sorted(path.name for path in tmp_path.iterdir()) == [".bundle.checkpoint", "bundle"]


def test_a_job_that_cannot_be_done_is_refused_by_the_function_too(tmp_path):
    with pytest.raises(TrainingError, match="--epochs"):
        train.train(Job(epochs=0, out=tmp_path / "bundle"), RunProgress())
    assert list(tmp_path.iterdir()) == []
