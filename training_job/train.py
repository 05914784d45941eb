"""One training run of the classifier: load, fit, calibrate, evaluate, export, publish, promote."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from scipy.special import expit

from digits.config import Decision, Rejector
from digits.finder import Segmenter
from digits.recognition.classification import ClassifyFrames, FrameClassifier, Network, softmax
from digits.registry import bundle, gate, object_store, registry, runs
from digits.registry.bundle import CONFIG, SEGMENTER, TFLITE, Manifest, Training
from digits.registry.object_store import Store
from training_job import (
    data,
    evaluate,
    export,
    external_evaluation,
    extra_data,
    plots,
    report,
    segmentation,
)
from training_job.checkpoint import Checkpoint
from training_job.classifier import auxiliary, negatives
from training_job.classifier.fit import Row, fit
from training_job.classifier.model import ARCHITECTURES, activation_of, described, up_to
from training_job.classifier.recipes import RECIPES, Precision, Recipe
from training_job.data import Mnist, Split
from training_job.draft import new_folder
from training_job.errors import NotPromoted, TrainingError
from training_job.evaluate import Probabilities
from training_job.external_evaluation import ExternalSet
from training_job.progress import RunProgress

_FEATURE_MAP_IMAGES = (0, 1, 2, 3)  # indices of test images: a 7, a 2, a 1 and a 0
# Share of the held-out digits that the OOD threshold accepts; chosen by hand.
_ACCEPTED_SHARE = 0.998
# Sizes of the test sets by recipe: measuring takes seconds for quick and minutes for release.
_NEGATIVES = {"quick": 500, "release": 4_000}
_PHOTOS_PER_LEVEL = {"quick": 50, "release": 300}


@dataclass(frozen=True)
class Job:
    """The settings of a run; the options of `python -m training_job` describe them."""

    architecture: str = "reference"
    recipe: str = "quick"
    epochs: int | None = None  # None: that of the recipe
    batch_size: int | None = None  # None: that of the recipe
    precision: str = "float32"
    seed: int = 1
    data: str = str(data.BUNDLED)
    extra_data: str | None = None
    segmenter: Path = bundle.SHIPPED  # folder with the segmentation network
    out: Path = Path("bundle")
    publish: str | None = None
    promote: bool = True
    run: str | None = None  # name of the run's record and checkpoint in the registry


def train(job: Job, progress: RunProgress) -> Manifest:
    """Run the job and return the manifest of the bundle that it wrote.

    Raises
    ------
    TrainingError
        If the settings are not valid or data cannot be read; no incomplete bundle is left behind.
    NotPromoted
        If the gate refuses the model; it is published, but the model in service stays.
    ModelUnavailable, Conflict
        If the bundle cannot be published; it is complete in the job's folder.
    """
    recipe = resolve_recipe(job)
    target = _open_store(job.publish) if job.publish else None
    with new_folder(job.out) as folder:
        manifest = _build_bundle(job, recipe, target, folder, progress)
    shutil.rmtree(_checkpoint_folder(job), ignore_errors=True)
    progress.say(
        f"wrote {job.out}: {manifest.version}, test accuracy {manifest.metrics.test_accuracy:.2%}",
        version=manifest.version,
        test_accuracy=manifest.metrics.test_accuracy,
    )
    if target is not None:
        _publish(job, target, progress)
    return manifest


def resolve_recipe(job: Job) -> Recipe:
    """Return the job's recipe with the epochs, batch size and precision that the job sets.

    Raises
    ------
    TrainingError
        If there is no such architecture or recipe, or a value is out of its range.
    """
    if job.architecture not in ARCHITECTURES:
        raise TrainingError(
            f"There is no architecture {job.architecture!r}; choose one of"
            f" {', '.join(ARCHITECTURES)}."
        )
    base = RECIPES.get((job.architecture, job.recipe))
    if base is None:
        names = [recipe for architecture, recipe in RECIPES if architecture == job.architecture]
        raise TrainingError(f"There is no recipe {job.recipe!r}; choose one of {', '.join(names)}.")
    epochs = base.epochs if job.epochs is None else job.epochs
    batch_size = base.batch_size if job.batch_size is None else job.batch_size
    if epochs < 1:
        raise TrainingError("--epochs must be at least 1.")
    if not 1 <= batch_size <= data.TRAINING_IMAGES:
        raise TrainingError(f"--batch-size must be from 1 to {data.TRAINING_IMAGES}.")
    if not 0 <= job.seed < 2**32:
        raise TrainingError("--seed must be from 0 to 4294967295.")
    if job.precision not in get_args(Precision):
        raise TrainingError(f"--precision must be {' or '.join(get_args(Precision))}.")
    return replace(base, epochs=epochs, batch_size=batch_size, precision=job.precision)  # type: ignore[arg-type]


def _build_bundle(
    job: Job, recipe: Recipe, target: Store | None, folder: Path, progress: RunProgress
) -> Manifest:
    """Train the classifier and write all files of the bundle to `folder`."""
    started = time.perf_counter()
    mnist = data.load(job.data)
    extra = _load_extra_data(job, progress)
    files = segmentation.files_in(job.segmenter)
    config = bundle.parse_config(files[CONFIG])
    segmenter = Segmenter(files[SEGMENTER], config.segmentation)
    train_split = data.joined(
        mnist.train, auxiliary.auxiliary_data(recipe, job.seed, segmenter, progress)
    )
    if extra is not None:
        train_split = data.joined(train_split, extra.split)
    origin = data.DIGESTS | ({} if extra is None else {"extra": extra.sha256})
    inputs = [bundle.sha256(files[SEGMENTER]), config.model_dump(), origin]
    checkpoint = _checkpoint(job, recipe, target, inputs)
    architecture = ARCHITECTURES[job.architecture]
    network, served, history = fit(
        architecture, train_split, mnist.held_out, recipe, job.seed, progress, checkpoint
    )
    fitted = time.perf_counter()

    progress.say("calibrating and evaluating")
    export.save_models(network, served, folder)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    held_out, held_out_digit = _predict(served, mnist.held_out)
    temperature = evaluate.fit_temperature(held_out, mnist.held_out.y)
    calibrated = softmax(held_out, temperature)
    decision = Decision(
        temperature=temperature,
        threshold=evaluate.acceptance_threshold(calibrated.max(axis=1)),
        rejector=Rejector(threshold=evaluate.acceptance_threshold(held_out_digit, _ACCEPTED_SHARE)),
    )
    logits, digit = _predict(served, mnist.test)
    probabilities = softmax(logits, temperature)
    classify_frames = FrameClassifier(Network((folder / TFLITE).read_bytes()), decision, config)
    ood_threshold = decision.review_threshold(config)
    figures: dict[str, Any] = {
        "test": _report(probabilities, digit, mnist.test, decision, ood_threshold),
        "held_out": _report(calibrated, held_out_digit, mnist.held_out, decision, ood_threshold),
        **recognition_figures(mnist, classify_frames, segmenter, job.recipe, folder / "images"),
        "layers": described(network),
    }

    progress.say("drawing and exporting")
    export.save_history(history, folder)
    draw_images(network, mnist.test, probabilities, history, figures, folder / "images")
    difference = export.parity(folder, mnist.test.x, probabilities, digit, temperature)
    figures["parity"] = {"labels": 0, "probability": difference}
    figures["serving"] = export.serving_cost(folder)
    training = Training(
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        seed=job.seed,
        settings=asdict(recipe),
        parameters=network.count_params(),
        seconds=round(fitted - started, 1),
        versions=_versions(),
    )
    report.write(figures, job.architecture, job.recipe, training, decision, config, folder)
    export.save_report(figures, folder)
    return export.save_manifest(
        folder,
        architecture=job.architecture,
        recipe=job.recipe,
        training=training,
        decision=decision,
        test=figures["test"],
        origin=origin,
    )


def _predict(served: keras.Model, split: Split) -> tuple[Any, NDArray[np.float64]]:
    """Return the logits, (n, 10), and the probability that each image shows a digit, (n,)."""
    logits, log_odds = served.predict(split.x, batch_size=1000, verbose=0)
    return logits, expit(log_odds[:, 0].astype(np.float64))


def _report(
    probabilities: Probabilities,
    digit: NDArray[np.float64],
    split: Split,
    decision: Decision,
    ood_threshold: float,
) -> dict[str, Any]:
    """Evaluate the classifier on a split; `digit` is the probability that an image is a digit."""
    sure = probabilities.max(axis=1) >= decision.threshold
    return evaluate.report(probabilities, split.y, sure & (digit >= ood_threshold))


def recognition_figures(
    mnist: Mnist, classify_frames: ClassifyFrames, segmenter: Segmenter, recipe: str, images: Path
) -> dict[str, Any]:
    """Measure both LiteRT networks on external sets, negatives and rendered pages.

    Also draws ``reliability_photos.png`` in the folder `images`.

    Returns
    -------
    dict
        The figures `outside`, `outliers` and `segmentation` of `report.json`.
    """
    external = external_evaluation.sets(
        mnist, classify_frames, segmenter, _PHOTOS_PER_LEVEL[recipe]
    )
    _draw_photo_reliability(external, images)
    with auxiliary.workers(segmenter) as pool:
        segmented = segmentation.figures(segmenter, segmentation.PAGES, pool)
    return {
        "outside": {
            name: _external_figures(external_set) for name, external_set in external.items()
        },
        "outliers": negatives.rejection_rates(classify_frames, mnist, _NEGATIVES[recipe]),
        "segmentation": segmented,
    }


def _external_figures(external_set: ExternalSet) -> dict[str, Any]:
    """Return the figures of one external set; an image without a mark counts as an error."""
    figures = evaluate.report(
        external_set.probabilities, external_set.truths, external_set.accepted
    )
    found = len(external_set.truths) / external_set.pictures
    return figures | {
        "sha256": external_set.sha256,
        "images": external_set.pictures,
        "found": found,
        "accuracy": figures["accuracy"] * found,
        "errors": external_set.pictures - len(external_set.truths) + figures["errors"],
        "accepted": figures["accepted"] * found,
    }


def draw_images(
    model: keras.Model,
    test: Split,
    probabilities: Probabilities,
    history: list[Row],
    figures: dict[str, Any],
    folder: Path,
) -> None:
    """Draw all plots of the bundle that depend only on MNIST and the classifier."""
    metrics = figures["test"]
    plots.confusion_matrix(
        metrics["confusion_matrix"], metrics["accuracy"], folder / "confusion_matrix.png"
    )
    plots.precision_and_recall(metrics["digits"], folder / "precision_and_recall.png")
    plots.training_curves(history, folder / "training_curves.png")
    title = f"Reliability: calibration error {metrics['expected_calibration_error']:.2%}"
    plots.reliability(metrics["reliability"], title, folder / "reliability.png")
    plots.errors(test.x, test.y, probabilities, folder / "errors.png")

    images = test.x[list(_FEATURE_MAP_IMAGES)]
    first, second = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)][:2]
    plots.filters(np.asarray(first.kernel)[:, :, 0], folder / "filters.png")
    for number, layer in enumerate((first, second), start=1):
        maps = np.asarray(up_to(model, activation_of(model, layer.name))(images))
        _, height, width, channels = maps.shape
        title = f"Layer {layer.name}: {channels} feature maps of {height}×{width}"
        path = folder / f"feature_maps_layer{number}.png"
        plots.feature_maps(images[..., 0], maps, title, path)


def _draw_photo_reliability(external: dict[str, ExternalSet], folder: Path) -> None:
    """Draw the reliability diagram of the synthetic photos of all levels together."""
    photos = [name for name in external if name.startswith("photos")]
    truths = np.concatenate([external[name].truths for name in photos])
    groups = evaluate.reliability(
        np.concatenate([external[name].probabilities for name in photos]), truths
    )
    error = evaluate.expected_calibration_error(groups)
    title = f"Reliability on {len(truths):,} synthetic photos: {error:.2%}"
    plots.reliability(groups, title, folder / "reliability_photos.png")


def _load_extra_data(job: Job, progress: RunProgress) -> extra_data.ExtraData | None:
    """Load the job's extra training data and report how much there is; None without any."""
    if job.extra_data is None:
        return None
    extra = extra_data.load(job.extra_data)
    message = f"training also on {len(extra.split)} images of {job.extra_data}"
    if extra.left_out:
        message += f"; {extra.left_out} are left out because their truth is not one digit"
    progress.say(message, left_out=extra.left_out)
    return extra


def _checkpoint_folder(job: Job) -> Path:
    return job.out.with_name(f".{job.out.name}.checkpoint")


def _checkpoint(job: Job, recipe: Recipe, target: Store | None, inputs: list[Any]) -> Checkpoint:
    """Return the job's checkpoint: beside its folder, or for a named run in the registry.

    Another machine can resume a run whose checkpoint is in the registry.
    """
    determining = [
        job.architecture,
        job.seed,
        asdict(recipe),
        inputs,
        _versions(),
        _sources(),
    ]
    fingerprint = hashlib.sha256(json.dumps(determining, sort_keys=True).encode()).hexdigest()
    if job.run and target is not None:
        return Checkpoint(target, runs.checkpoint_key(job.run), fingerprint)
    return Checkpoint(object_store.FolderStore(_checkpoint_folder(job)), "state.npz", fingerprint)


def _sources() -> str:
    """Return the SHA-256 of the code that determines the weights."""
    folder = Path(__file__).parent
    names = (
        *("classifier/augment.py", "classifier/auxiliary.py", "classifier/fit.py"),
        *("classifier/model.py", "classifier/negatives.py", "classifier/page_frames.py"),
        *("classifier/synthetic_digits.py", "glyphs.py", "rendered_pages.py", "strokes.py"),
        "synthetic_photos.py",
    )
    return hashlib.sha256(b"".join((folder / name).read_bytes() for name in names)).hexdigest()


def _versions() -> dict[str, str]:
    """Return the versions of the software that the weights depend on."""
    return {
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
    }


def _open_store(address: str) -> Store:
    """Open the registry's store and read its pointer, so that a wrong address fails early."""
    target = object_store.open_store(address)
    registry.pointer_state(target)
    return target


def _publish(job: Job, target: Store, progress: RunProgress) -> None:
    """Upload the bundle, record the run, and promote the bundle if the job says so."""
    manifest = registry.upload(job.out, target)
    progress.say(f"published {manifest.version} to {job.publish}", version=manifest.version)
    if job.run:
        runs.record(job.run, manifest.version, target)
    if not job.promote:
        return
    try:
        promotion = gate.promote(manifest.version, target)
    except gate.Refused as refusal:
        _report_criteria(refusal.criteria, progress)
        raise NotPromoted(
            f"{refusal} The bundle is published; the model in service stays."
        ) from refusal
    _report_criteria(promotion.criteria, progress)
    progress.say(f"promoted {manifest.version}", version=manifest.version)


def _report_criteria(criteria: tuple[gate.Criterion, ...], progress: RunProgress) -> None:
    """Report each criterion of the promotion gate with its value and bound."""
    for item in criteria:
        verdict = {True: "passed", False: "failed", None: "not judged"}[item.passed]
        progress.say(
            f"{verdict}: {item.name} {item.shown(item.value)} {item.sense} {item.shown(item.bound)}"
            f" ({item.why})",
            **item.to_json(),
        )
