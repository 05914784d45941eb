"""Trains the segmentation network on synthetic pages.

    python -m training_job.tile_segmenter.fit --out segmenter

A run that was cut off goes on from its last checkpoint.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stdout
from dataclasses import fields
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Annotated, Any

import keras
import numpy as np
import tensorflow as tf
import typer
from numpy.typing import NDArray

from training_job.fit import OneCycle
from training_job.progress import Progress
from training_job.tile_segmenter.network import network
from training_job.tile_segmenter.targets import Lesson, lesson
from training_job.synthesis.photographs import DIGIT, MARK

UNIT = 32.0  # pixels that a way of 1, or a size of 2 to the 0, stands for
_BATCH = 16
_PEAK_RATE = 3e-3
_FIRST = 1_000_000  # seed of the first scene
_WEIGHTS = (1.0, 3.0, 3.0, 2.0, 1.0)  # of a pixel in the loss, by its kind


def loss(said: Any, kind: Any, centre: Any, way: Any, size: Any) -> tuple[Any, Any, Any]:
    """How wrong the network is about kinds, centres and glyphs: three losses."""
    kinds, centres, glyphs = said
    kind = tf.cast(kind, tf.int32)
    cross = tf.nn.sparse_softmax_cross_entropy_with_logits(kind, kinds)
    cross *= tf.gather(tf.constant(_WEIGHTS), kind)
    share = tf.reduce_sum(tf.nn.softmax(kinds)[..., DIGIT : MARK + 1], -1)
    ink = tf.cast((kind == DIGIT) | (kind == MARK), tf.float32)
    together = tf.reduce_sum(share * ink, (1, 2))
    dice = 1 - (2 * together + 20) / (tf.reduce_sum(share + ink, (1, 2)) + 20)
    of_kind = tf.reduce_mean(cross) * 5 + tf.reduce_mean(dice)

    centre, centres = tf.cast(centre, tf.float32) / 255, centres[..., 0]
    heat = tf.sigmoid(centres)
    fall = (1 - centre) ** 4  # penalty-reduced focal loss (Law and Deng, "CornerNet", ECCV 2018)
    is_centre = tf.cast(centre > 0.9, tf.float32)
    wrong = -is_centre * (1 - heat) ** 2 * tf.math.log_sigmoid(centres)
    wrong -= (1 - is_centre) * fall * heat**2 * tf.math.log_sigmoid(-centres)
    of_centre = tf.reduce_sum(wrong) / (tf.reduce_sum(is_centre) + 8)

    inked = tf.cast(size > 0, tf.float32)
    count = tf.reduce_sum(inked) + 1
    side = tf.maximum(tf.cast(size, tf.float32), 8)
    miss = tf.abs(tf.cast(way, tf.float32) / 16 - glyphs[..., :2] * UNIT)
    of_way = tf.reduce_sum(tf.reduce_sum(miss, -1) / side * inked) / count
    octaves = tf.abs(tf.math.log(side / UNIT) / tf.math.log(2.0) - glyphs[..., 2])
    of_size = tf.reduce_sum(octaves * inked) / count
    return of_kind, of_centre, 3 * of_way + 0.5 * of_size


def litert(weights: list[NDArray[Any]]) -> bytes:
    """The network in LiteRT's form, for pictures of any size."""
    served = network(training=False)
    served.set_weights(weights)
    with redirect_stdout(io.StringIO()):
        converted: bytes = tf.lite.TFLiteConverter.from_keras_model(served).convert()
    return converted


def main(
    out: Annotated[Path, typer.Option(help="Folder for the network and its checkpoint.")],
    count: Annotated[int, typer.Option(help="Scenes to render.")] = 20_000,
    steps: Annotated[int, typer.Option(help="Batches of 16 to show.")] = 5_000,
    seed: Annotated[int, typer.Option(help="Of weights, order and light.")] = 1,
) -> None:
    """Render scenes, train on them and write the network."""
    progress = Progress()
    out.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(seed)
    lessons = _rendered(count, out / "scenes", progress)
    rng = np.random.default_rng(seed)
    run = _Run(steps)
    done = run.restore(out / "checkpoint.npz")
    shown: Queue[list[NDArray[Any]]] = Queue(8)
    Thread(target=_feed, args=(lessons, shown, rng), daemon=True).start()
    losses, started = np.zeros(3), time.monotonic()
    for step in range(done + 1, steps + 1):
        losses += np.array(run.step(*map(tf.constant, shown.get()))) / 100
        if step % 100 == 0:
            kind, centre, glyph = losses.tolist()
            rate = 100 / (time.monotonic() - started)
            progress.say(f"step {step}/{steps}", kind=kind, centre=centre, glyph=glyph, rate=rate)
            losses[:], started = 0, time.monotonic()
        if step % 500 == 0 or step == steps:
            run.save(out / "checkpoint.npz", step)
            (out / "segmenter.tflite").write_bytes(litert(run.averaged()))


def _rendered(count: int, kept: Path, progress: Progress) -> Lesson:
    """Render scenes in all processes, or take those that a run before has kept."""
    names = [kept / f"{one.name}.npy" for one in fields(Lesson)]
    if not names[-1].exists():
        kept.mkdir(parents=True, exist_ok=True)
        with ProcessPoolExecutor() as pool:
            every = list(pool.map(lesson, range(_FIRST, _FIRST + count), chunksize=50))
        for name, part in zip(names, zip(*(one.arrays() for one in every), strict=True), strict=True):
            np.save(name, np.concatenate(part))
        progress.say(f"rendered {count} scenes")
    return Lesson(*(np.load(name, mmap_mode="r") for name in names))


class _Run:
    """The network in training, and a running average of its weights, which is what is kept."""

    def __init__(self, steps: int) -> None:
        self.model = network(training=True)
        rate = OneCycle(_PEAK_RATE, steps, warm_up=0.07)
        self._optimizer = keras.optimizers.AdamW(rate, weight_decay=1e-3, clipnorm=1.0)
        self._optimizer.build(self.model.trainable_variables)
        self._average = [tf.Variable(weight.value) for weight in self.model.weights]

        @tf.function(jit_compile=True)  # type: ignore[untyped-decorator]
        def step(picture: Any, kind: Any, centre: Any, way: Any, size: Any) -> Any:
            with tf.GradientTape() as tape:
                said = self.model(picture[..., None], training=True)
                losses = loss(said, kind, centre, way, size)
                whole = tf.add_n(losses)
            trained = self.model.trainable_variables
            self._optimizer.apply_gradients(zip(tape.gradient(whole, trained), trained, strict=True))
            for average, weight in zip(self._average, self.model.weights, strict=True):
                average.assign(average + 0.01 * (weight.value - average))
            return losses

        self.step = step

    def averaged(self) -> list[NDArray[Any]]:
        return [average.numpy() for average in self._average]

    def save(self, path: Path, step: int) -> None:
        arrays = [np.asarray(one) for one in self._variables()]
        np.savez(path, step, *arrays)

    def restore(self, path: Path) -> int:
        if not path.exists():
            return 0
        with np.load(path) as kept:
            step, *arrays = (kept[name] for name in kept.files)
        for variable, array in zip(self._variables(), arrays, strict=True):
            variable.assign(array)
        return int(step)

    def _variables(self) -> list[Any]:
        return [*self.model.variables, *self._optimizer.variables, *self._average]


def _feed(lessons: Lesson, shown: Queue[list[NDArray[Any]]], rng: np.random.Generator) -> None:
    for places in _batches(len(lessons), rng):
        picture, *right = (array[places] for array in lessons.arrays())
        shown.put([_relit(picture, rng), *right])


def _batches(count: int, rng: np.random.Generator) -> Iterator[NDArray[np.intp]]:
    while True:
        order = rng.permutation(count)[: count // _BATCH * _BATCH]
        yield from np.sort(order.reshape(-1, _BATCH), axis=1)


def _relit(pictures: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float32]:
    """Other contrast, brightness, polarity and noise, (n, h, w) in 0..1."""
    shape = (len(pictures), 1, 1)
    levels = pictures.astype(np.float32) / 255
    mean = levels.mean(axis=(1, 2), keepdims=True)
    levels = (levels - mean) * np.exp(rng.uniform(-0.5, 0.25, shape)) + mean
    levels += rng.uniform(-0.15, 0.15, shape)
    levels = np.where(rng.random(shape) < 0.15, 1 - levels, levels)
    amount = rng.uniform(0, 0.03, shape) * (rng.random(shape) < 0.3)
    levels = levels + amount * rng.standard_normal(levels.shape, np.float32)
    return np.asarray(levels.clip(0, 1), np.float32)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    typer.run(main)
