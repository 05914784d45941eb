"""From a trained network to a bundle: its files, its checks, its manifest last."""

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

from digits.classifier import Network, softmax
from digits.registry import bundle
from digits.registry.bundle import (
    MANIFEST,
    SCHEMA,
    TFLITE,
    Data,
    Decision,
    FileInfo,
    Input,
    Manifest,
    Metrics,
    Training,
)
from training_job.classifier.model import reference, up_to
from training_job.errors import TrainingError

_ROOT = Path(__file__).parents[1]
_PARITY = 1e-5  # the most that a probability may differ between Keras and LiteRT
_BATCH = 1_000
_TIMED = 300
_INGREDIENTS = ("digits", "training_job", "requirements/training.txt")


def save_models(network: keras.Model, whole: keras.Model, folder: Path) -> None:
    """Write the network: Keras and HDF5 to the softmax; LiteRT to the logits and the opinion."""
    network.save(folder / "mnist_cnn.keras")
    logging.getLogger("absl").setLevel(logging.ERROR)  # Keras advises against HDF5 each time
    network.save(folder / "mnist_cnn.h5")
    (folder / TFLITE).write_bytes(_litert(whole))


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
    origin: dict[str, str],
) -> Manifest:
    """Write `manifest.json`: everything else must be in `folder` already.

    `origin` is the SHA-256 of each array, or set of own pictures, that was trained on.
    """
    files = _files(folder)
    version, created = _stamp(files)
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
    """Write `manifest.json` of a bundle whose classifier is that of `original`, unchanged.

    The bundle has a version of its own, since a version is never overwritten in a store.
    """
    files = _files(folder)
    version, created = _stamp(files)
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


def _stamp(files: dict[str, FileInfo]) -> tuple[str, str]:
    """Version and time of creation of a bundle that is finished now."""
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
    """Run the network as it is served and compare it with Keras, image by image.

    Parameters
    ----------
    folder
        The bundle; the LiteRT model must be in it.
    images : float32 (n, 28, 28, 1)
        The test images.
    expected : float64 (n, 10)
        Keras' probabilities for them, calibrated by `temperature`.
    digit : float64 (n,)
        How likely Keras finds each a digit at all.

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
            " the bundle is not written."
        )
    return difference


def serving(folder: Path) -> dict[str, float]:
    """What serving costs: the served file's bytes, and one image's time.

    The time is the median of 300, as a ratio to the textbook network's, which takes turns with it:
    milliseconds would say more about the machine and its other work.
    """
    served = (folder / TFLITE).read_bytes()
    yardstick = _litert(up_to(reference(), "logits"))
    networks = (Network(served), Network(yardstick))
    frame = np.zeros((1, 28, 28), np.float32)
    seconds = np.empty((_TIMED, 2))
    for turn in range(_TIMED):
        for place, network in enumerate(networks):
            started = time.perf_counter()
            network.logits(frame)
            seconds[turn, place] = time.perf_counter() - started
    own, textbook = np.median(seconds, axis=0)
    return {"bytes": len(served), "latency_ratio": round(float(own / textbook), 3)}


def _litert(model: keras.Model) -> bytes:
    # The exporter prints the signature, which is no news to anyone.
    with redirect_stdout(io.StringIO()):
        converted: bytes = tf.lite.TFLiteConverter.from_keras_model(model).convert()
    return converted


def _git_commit() -> str | None:
    """The code's revision; in a container, where there is no git, by the environment.

    It ends in ``-dirty`` if what goes into a model is not as it was committed.
    """
    if given := os.environ.get("DIGITS_GIT_COMMIT"):
        return given
    try:
        changed = _git("status", "--porcelain", "--", *_INGREDIENTS)
        return _git("rev-parse", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(_ROOT), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    return done.stdout.strip()
