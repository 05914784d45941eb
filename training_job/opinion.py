"""The further opinion: whether a frame shows a digit at all.

It is a small head on the digit network's own features, trained after that network is done and
changing nothing in it, on digits and on what is none (`outliers`, and whatever the preprocessing
finds on painted photographs beside the digit).
"""

from __future__ import annotations

from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from numpy.typing import NDArray

from digits import image, preprocess
from digits.reading import Judge
from training_job import hands, outliers, photos
from training_job.augment import Ranges, augmented
from training_job.data import Mnist
from training_job.progress import Progress
from training_job.recipes import Schooling

Frames = NDArray[np.float32]

TAPS = {"reference": "pool2", "deep": "relu4"}  # the layer whose maps the opinion is formed from
ACCEPTED_SHARE = 0.998  # of held-out digits
_BATCH = 128
_LEVELS: tuple[photos.Level, ...] = ("medium", "hard")


def train(
    model: keras.Model,
    tap: str,
    mnist: Mnist,
    schooling: Schooling,
    ranges: Ranges,
    seed: int,
    progress: Progress,
) -> keras.Model:
    """Train the opinion on top of a finished network.

    Returns
    -------
    keras.Model
        From images, float32 (n, 28, 28, 1), to the log-odds of being a digit, (n, 1).
    """
    keras.utils.set_random_seed(seed)
    digits, others = _examples(mnist, schooling, seed, progress)
    opinion = head(model, tap)
    steps = schooling.frames // _BATCH
    opinion.compile(
        keras.optimizers.AdamW(
            keras.optimizers.schedules.CosineDecay(2e-3, schooling.epochs * steps),
            weight_decay=1e-3,
        ),
        keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.02),
    )
    truths = np.repeat(np.array([1, 0], np.float32), schooling.frames // 2)
    with progress.bar(schooling.epochs) as advance:
        for epoch in range(schooling.epochs):
            generator = np.random.default_rng([seed, epoch])
            shown = np.concatenate([
                every[generator.integers(len(every), size=schooling.frames // 2)]
                for every in (digits, others)
            ])  # fmt: skip
            order = generator.permutation(len(truths))
            moved = tf.gather(augmented(shown, ranges, generator), order)
            opinion.fit(moved, truths[order], batch_size=_BATCH, verbose=0)
            advance()
    return opinion


def refused(judge: Judge, mnist: Mnist, count: int) -> dict[str, dict[str, float]]:
    """How many of about `count` outliers, of each kind, a model does not accept.

    They are made of the digits and the typefaces that are held out.
    """
    pixels = np.round(mnist.held_out.x[..., 0] * 255).astype(np.uint8)
    rng = np.random.default_rng(count)
    drawn = outliers.frames(count, pixels, mnist.held_out.y, rng, held_out=True)
    return {
        kind: {"frames": len(frames), "refused": float((~judge(frames).accepted).mean())}
        for kind, frames in drawn.items()
    }


def head(model: keras.Model, tap: str) -> keras.Model:
    """A hidden layer and a neuron on the maps of the layer `tap`, which stay as they are."""
    features = keras.Model(model.inputs[0], model.get_layer(tap).output, name="features")
    features.trainable = False
    frame = keras.Input((28, 28, 1), name="image")
    flat = layers.Flatten()(features(frame, training=False))
    hidden = layers.Dense(64, activation="relu", name="opinion_hidden")(layers.Dropout(0.3)(flat))
    return keras.Model(frame, layers.Dense(1, name="opinion")(hidden), name="opinion")


def _examples(
    mnist: Mnist, schooling: Schooling, seed: int, progress: Progress
) -> tuple[Frames, Frames]:
    """Digits and others to learn from, each float32 (n, 28, 28, 1)."""
    rng = np.random.default_rng([seed, 1_000])
    pixels, truths = np.round(mnist.train.x[..., 0] * 255).astype(np.uint8), mnist.train.y
    progress.say("drawing what is no digit")
    drawn = outliers.frames(schooling.outliers, pixels, truths, rng)
    other_hands = hands.frames(schooling.hands, rng).x
    found, besides = _on_photos(schooling.photos, pixels, truths, rng)
    digits = np.concatenate([mnist.train.x, *[other_hands] * 2, *[found] * 4])
    others = np.concatenate([*drawn.values(), *[besides] * 2])[..., np.newaxis]
    return digits, others


def _on_photos(
    count: int, pixels: photos.Digits28, truths: NDArray[np.uint8], rng: np.random.Generator
) -> tuple[Frames, Frames]:
    """Frames of digits, (n, 28, 28, 1), and of what else is found on photos, (n, 28, 28)."""
    digits, others = [], []
    for number in range(count):
        level, seed = _LEVELS[number % 2], int(rng.integers(2**31))
        if number % 4 < 2:
            sample = photos.blank(level=level, seed=seed)
        else:
            place = int(rng.integers(len(truths)))
            sample = photos.photo(pixels[place], int(truths[place]), level=level, seed=seed)
        for mark in _marks(sample):
            shared = _shared(mark.box, sample.box) if sample.box else 0.0
            if shared > 0.75:
                digits.append(mark.frame)
            elif shared < 0.2 and mark.box[2] > 0.5 * mark.box[3]:  # a slim one may pass for a 1
                others.append(mark.frame)
    return np.stack(digits)[..., np.newaxis], np.stack(others)


def _marks(sample: photos.Sample) -> Iterator[preprocess.Mark]:
    picture = image.decode(sample.data)
    for ways in preprocess.pages(picture):
        for page in ways:
            for piece in page.pieces[:6]:
                yield page.mark(piece)


def _shared(one: preprocess.Box, other: preprocess.Box) -> float:
    """Intersection over union of two boxes of x, y, width and height."""
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    both = max(width, 0) * max(height, 0)
    return both / (one[2] * one[3] + other[2] * other[3] - both)
