"""Time of one epoch of the reference network, by implementation of augmentation and training.

    python -m benchmarks.training                  12,800 images an epoch, three rounds
    python -m benchmarks.training --images 55000   a whole epoch

Compares this project's implementation with the usual ones. The runs alternate, and ratios are
printed, because the machine has other work. A first round, which compiles, is not counted.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from statistics import median
from typing import Annotated

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks import machine
from training_job import data
from training_job.classifier.augment import Ranges, augmented
from training_job.classifier.fit import ClassifierTrainer
from training_job.classifier.model import deep, reference
from training_job.classifier.recipes import RECIPES, Recipe
from training_job.data import Split

_BATCH = 128
_RANGES = Ranges()
Epoch = Callable[[], None]


def main(
    images: Annotated[int, typer.Option(help="Number of images per epoch.")] = 12_800,
    rounds: Annotated[int, typer.Option(help="Number of epochs of each implementation.")] = 3,
) -> None:
    """Measure all implementations in each round and print the table."""
    mnist = data.load(str(data.BUNDLED))
    split = Split(mnist.train.x[:images], mnist.train.y[:images])
    implementations: dict[str, Epoch] = {
        "ours": _ours(split, RECIPES["reference", "quick"]),
        "ours, with slant and elastic bending": _ours(split, RECIPES["reference", "release"]),
        "whole-set transform + fit": _transform_and_fit(split),
        "the same, many steps a call": _transform_and_fit(split, steps_per_execution=50),
        "no augmentation + fit": _fit(split),
        "Keras preprocessing layers in tf.data + fit": _layers(split),
        "ImageDataGenerator + fit": _generator(split),
        "ours, deep network": _ours(split, RECIPES["deep", "release"]),
    }
    seconds: dict[str, list[float]] = {name: [] for name in implementations}
    with Progress(transient=True) as progress:
        for turn in progress.track(range(rounds + 1), description="epochs in turns"):
            for name, epoch in implementations.items():
                started = time.perf_counter()
                epoch()
                if turn:
                    seconds[name].append(time.perf_counter() - started)
    ours = median(seconds["ours"])
    table = Table(
        title=f"One epoch of {images:,} images, the reference network", title_justify="left"
    )
    for name in ("implementation", "seconds, median", "times ours"):
        table.add_column(name, justify="left" if name == "implementation" else "right")
    for name, taken in seconds.items():
        table.add_row(name, f"{median(taken):.2f}", f"{median(taken) / ours:.2f}")
    console = Console(soft_wrap=True)
    console.print(table)
    console.print(machine.in_words(machine.described()))


def _ours(split: Split, recipe: Recipe) -> Epoch:
    run = ClassifierTrainer(
        deep if recipe is RECIPES["deep", "release"] else reference, recipe, len(split)
    )
    truths = keras.utils.to_categorical(split.y, 10)
    generator = np.random.default_rng(0)

    def epoch() -> None:
        moved = augmented(split.x, recipe.ranges, generator)
        run.epoch(moved, truths, generator.permutation(len(split)), lambda: None)

    return epoch


def _compiled(steps_per_execution: int = 1) -> keras.Model:
    model = reference()
    model.compile(
        "adamw", "sparse_categorical_crossentropy", steps_per_execution=steps_per_execution
    )
    return model


def _fit(split: Split) -> Epoch:
    model = _compiled()
    return lambda: model.fit(split.x, split.y, batch_size=_BATCH, verbose=0) and None


def _transform_and_fit(split: Split, steps_per_execution: int = 1) -> Epoch:
    model = _compiled(steps_per_execution)
    generator = np.random.default_rng(0)

    def epoch() -> None:
        moved = augmented(split.x, _RANGES, generator)
        model.fit(moved, split.y, batch_size=_BATCH, verbose=0)

    return epoch


def _layers(split: Split) -> Epoch:
    model = _compiled()
    change = keras.Sequential(
        [
            keras.layers.RandomRotation(_RANGES.rotation / 360, fill_mode="constant"),
            keras.layers.RandomZoom(_RANGES.zoom, _RANGES.zoom, fill_mode="constant"),
            keras.layers.RandomTranslation(
                _RANGES.height_shift, _RANGES.width_shift, fill_mode="constant"
            ),
        ]
    )
    images = tf.data.Dataset.from_tensor_slices((split.x, split.y)).shuffle(len(split))
    moved = images.batch(_BATCH).map(
        lambda x, y: (change(x, training=True), y), num_parallel_calls=tf.data.AUTOTUNE
    )
    return lambda: model.fit(moved.prefetch(tf.data.AUTOTUNE), shuffle=False, verbose=0) and None


def _generator(split: Split) -> Epoch:
    model = _compiled()
    generator = tf.keras.preprocessing.image.ImageDataGenerator(
        rotation_range=_RANGES.rotation,
        zoom_range=_RANGES.zoom,
        width_shift_range=_RANGES.width_shift,
        height_shift_range=_RANGES.height_shift,
    )
    flow = generator.flow(split.x, split.y, batch_size=_BATCH)
    return lambda: model.fit(flow, verbose=0) and None


if __name__ == "__main__":
    typer.run(main)
