"""Export a trained classifier to a bundle: model files, checks against Keras, manifest."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import subprocess
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from scipy.special import expit

from digits.config import Decision
from digits.recognition.classification import Network, softmax
from digits.registry import bundle
from digits.registry.bundle import (
    MANIFEST,
    SCHEMA,
    TFLITE,
    Data,
    FileInfo,
    Input,
    Manifest,
    Metrics,
    Training,
)
from training_job.classifier.model import reference, up_to
from training_job.errors import TrainingError

_ROOT = Path(__file__).parents[1]
_PARITY = 1e-5  # largest difference of a probability between Keras and LiteRT: float32 rounding
_BATCH = 1_000  # images per call of the network: bounds the memory
_TIMED_RUNS = 300  # of each network; enough for a stable median
_SOURCES = ("digits", "training_job", "requirements/training.txt")  # what determines a bundle


def save_models(network: keras.Model, served: keras.Model, folder: Path) -> None:
    """Write the model files of a bundle.

    Parameters
    ----------
    network
        From images to probabilities; written for Keras and as HDF5.
    served
        From images to logits and OOD output; written for LiteRT.
    folder
        The bundle's folder.
    """
    network.save(folder / "mnist_cnn.keras")
    logging.getLogger("absl").setLevel(logging.ERROR)  # Keras warns that HDF5 is a legacy format
    network.save(folder / "mnist_cnn.h5")
    (folder / TFLITE).write_bytes(_litert(served))


def save_history(history: Sequence[dict[str, float]], folder: Path) -> None:
    """Write `history.csv`, one row per epoch."""
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
    origin: dict[str, str],
) -> Manifest:
    """Write `manifest.json` and return it; all other files must be in `folder` already.

    Parameters
    ----------
    folder
        The bundle's folder.
    architecture, recipe, training, decision
        As in the manifest.
    test
        Metrics of the test images, as `evaluate.report` returns them.
    origin
        SHA-256 of each array of MNIST and of the extra data, by name.
    """
    files = _files(folder)
    version, created = _version_and_time(files)
    manifest = Manifest(
        schema=SCHEMA,
        version=version,
        created=created,
        git_commit=_git_commit(),
        data=Data(name="mnist", sha256=origin),
        architecture=architecture,
        recipe=recipe,
        training=training,
        input=Input(),
        decision=decision,
        metrics=_metrics(test),
        files=files,
    )
    (folder / MANIFEST).write_bytes(manifest.to_json())
    return manifest


def save_derived_manifest(folder: Path, original: Manifest, test: dict[str, Any]) -> Manifest:
    """Write `manifest.json` of a bundle that has the classifier of another bundle; return it.

    The bundle gets a new version, because a version is never overwritten in a registry.
    """
    files = _files(folder)
    version, created = _version_and_time(files)
    manifest = original.model_copy(
        update={
            "schema_": SCHEMA,
            "version": version,
            "derived_from": original.version,
            "created": created,
            "git_commit": _git_commit(),
            "metrics": _metrics(test),
            "files": files,
        }
    )
    (folder / MANIFEST).write_bytes(manifest.to_json())
    return manifest


def _files(folder: Path) -> dict[str, FileInfo]:
    return {
        str(path.relative_to(folder)): bundle.describe_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _version_and_time(files: dict[str, FileInfo]) -> tuple[str, str]:
    """Return the version and the time of creation of a bundle that is complete now."""
    now = datetime.now(timezone.utc)
    return f"{now:%Y%m%dT%H%M%SZ}-{files[TFLITE].sha256[:8]}", f"{now:%Y-%m-%dT%H:%M:%SZ}"


def _metrics(test: dict[str, Any]) -> Metrics:
    return Metrics(
        test_accuracy=test["accuracy"],
        negative_log_likelihood=test["negative_log_likelihood"],
        expected_calibration_error=test["expected_calibration_error"],
    )


def save_report(report: dict[str, Any], folder: Path) -> None:
    """Write `report.json`."""
    (folder / "report.json").write_text(json.dumps(report, indent=1) + "\n")


def parity(
    folder: Path,
    images: NDArray[np.float32],
    expected: NDArray[np.float64],
    digit: NDArray[np.float64],
    temperature: float,
) -> float:
    """Run the LiteRT network on images and compare its output with that of Keras.

    Parameters
    ----------
    folder
        The bundle's folder, with the LiteRT network.
    images : float32 (n, 28, 28, 1)
        The test images.
    expected : float64 (n, 10)
        Probabilities of the digits by Keras, calibrated with `temperature`.
    digit : float64 (n,)
        Probability, by Keras, that an image shows a digit.
    temperature
        Divides the logits.

    Returns
    -------
    float
        The largest difference of a probability.

    Raises
    ------
    TrainingError
        If a label differs, or a probability by more than 1e-5.
    """
    network = Network((folder / TFLITE).read_bytes())
    ran = [
        network.run(images[start : start + _BATCH, ..., 0])
        for start in range(0, len(images), _BATCH)
    ]
    logits, log_odds = (np.concatenate(part) for part in zip(*ran, strict=True))
    served = softmax(logits, temperature)
    labels = int((served.argmax(axis=1) != expected.argmax(axis=1)).sum())
    difference = float(np.abs(served - expected).max())
    difference = max(difference, float(np.abs(expit(log_odds.astype(np.float64)) - digit).max()))
    if labels or difference > _PARITY:
        raise TrainingError(
            f"LiteRT differs from Keras: {labels} labels, probabilities by up to {difference:.1e};"
            " no bundle is written. Check the versions of TensorFlow and LiteRT."
        )
    return difference


def serving_cost(folder: Path) -> dict[str, float]:
    """Measure the size of the LiteRT file and its time for one image.

    Returns
    -------
    dict
        `bytes` of the file, and `latency_ratio`: the median time of 300 runs, divided by that of
        the reference network, whose runs alternate with it. A ratio depends less on the machine and
        its load than milliseconds do.
    """
    served = (folder / TFLITE).read_bytes()
    yardstick = _litert(up_to(reference(), "logits"))
    networks = (Network(served), Network(yardstick))
    frame = np.zeros((1, 28, 28), np.float32)
    seconds = np.empty((_TIMED_RUNS, 2))
    for turn in range(_TIMED_RUNS):
        for place, network in enumerate(networks):
            started = time.perf_counter()
            network.logits(frame)
            seconds[turn, place] = time.perf_counter() - started
    own, textbook = np.median(seconds, axis=0)
    return {"bytes": len(served), "latency_ratio": round(float(own / textbook), 3)}


def _litert(model: keras.Model) -> bytes:
    # The exporter prints the signature to standard output.
    with redirect_stdout(io.StringIO()):
        converted: bytes = tf.lite.TFLiteConverter.from_keras_model(model).convert()
    return converted


def _git_commit() -> str | None:
    """Return the Git commit of the code, or the value of DIGITS_GIT_COMMIT, as in a container.

    It ends in ``-dirty`` if files that determine a bundle differ from the commit. None without Git.
    """
    if given := os.environ.get("DIGITS_GIT_COMMIT"):
        return given
    try:
        changed = _git("status", "--porcelain", "--", *_SOURCES)
        return _git("rev-parse", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(_ROOT), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    return done.stdout.strip()
