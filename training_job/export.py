"""From a trained network to a bundle: its files, its checks, its manifest last."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from digits import bundle
from digits.bundle import MANIFEST, TFLITE, Data, Decision, Input, Manifest, Metrics, Training
from digits.classifier import Classifier
from training_job.data import DIGESTS
from training_job.errors import TrainingError
from training_job.model import up_to

_ROOT = Path(__file__).parents[1]
_PARITY = 1e-5  # the most that a probability may differ between Keras and LiteRT
_BATCH = 1_000


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder to write to that takes the place of `out` once it is whole, and only then.

    Raises
    ------
    TrainingError
        If it cannot be made there.
    """
    draft = out.with_name(f".{out.name}.{os.getpid()}.draft")
    old = out.with_name(f".{out.name}.{os.getpid()}.old")
    try:
        draft.mkdir(parents=True)
    except OSError as error:
        raise TrainingError(
            f"Cannot write to {out} ({error.strerror}); choose another --out."
        ) from error
    try:
        yield draft
        if out.exists():
            out.rename(old)
        draft.rename(out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def save_models(model: keras.Model, folder: Path) -> None:
    """Write the network three times: LiteRT to the logits, Keras and HDF5 to the softmax."""
    # Without the optimizer, which would triple the files and needs our schedule to be loaded.
    bare = type(model).from_config(model.get_config())
    bare.set_weights(model.get_weights())
    bare.save(folder / "mnist_cnn.keras")
    bare.save(folder / "mnist_cnn.h5")
    converter = tf.lite.TFLiteConverter.from_keras_model(up_to(bare, "logits"))
    (folder / TFLITE).write_bytes(converter.convert())


def save_history(history: Sequence[dict[str, float]], folder: Path) -> None:
    """Write `history.csv`, one line an epoch."""
    with (folder / "history.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(history[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)


def save_manifest(
    folder: Path,
    *,
    architecture: str,
    recipe: str,
    training: Training,
    decision: Decision,
    test: dict[str, Any],
) -> Manifest:
    """Write `manifest.json`: everything else must be in `folder` already."""
    files = {
        str(path.relative_to(folder)): bundle.describe_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    now = datetime.now(timezone.utc)
    manifest = Manifest(
        version=f"{now:%Y%m%dT%H%M%SZ}-{files[TFLITE].sha256[:8]}",
        created=f"{now:%Y-%m-%dT%H:%M:%SZ}",
        git_commit=_git_commit(),
        data=Data(name="mnist", sha256=DIGESTS),
        architecture=architecture,
        recipe=recipe,
        training=training,
        input=Input(),
        decision=decision,
        metrics=Metrics(
            test_accuracy=test["accuracy"],
            negative_log_likelihood=test["negative_log_likelihood"],
            expected_calibration_error=test["expected_calibration_error"],
        ),
        files=files,
    )
    (folder / MANIFEST).write_bytes(manifest.to_json())
    return manifest


def save_report(report: dict[str, Any], folder: Path) -> None:
    """Write `report.json`."""
    (folder / "report.json").write_text(json.dumps(report, indent=1) + "\n")


def check_parity(folder: Path, images: NDArray[np.float32], expected: NDArray[np.float64]) -> float:
    """Run the bundle as it is served and compare it with Keras, image by image.

    Parameters
    ----------
    folder
        The bundle, complete.
    images : float32 (n, 28, 28, 1)
        The test images.
    expected : float64 (n, 10)
        Keras' probabilities for them, calibrated.

    Returns
    -------
    float
        The largest difference of a probability.

    Raises
    ------
    TrainingError
        If a label differs, or a probability by more than 1e-5.
    """
    classifier = Classifier(bundle.load(folder))
    served = np.concatenate(
        [
            classifier.probabilities(images[start : start + _BATCH, ..., 0])
            for start in range(0, len(images), _BATCH)
        ]
    )
    labels = int((served.argmax(axis=1) != expected.argmax(axis=1)).sum())
    difference = float(np.abs(served - expected).max())
    if labels or difference > _PARITY:
        raise TrainingError(
            f"LiteRT differs from Keras: {labels} labels, probabilities by up to {difference:.1e};"
            " the bundle is not written."
        )
    return difference


def _git_commit() -> str | None:
    """The code's revision; in a container, where there is no git, by the environment."""
    if given := os.environ.get("DIGITS_GIT_COMMIT"):
        return given
    command = ["git", "-C", str(_ROOT), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
