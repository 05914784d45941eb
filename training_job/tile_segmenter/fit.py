"""Fit the segmentation network to the targets of synthetic scenes.

All random choices depend only on the seed and the number of the step, so a run that resumes from a
checkpoint ends with the same weights as an uninterrupted one. The result is a running average of
the weights.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from digits.recognition.outputs import DIGIT, MARK, UNIT
from training_job.checkpoint import Checkpoint
from training_job.classifier.fit import OneCycle, dtype_policy
from training_job.classifier.recipes import Precision
from training_job.progress import RunProgress
from training_job.tile_segmenter.network import network
from training_job.tile_segmenter.targets import FINE, Targets

Weights = list[NDArray[Any]]
"""The network's weights in Keras' order."""

BATCH = 16  # scenes per step
_CHECKPOINT_STEPS = 500  # steps between checkpoints: some minutes of two cores
_REPORT_STEPS = 100  # steps between reports, which give the mean losses since the last one

# As in `training_job.segmenter`, where they were chosen on rendered pages.
_PEAK_RATE = 3e-3  # largest learning rate
_PEAK_RATE_AGAIN = 2e-3  # the same, if training starts from trained weights
_WARM_UP = 0.07  # share of the steps
_WEIGHT_DECAY = 1e-3
_CLIP = 1.0  # largest norm of a variable's gradient
_UPDATE = 0.01  # weight of a step's weights in the running average
# Weights of the losses, and of a pixel's loss by its kind: paper, digit, mark, print, background.
# Chosen by eye from the development pictures.
_KIND_WEIGHT, _CENTRE_WEIGHT, _OFFSET_WEIGHT, _SIZE_WEIGHT = 5.0, 2.0, 3.0, 0.5
_PIXEL_WEIGHTS = (1.0, 3.0, 3.0, 2.0, 1.0)
_SMOOTH = 20.0  # pixels added to both parts of the dice loss, which is then defined without ink
_SURE = 0.9  # of the target heat map's peak; from it on a cell is a glyph's centre
_FEW = 8  # added to the number of centres in a batch, which may be 0
_LEAST_SIDE = 8  # pixels; offset errors are relative to the glyph's side, but at least to this


def losses(
    outputs: Any, kind: Any, centre: Any, offset: Any, size: Any
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Compute the losses of kinds, of centres, and of offsets and sizes, whose sum is minimised.

    `outputs` are those of the network, the other parameters are as in `Targets`.

    References
    ----------
    Milletari et al., "V-Net", 3DV 2016 (dice); Law and Deng, "CornerNet", ECCV 2018
    (penalty-reduced focal loss).
    """
    kinds, centres, glyphs = outputs
    kind = tf.cast(kind, tf.int32)
    cross = tf.nn.sparse_softmax_cross_entropy_with_logits(kind, kinds)
    cross *= tf.gather(tf.constant(_PIXEL_WEIGHTS), kind)
    share = tf.reduce_sum(tf.nn.softmax(kinds)[..., DIGIT : MARK + 1], -1)
    ink = tf.cast((kind == DIGIT) | (kind == MARK), tf.float32)
    common, both = tf.reduce_sum(share * ink, (1, 2)), tf.reduce_sum(share + ink, (1, 2))
    dice = 1 - (2 * common + _SMOOTH) / (both + _SMOOTH)
    kind_loss = tf.reduce_mean(cross) * _KIND_WEIGHT + tf.reduce_mean(dice)

    centre, centres = tf.cast(centre, tf.float32) / 255, centres[..., 0]
    heat = tf.sigmoid(centres)
    is_centre = tf.cast(centre > _SURE, tf.float32)
    focal = -is_centre * (1 - heat) ** 2 * tf.math.log_sigmoid(centres)
    focal -= (1 - is_centre) * (1 - centre) ** 4 * heat**2 * tf.math.log_sigmoid(-centres)
    centre_loss = _CENTRE_WEIGHT * tf.reduce_sum(focal) / (tf.reduce_sum(is_centre) + _FEW)

    inked = tf.cast(size > 0, tf.float32)
    count = tf.reduce_sum(inked) + 1
    side = tf.maximum(tf.cast(size, tf.float32), _LEAST_SIDE)
    miss = tf.abs(tf.cast(offset, tf.float32) / FINE - glyphs[..., :2] * UNIT)
    offset_loss = tf.reduce_sum(tf.reduce_sum(miss, -1) / side * inked) / count
    octaves = tf.abs(tf.math.log(side / UNIT) / tf.math.log(2.0) - glyphs[..., 2])
    size_loss = tf.reduce_sum(octaves * inked) / count
    return kind_loss, centre_loss, _OFFSET_WEIGHT * offset_loss + _SIZE_WEIGHT * size_loss


def fit(
    scenes: Targets,
    steps: int,
    seed: int,
    progress: RunProgress,
    checkpoint: Checkpoint,
    start: Weights | None = None,
    precision: Precision = "float32",
) -> Weights:
    """Train for `steps` steps and return the averaged weights.

    Training resumes from the checkpoint if there is one, and otherwise starts from the weights
    `start`, or from random ones.

    Raises
    ------
    StoreUnreachable, Conflict
        If the checkpoint cannot be read or written.
    """
    keras.utils.set_random_seed(seed)
    trainer = TileSegmenterTrainer(steps, start, precision)
    state = checkpoint.load()
    done = state.epoch if state else 0  # a checkpoint's `epoch` is the number of a step here
    if state:
        trainer.restore(state.arrays)
        progress.say(f"resuming after step {done}", step=done)
    sums = np.zeros(3)
    with ThreadPoolExecutor(1) as ahead, progress.bar(steps, done) as advance:
        next_batch = ahead.submit(batch, scenes, seed, done)
        for step in range(done + 1, steps + 1):
            arrays = next_batch.result()
            if step < steps:
                next_batch = ahead.submit(batch, scenes, seed, step)
            sums += np.array(trainer.step(*map(tf.constant, arrays)))
            advance()
            if step % _REPORT_STEPS == 0:
                kind, centre, glyph = (sums / _REPORT_STEPS).tolist()
                progress.say(f"step {step}/{steps}", kind=kind, centre=centre, glyph=glyph)
                sums[:] = 0
            if step % _CHECKPOINT_STEPS == 0 or step == steps:
                checkpoint.save(step, trainer.state(), [])
    return trainer.averaged()


class TileSegmenterTrainer:
    """The network in training, its optimizer, and the running average of its weights.

    It computes in `precision`, with float32 weights and losses. bfloat16 takes half the time of
    float32 on processors that multiply it (AMX), and five times as long on others. Only float32 is
    compiled by XLA, which would keep bfloat16 from the fast kernels of oneDNN.

    Parameters
    ----------
    steps
        Number of all steps, for the learning rate.
    start
        Initial weights; random ones if None.
    precision
        Of the arithmetic.
    """

    def __init__(
        self, steps: int, start: Weights | None = None, precision: Precision = "float32"
    ) -> None:
        with dtype_policy(precision):
            self.model = network(training=True)
        if start is not None:
            self.model.set_weights(start)
        self._optimizer = keras.optimizers.AdamW(
            OneCycle(_PEAK_RATE if start is None else _PEAK_RATE_AGAIN, steps, _WARM_UP),
            weight_decay=_WEIGHT_DECAY,
            clipnorm=_CLIP,
        )
        self._optimizer.build(self.model.trainable_variables)
        self._average = [tf.Variable(weight.value) for weight in self.model.weights]

        @tf.function(jit_compile=precision == "float32")  # type: ignore[untyped-decorator]
        def step(picture: Any, kind: Any, centre: Any, offset: Any, size: Any) -> Any:
            with tf.GradientTape() as tape:
                outputs = self.model(picture[..., None], training=True)
                outputs = [tf.cast(output, tf.float32) for output in outputs]
                each = losses(outputs, kind, centre, offset, size)
                whole = tf.add_n(each)
            trained = self.model.trainable_variables
            gradients = tape.gradient(whole, trained)
            self._optimizer.apply_gradients(zip(gradients, trained, strict=True))
            for average, weight in zip(self._average, self.model.weights, strict=True):
                average.assign(average + _UPDATE * (weight.value - average))
            return each

        self.step = step

    def averaged(self) -> Weights:
        """Return the running average of the weights, in the model's order."""
        return [average.numpy() for average in self._average]

    def state(self) -> list[NDArray[Any]]:
        """Return the values of all variables, in an order that `restore` expects."""
        return [np.asarray(variable) for variable in self._variables()]

    def restore(self, arrays: list[NDArray[Any]]) -> None:
        """Set all variables to the values that `state` returned."""
        for variable, array in zip(self._variables(), arrays, strict=True):
            variable.assign(array)

    def _variables(self) -> list[Any]:
        return [*self.model.variables, *self._optimizer.variables, *self._average]


def batch(scenes: Targets, seed: int, step: int) -> list[NDArray[Any]]:
    """Return the batch of the step after `step`: augmented pictures, and their targets.

    Scenes are visited in epochs, each in a random order; an incomplete batch at the end of an epoch
    is left out.
    """
    size = min(BATCH, len(scenes))
    turn, place = divmod(step, len(scenes) // size)
    order = np.random.default_rng([seed, turn]).permutation(len(scenes))
    chosen = np.sort(order[place * size : (place + 1) * size])
    picture, *right = (array[chosen] for array in scenes.arrays())
    return [_augmented(picture, np.random.default_rng([seed, step, 1])), *right]


def _augmented(pictures: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float32]:
    """Augment contrast, brightness, polarity and noise, (n, h, w) in 0..1; ranges by eye."""
    shape = (len(pictures), 1, 1)
    levels = pictures.astype(np.float32) / 255
    mean = levels.mean(axis=(1, 2), keepdims=True)
    levels = (levels - mean) * np.exp(rng.uniform(-0.5, 0.25, shape)) + mean
    levels += rng.uniform(-0.15, 0.15, shape)
    levels = np.where(rng.random(shape) < 0.15, 1 - levels, levels)
    amount = rng.uniform(0, 0.03, shape) * (rng.random(shape) < 0.3)
    levels = levels + amount * rng.standard_normal(levels.shape, np.float32)
    return np.asarray(levels.clip(0, 1), np.float32)
