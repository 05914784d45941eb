"""The further opinion: whether a frame shows a digit at all.

It is a small head on the digit network's own features, trained after that network is done and
changing nothing in it, on digits and on what is none: drawn (`outliers`), and found by the
preprocessing on painted pages (`found`).
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from numpy.typing import NDArray

from digits.reading import Judge
from training_job import hands, outliers
from training_job.augment import Ranges, augmented
from training_job.data import Mnist
from training_job.found import Found
from training_job.progress import Progress
from training_job.recipes import Schooling

Frames = NDArray[np.float32]

# The layers whose maps the opinion is formed from.
TAPS = {"reference": ("pool2",), "deep": ("relu4", "relu6")}
ACCEPTED_SHARE = 0.998  # of held-out digits
_BATCH = 128


def train(
    model: keras.Model,
    taps: Sequence[str],
    mnist: Mnist,
    found: Found,
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
    digits, others = _examples(mnist, found, schooling, seed, progress)
    opinion = head(model, taps)
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


def head(model: keras.Model, taps: Sequence[str]) -> keras.Model:
    """A hidden layer and a neuron on the maps of some layers, which stay as they are."""
    outputs = [layers.Flatten()(model.get_layer(tap).output) for tap in taps]
    features = keras.Model(model.inputs[0], layers.concatenate(outputs), name="features")
    features.trainable = False
    frame = keras.Input((28, 28, 1), name="image")
    flat = features(frame, training=False)
    hidden = layers.Dense(64, activation="relu", name="opinion_hidden")(layers.Dropout(0.3)(flat))
    return keras.Model(frame, layers.Dense(1, name="opinion")(hidden), name="opinion")


def _examples(
    mnist: Mnist, found: Found, schooling: Schooling, seed: int, progress: Progress
) -> tuple[Frames, Frames]:
    """Digits and others to learn from, each float32 (n, 28, 28, 1)."""
    rng = np.random.default_rng([seed, 1_000])
    pixels, truths = np.round(mnist.train.x[..., 0] * 255).astype(np.uint8), mnist.train.y
    progress.say("drawing what is no digit")
    drawn = outliers.frames(schooling.outliers, pixels, truths, rng)
    other_hands = hands.frames(schooling.hands, rng).x
    digits = np.concatenate([mnist.train.x, *[other_hands] * 2, found.digits.x])
    others = np.concatenate([*drawn.values(), *[found.others] * 2])[..., np.newaxis]
    return digits, others
