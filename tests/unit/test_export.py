"""Exported files hold the trained network, and LiteRT must agree with Keras."""

from __future__ import annotations

import csv
import subprocess

import keras
import numpy as np
import pytest
from scipy.special import expit

from digits.recognition.classification import softmax
from digits.registry.bundle import TFLITE
from training_job import export
from training_job.classifier.model import reference, up_to, with_ood_output
from training_job.errors import TrainingError


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).random((50, 28, 28, 1), np.float32)


@pytest.fixture(scope="module")
def model(images) -> keras.Model:
    """Untrained, but of logits that differ from image to image."""
    keras.utils.set_random_seed(1)
    return reference()


@pytest.fixture(scope="module")
def whole(model) -> keras.Model:
    return with_ood_output(model)


@pytest.fixture(scope="module")
def digit(whole, images) -> np.ndarray:
    """Probabilities that the images show digits."""
    return expit(whole.predict(images, verbose=0)[1][:, 0].astype(np.float64))


@pytest.fixture(scope="module")
def probabilities(model, images) -> np.ndarray:
    return softmax(up_to(model, "logits").predict(images, verbose=0), 0.1)


@pytest.fixture(scope="module")
def folder(model, whole, tmp_path_factory):
    made = tmp_path_factory.mktemp("models")
    export.save_models(model, whole, made)
    return made


@pytest.mark.parametrize("name", ["mnist_cnn.keras", "mnist_cnn.h5"])
def test_keras_files_hold_the_network_as_it_was_to_the_softmax(folder, model, images, name):
    loaded = keras.models.load_model(folder / name, compile=False)
    np.testing.assert_allclose(
        loaded.predict(images, verbose=0), model.predict(images, verbose=0), atol=1e-6
    )
    assert loaded.layers[-1].name == "softmax"


def test_they_are_saved_without_an_optimizer(folder):
    """It would triple the files, and its schedule could not be loaded elsewhere."""
    for name in ("mnist_cnn.keras", "mnist_cnn.h5"):
        assert (folder / name).stat().st_size < 225_034 * 4 * 1.1
        keras.models.load_model(folder / name)


def test_litert_agrees_with_keras(folder, images, probabilities, digit):
    assert export.parity(folder, images, probabilities, digit, 0.1) < 1e-5


def test_a_different_ood_output_fails_the_job(folder, images, probabilities, digit):
    with pytest.raises(TrainingError, match=r"0 labels, probabilities by up to 2\.0e-05"):
        export.parity(folder, images, probabilities, digit + 2e-5, 0.1)


def test_a_probability_that_differs_fails_the_job(folder, images, probabilities, digit):
    other = probabilities.copy()
    other[7, 3] += 2e-5
    with pytest.raises(TrainingError, match=r"0 labels, probabilities by up to 2\.0e-05"):
        export.parity(folder, images, other, digit, 0.1)


def test_a_label_that_differs_fails_the_job_however_close_it_was(model, folder, images, digit):
    nearly_even = softmax(up_to(model, "logits").predict(images, verbose=0), 1e6)
    best = nearly_even[7].argmax()
    nearly_even[7, [best, best - 1]] = nearly_even[7, [best - 1, best]]
    with pytest.raises(TrainingError, match=r"1 labels, probabilities by up to .*e-0[6-8]"):
        export.parity(folder, images, nearly_even, digit, 1e6)


def test_a_tampered_litert_file_fails_the_job(folder, images, probabilities, digit, tmp_path):
    """Some weights have the opposite sign."""
    data = bytearray((folder / TFLITE).read_bytes())
    for part in range(1, 8):
        data[part * len(data) // 8 | 3] ^= 0x80
    (tmp_path / TFLITE).write_bytes(data)
    with pytest.raises(TrainingError, match="LiteRT differs from Keras"):
        export.parity(tmp_path, images, probabilities, digit, 0.1)


def test_the_history_is_one_line_an_epoch(tmp_path):
    rows = [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}]
    export.save_history(rows, tmp_path)
    with (tmp_path / "history.csv").open(newline="") as stream:
        assert list(csv.DictReader(stream)) == [
            {"epoch": "1", "loss": "0.5"},
            {"epoch": "2", "loss": "0.25"},
        ]


def test_in_a_container_the_environment_names_the_revision(monkeypatch):
    monkeypatch.setenv("DIGITS_GIT_COMMIT", "abc")
    assert export._git_commit() == "abc"


def test_only_what_goes_into_a_model_makes_its_revision_dirty(monkeypatch, tmp_path):
    monkeypatch.delenv("DIGITS_GIT_COMMIT", raising=False)
    monkeypatch.setattr(export, "_ROOT", tmp_path)
    for file in ("digits/code.py", "benchmarks/records.jsonl"):
        (tmp_path / file).parent.mkdir()
        (tmp_path / file).write_text("1")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.com"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *command], check=True)
    (tmp_path / "benchmarks/records.jsonl").write_text("2")
    revision = export._git_commit()
    assert revision is not None
    assert len(revision) == 40
    (tmp_path / "digits/code.py").write_text("2")
    assert export._git_commit() == f"{revision}-dirty"


def test_where_there_is_no_git_there_is_no_revision(monkeypatch):
    monkeypatch.delenv("DIGITS_GIT_COMMIT", raising=False)
    monkeypatch.setenv("PATH", "")
    assert export._git_commit() is None
