"""One training run, top to bottom: load, fit, calibrate, evaluate, export, publish, promote."""

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

from digits.classifier import FrameClassifier, Network, softmax
from digits.finder import Segmenter
from digits.reading import ClassifyFrames
from digits.registry import bundle, gate, object_store, registry, runs
from digits.registry.bundle import CONFIG, SEGMENTER, TFLITE, Decision, Manifest, Rejector, Training
from digits.registry.object_store import Store
from training_job import (
    data,
    elsewhere,
    evaluate,
    export,
    extra,
    outliers,
    outside,
    plots,
    report,
    segmentation,
)
from training_job.checkpoint import Checkpoint
from training_job.data import Mnist, Split
from training_job.draft import new_folder
from training_job.errors import NotPromoted, TrainingError
from training_job.evaluate import Probabilities
from training_job.fit import Row, fit
from training_job.model import ARCHITECTURES, activation_of, described, up_to
from training_job.outside import Outside
from training_job.progress import Progress
from training_job.recipes import RECIPES, Precision, Recipe

_SHOWN = (0, 1, 2, 3)  # the test images, a 7, 2, 1 and 0, whose feature maps are drawn
_ACCEPTED_SHARE = 0.998  # of held-out digits that are to be taken for digits
_OUTLIERS = {"quick": 500, "release": 4_000}  # drawn from held-out digits and typefaces, for report
# Synthetic photos of each level to measure on: seconds, not minutes.
_PHOTOS = {"quick": 50, "release": 300}


@dataclass(frozen=True)
class Job:
    """What to train, from what, and where it goes."""

    architecture: str = "reference"
    recipe: str = "quick"
    epochs: int | None = None  # None: the recipe's
    batch_size: int | None = None  # None: the recipe's
    precision: str = "float32"
    seed: int = 1
    data: str = str(data.BUNDLED)
    extra_data: str | None = None
    segmenter: Path = bundle.SHIPPED  # a folder that holds the segmentation network
    out: Path = Path("bundle")
    publish: str | None = None
    promote: bool = True
    run: str | None = None  # names the record and the checkpoint of a run in the store


def train(job: Job, progress: Progress) -> Manifest:
    """Run the job and give the manifest of the bundle that it wrote.

    Raises
    ------
    TrainingError
        If the job cannot be done as asked; nothing is left half-written.
    NotPromoted
        If the gate refuses the model; it is published then, and what is in service stays.
    ModelUnavailable, Conflict
        If the bundle cannot be published; it is whole in the job's folder then.
    """
    recipe = settled(job)
    target = _reachable(job.publish) if job.publish else None
    with new_folder(job.out) as folder:
        manifest = _make(job, recipe, target, folder, progress)
    shutil.rmtree(_checkpoint_folder(job), ignore_errors=True)
    progress.say(
        f"wrote {job.out}: {manifest.version}, test accuracy {manifest.metrics.test_accuracy:.2%}",
        version=manifest.version,
        test_accuracy=manifest.metrics.test_accuracy,
    )
    if target is not None:
        _publish(job, target, progress)
    return manifest


def settled(job: Job) -> Recipe:
    """The job's recipe with the job's own epochs and batch size, if it gives any.

    Raises
    ------
    TrainingError
        If there is no such architecture or recipe, or nothing to train.
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
    if not 1 <= batch_size <= data.TRAINED:
        raise TrainingError(f"--batch-size must be from 1 to {data.TRAINED}.")
    if not 0 <= job.seed < 2**32:
        raise TrainingError("--seed must be from 0 to 4294967295.")
    if job.precision not in get_args(Precision):
        raise TrainingError(f"--precision must be {' or '.join(get_args(Precision))}.")
    return replace(base, epochs=epochs, batch_size=batch_size, precision=job.precision)  # type: ignore[arg-type]


def _make(
    job: Job, recipe: Recipe, target: Store | None, folder: Path, progress: Progress
) -> Manifest:
    """Make the whole bundle in `folder`."""
    started = time.perf_counter()
    mnist = data.load(job.data)
    own = _own_pictures(job, progress)
    files = segmentation.files_in(job.segmenter)
    config = bundle.parse_config(files[CONFIG])
    segmenter = Segmenter(files[SEGMENTER], config.segmentation)
    shown = data.joined(mnist.train, elsewhere.shown(recipe, job.seed, segmenter, progress))
    if own is not None:
        shown = data.joined(shown, own.split)
    origin = data.DIGESTS | ({} if own is None else {"extra": own.sha256})
    decides = [bundle.sha256(files[SEGMENTER]), config.model_dump(), origin]
    checkpoint = _checkpoint(job, recipe, target, decides)
    architecture = ARCHITECTURES[job.architecture]
    network, whole, history = fit(
        architecture, shown, mnist.held_out, recipe, job.seed, progress, checkpoint
    )
    fitted = time.perf_counter()

    progress.say("calibrating and evaluating")
    export.save_models(network, whole, folder)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    held_out, held_out_digit = _answers(whole, mnist.held_out)
    temperature = evaluate.fit_temperature(held_out, mnist.held_out.y)
    calibrated = softmax(held_out, temperature)
    decision = Decision(
        temperature=temperature,
        threshold=evaluate.threshold_for(calibrated.max(axis=1)),
        rejector=Rejector(threshold=evaluate.threshold_for(held_out_digit, _ACCEPTED_SHARE)),
    )
    logits, digit = _answers(whole, mnist.test)
    probabilities = softmax(logits, temperature)
    judge = FrameClassifier(Network((folder / TFLITE).read_bytes()), decision, config)
    least = decision.review_threshold(config)
    figures: dict[str, Any] = {
        "test": _report(probabilities, digit, mnist.test, decision, least),
        "held_out": _report(calibrated, held_out_digit, mnist.held_out, decision, least),
        **measured(mnist, judge, segmenter, job.recipe, folder / "images"),
        "layers": described(network),
    }

    progress.say("drawing and exporting")
    export.save_history(history, folder)
    draw(network, mnist.test, probabilities, history, figures, folder / "images")
    difference = export.parity(folder, mnist.test.x, probabilities, digit, temperature)
    figures["parity"] = {"labels": 0, "probability": difference}
    figures["serving"] = export.serving(folder)
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


def _answers(whole: keras.Model, split: Split) -> tuple[Any, NDArray[np.float64]]:
    """Logits, (n, 10), and how likely each is a digit at all, (n,)."""
    logits, log_odds = whole.predict(split.x, batch_size=1000, verbose=0)
    return logits, expit(log_odds[:, 0].astype(np.float64))


def _report(
    probabilities: Probabilities,
    digit: NDArray[np.float64],
    split: Split,
    decision: Decision,
    least: float,
) -> dict[str, Any]:
    sure = probabilities.max(axis=1) >= decision.threshold
    return evaluate.report(probabilities, split.y, sure & (digit >= least))


def measured(
    mnist: Mnist, judge: ClassifyFrames, segmenter: Segmenter, recipe: str, images: Path
) -> dict[str, Any]:
    """The figures of pictures and of what is no digit, with both networks as they are served.

    Draws ``reliability_photos.png`` in the folder `images`.
    """
    others = outside.sets(mnist, judge, segmenter, _PHOTOS[recipe])
    _draw_photos(others, images)
    with elsewhere.workers(segmenter) as pool:
        segmented = segmentation.figures(segmenter, segmentation.PAGES, pool)
    return {
        "outside": {name: _outside(other) for name, other in others.items()},
        "outliers": outliers.refused(judge, mnist, _OUTLIERS[recipe]),
        "segmentation": segmented,
    }


def _outside(other: Outside) -> dict[str, Any]:
    """Figures of one set from outside MNIST; a picture without a mark counts as not right."""
    figures = evaluate.report(other.probabilities, other.truths, other.accepted)
    found = len(other.truths) / other.pictures
    return figures | {
        "sha256": other.sha256,
        "images": other.pictures,
        "found": found,
        "accuracy": figures["accuracy"] * found,
        "errors": other.pictures - len(other.truths) + figures["errors"],
        "accepted": figures["accepted"] * found,
    }


def draw(
    model: keras.Model,
    test: Split,
    probabilities: Probabilities,
    history: list[Row],
    figures: dict[str, Any],
    folder: Path,
) -> None:
    """Draw every picture of the bundle that MNIST and the network themselves give."""
    tested = figures["test"]
    plots.confusion_matrix(
        tested["confusion_matrix"], tested["accuracy"], folder / "confusion_matrix.png"
    )
    plots.precision_and_recall(tested["digits"], folder / "precision_and_recall.png")
    plots.training_curves(history, folder / "training_curves.png")
    title = f"Reliability: calibration error {tested['expected_calibration_error']:.2%}"
    plots.reliability(tested["reliability"], title, folder / "reliability.png")
    plots.errors(test.x, test.y, probabilities, folder / "errors.png")

    shown = test.x[list(_SHOWN)]
    first, second = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)][:2]
    plots.filters(np.asarray(first.kernel)[:, :, 0], folder / "filters.png")
    for number, layer in enumerate((first, second), start=1):
        maps = np.asarray(up_to(model, activation_of(model, layer.name))(shown))
        _, height, width, channels = maps.shape
        title = f"Layer {layer.name}: {channels} feature maps of {height}×{width}"
        path = folder / f"feature_maps_layer{number}.png"
        plots.feature_maps(shown[..., 0], maps, title, path)


def _draw_photos(others: dict[str, Outside], folder: Path) -> None:
    photos = [name for name in others if name.startswith("photos")]
    truths = np.concatenate([others[name].truths for name in photos])
    groups = evaluate.reliability(
        np.concatenate([others[name].probabilities for name in photos]), truths
    )
    error = evaluate.expected_calibration_error(groups)
    title = f"Reliability on {len(truths):,} synthetic photos: {error:.2%}"
    plots.reliability(groups, title, folder / "reliability_photos.png")


def _own_pictures(job: Job, progress: Progress) -> extra.Extra | None:
    if job.extra_data is None:
        return None
    own = extra.load(job.extra_data)
    said = f"{len(own.split)} pictures of {job.extra_data} train beside MNIST"
    if own.left_out:
        said += f"; {own.left_out} are left out, for their truth is not one digit"
    progress.say(said, left_out=own.left_out)
    return own


def _checkpoint_folder(job: Job) -> Path:
    return job.out.with_name(f".{job.out.name}.checkpoint")


def _checkpoint(job: Job, recipe: Recipe, target: Store | None, inputs: list[Any]) -> Checkpoint:
    """Beside the job's folder; for a named run in the store, where another machine finds it."""
    decides = [job.architecture, job.seed, asdict(recipe), inputs, _versions(), _sources()]
    fingerprint = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
    if job.run and target is not None:
        return Checkpoint(target, runs.checkpoint_key(job.run), fingerprint)
    return Checkpoint(object_store.FolderStore(_checkpoint_folder(job)), "state.npz", fingerprint)


def _sources() -> str:
    """SHA-256 over the code that decides the weights."""
    folder = Path(__file__).parent
    names = ("augment.py", "elsewhere.py", "fit.py", "found.py", "glyphs.py", "hands.py",
             "model.py", "outliers.py", "photos.py", "scenes.py", "strokes.py")  # fmt: skip
    return hashlib.sha256(b"".join((folder / name).read_bytes() for name in names)).hexdigest()


def _versions() -> dict[str, str]:
    """What the weights depend on beside code and data."""
    return {
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
    }


def _reachable(address: str) -> Store:
    """Open the store and read its pointer now: better to fail before training than after."""
    target = object_store.open_store(address)
    registry.pointer_state(target)
    return target


def _publish(job: Job, target: Store, progress: Progress) -> None:
    """Upload the bundle, note which run made it, and promote it if that is asked and it may be."""
    manifest = registry.upload(job.out, target)
    progress.say(f"published {manifest.version} to {job.publish}", version=manifest.version)
    if job.run:
        runs.record(job.run, manifest.version, target)
    if not job.promote:
        return
    try:
        promotion = gate.promote(manifest.version, target)
    except gate.Refused as refusal:
        _tell(refusal.criteria, progress)
        raise NotPromoted(
            f"{refusal} It is published, and the model in service stays."
        ) from refusal
    _tell(promotion.criteria, progress)
    progress.say(f"promoted {manifest.version}", version=manifest.version)


def _tell(criteria: tuple[gate.Criterion, ...], progress: Progress) -> None:
    """What the gate asked, and what it found."""
    for item in criteria:
        verdict = {True: "passed", False: "failed", None: "not judged"}[item.passed]
        progress.say(
            f"{verdict}: {item.name} {item.shown(item.value)} {item.sense} {item.shown(item.bound)}"
            f" ({item.why})",
            **item.to_json(),
        )
