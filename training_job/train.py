"""One training run, top to bottom: load, build, fit, calibrate, evaluate, export, publish."""

from __future__ import annotations

import math
import platform
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from digits import store
from digits.bundle import Decision, Manifest, Training
from training_job import data, evaluate, export, plots
from training_job.augment import Ranges, augmented
from training_job.data import Mnist, Split
from training_job.errors import TrainingError
from training_job.model import ARCHITECTURES, up_to
from training_job.progress import Progress

_SHOWN = 0  # the test image, a 7, whose feature maps are drawn


@dataclass(frozen=True)
class Recipe:
    """How to train; the ranges of augmentation are the textbook's."""

    epochs: int
    batch_size: int = 128
    peak_rate: float = 3e-3  # of AdamW, reached after `warm_up` of all steps
    warm_up: float = 0.25
    weight_decay: float = 5e-3
    label_smoothing: float = 0.03  # fewer confident mistakes on pictures from elsewhere
    ranges: Ranges = field(default_factory=Ranges)


RECIPES = {"quick": Recipe(epochs=6)}


@dataclass(frozen=True)
class Job:
    """What to train, from what, and where it goes."""

    architecture: str = "reference"
    recipe: str = "quick"
    epochs: int | None = None  # None: the recipe's
    batch_size: int | None = None  # None: the recipe's
    seed: int = 1
    data: str = str(data.BUNDLED)
    out: Path = Path("bundle")
    publish: str | None = None


class OneCycle(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """Up in a line, down in a half cosine, once (Smith and Topin, "Super-Convergence", 2018)."""

    def __init__(self, peak: float, steps: int, warm_up: float) -> None:
        self.peak, self.steps, self.warm_up = peak, steps, warm_up

    def __call__(self, step: Any) -> Any:
        """The learning rate at `step`, counted from 0."""
        share = tf.cast(step, tf.float32) / self.steps
        rising = share / self.warm_up
        falling = (1 + tf.cos(math.pi * (share - self.warm_up) / (1 - self.warm_up))) / 2
        return self.peak * tf.where(share < self.warm_up, rising, falling)


def train(job: Job, progress: Progress) -> Manifest:
    """Run the job and give the manifest of the bundle that it wrote.

    Raises
    ------
    TrainingError
        If the job cannot be done as asked; nothing is left half-written.
    ModelUnavailable, Conflict
        If the bundle cannot be published; it is whole in the job's folder then.
    """
    recipe = _recipe(job)
    target = _reachable(job.publish) if job.publish else None
    started = time.perf_counter()
    with export.new_folder(job.out) as folder:
        mnist = data.load(job.data)
        keras.utils.set_random_seed(job.seed)
        model = ARCHITECTURES[job.architecture]()
        history = fit(model, mnist, recipe, job.seed, progress)

        progress.say("calibrating and evaluating")
        to_logits = up_to(model, "logits")
        held_out = to_logits.predict(mnist.held_out.x, batch_size=1000, verbose=0)
        temperature = evaluate.fit_temperature(held_out, mnist.held_out.y)
        calibrated = evaluate.softmax(held_out, temperature)
        decision = Decision(temperature=temperature, threshold=evaluate.threshold_for(calibrated))
        test = to_logits.predict(mnist.test.x, batch_size=1000, verbose=0)
        probabilities = evaluate.softmax(test, temperature)
        report = {
            "test": evaluate.report(probabilities, mnist.test.y, decision.threshold),
            "held_out": evaluate.report(calibrated, mnist.held_out.y, decision.threshold),
        }

        progress.say("drawing and exporting")
        export.save_models(model, folder)
        export.save_history(history, folder)
        export.save_report(report, folder)
        draw(model, mnist.test, probabilities, history, report["test"], folder / "images")
        manifest = export.save_manifest(
            folder,
            architecture=job.architecture,
            recipe=job.recipe,
            training=Training(
                epochs=recipe.epochs,
                batch_size=recipe.batch_size,
                seed=job.seed,
                settings=asdict(recipe),
                parameters=model.count_params(),
                seconds=round(time.perf_counter() - started, 1),
                versions=_versions(),
            ),
            decision=decision,
            test=report["test"],
        )
        difference = export.check_parity(folder, mnist.test.x, probabilities)
    progress.say(
        f"wrote {job.out}: {manifest.version}, test accuracy {manifest.metrics.test_accuracy:.2%},"
        f" LiteRT within {difference:.0e} of Keras",
        version=manifest.version,
        test_accuracy=manifest.metrics.test_accuracy,
    )
    if target is not None:
        store.publish(job.out, target)
        progress.say(f"published to {job.publish}")
    return manifest


def fit(
    model: keras.Model, mnist: Mnist, recipe: Recipe, seed: int, progress: Progress
) -> list[dict[str, float]]:
    """Train in place, on images augmented anew each epoch; one row of figures an epoch."""
    steps = math.ceil(len(mnist.train) / recipe.batch_size)
    schedule = OneCycle(recipe.peak_rate, steps * recipe.epochs, recipe.warm_up)
    model.compile(
        optimizer=keras.optimizers.AdamW(schedule, weight_decay=recipe.weight_decay),
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=recipe.label_smoothing),
        metrics=["accuracy"],
        steps_per_execution=max(1, steps // 10),
    )
    generator = np.random.default_rng(seed)
    truths = keras.utils.to_categorical(mnist.train.y, 10)
    history = []
    with progress.bar(recipe.epochs * steps) as advance:
        for epoch in range(1, recipe.epochs + 1):
            images = augmented(mnist.train.x, recipe.ranges, generator)
            fitted = model.fit(
                images, truths, batch_size=recipe.batch_size, verbose=0,
                callbacks=[_Advance(advance, (epoch - 1) * steps)],
            )  # fmt: skip
            row = {"epoch": epoch, **{k: values[0] for k, values in fitted.history.items()}}
            row |= _on_held_out(model, mnist.held_out)
            history.append(row)
            progress.epoch(row, recipe.epochs)
    return history


def draw(
    model: keras.Model,
    test: Split,
    probabilities: evaluate.Probabilities,
    history: list[dict[str, float]],
    report: dict[str, Any],
    folder: Path,
) -> None:
    """Draw every picture of the bundle."""
    plots.confusion_matrix(
        report["confusion_matrix"], report["accuracy"], folder / "confusion_matrix.png"
    )
    shown = test.x[_SHOWN : _SHOWN + 1]
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    outputs = up_to(model, *(layer.name for layer in convolutions))(shown)
    for number, (layer, maps) in enumerate(zip(convolutions, outputs, strict=True), start=1):
        _, height, width, channels = maps.shape
        title = f"Layer {layer.name}: {channels} feature maps of {height}×{width}"
        path = folder / f"feature_maps_layer{number}.png"
        plots.feature_maps(shown[0, ..., 0], np.asarray(maps)[0], title, path)
    plots.training_curves(history, folder / "training_curves.png")
    plots.reliability(
        report["reliability"], report["expected_calibration_error"], folder / "reliability.png"
    )
    plots.errors(test.x, test.y, probabilities, folder / "errors.png")


class _Advance(keras.callbacks.Callback):  # type: ignore[misc]
    """Moves the progress bar."""

    def __init__(self, advance: Any, before: int) -> None:
        super().__init__()
        self._advance, self._before = advance, before

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Called once for several steps; `batch` is the last one's number."""
        self._advance(self._before + batch + 1)


def _on_held_out(model: keras.Model, held_out: Split) -> dict[str, float]:
    probabilities = model.predict(held_out.x, batch_size=1000, verbose=0).astype(np.float64)
    return {
        "held_out_loss": evaluate.negative_log_likelihood(probabilities, held_out.y),
        "held_out_accuracy": float((probabilities.argmax(axis=1) == held_out.y).mean()),
    }


def _recipe(job: Job) -> Recipe:
    """The job's recipe with the job's own epochs and batch size, if it gives any."""
    for what, name, known in (
        ("architecture", job.architecture, ARCHITECTURES),
        ("recipe", job.recipe, RECIPES),
    ):
        if name not in known:
            raise TrainingError(f"There is no {what} {name!r}; choose one of {', '.join(known)}.")
    base = RECIPES[job.recipe]
    epochs = base.epochs if job.epochs is None else job.epochs
    batch_size = base.batch_size if job.batch_size is None else job.batch_size
    if epochs < 1 or batch_size < 1:
        raise TrainingError("--epochs and --batch-size must be at least 1.")
    return Recipe(**{**vars(base), "epochs": epochs, "batch_size": batch_size})


def _versions() -> dict[str, str]:
    """What the weights depend on beside code and data."""
    return {
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
    }


def _reachable(address: str) -> store.Store:
    """Open the store and read its pointer now: better to fail before training than after."""
    target = store.open_store(address)
    with suppress(store.NotInStore):  # nothing promoted yet
        store.current(target)
    return target
