"""Fits the segmentation network to the targets of synthetic scenes.

All chance comes from the seed and the number of the step, so a run that goes on from a checkpoint
ends with the weights that it would have had. The weights that are kept are a running average.
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
from training_job.classifier.fit import OneCycle
from training_job.progress import RunProgress
from training_job.tile_segmenter.network import network
from training_job.tile_segmenter.targets import FINE, Targets

Weights = list[NDArray[Any]]  # of the network, in Keras' order

BATCH = 16  # scenes
_EVERY = 500  # steps between checkpoints: some minutes of two cores
_TOLD = 100  # steps that the figures which are told are a mean of

# As `training_job.segmenter`, where they were chosen on rendered pages; not fitted for this one.
_PEAK_RATE = 3e-3
_PEAK_RATE_AGAIN = 2e-3  # where training goes on from weights that were trained before
_WARM_UP = 0.07  # share of the steps
_WEIGHT_DECAY = 1e-3
_CLIP = 1.0  # norm of a variable's gradient at most
_FORGOTTEN = 0.01  # of the running average at each step
# Of the losses beside each other, and of a pixel by its kind: paper, digit, mark, print,
# background. Chosen by eye from the development pictures.
_OF_CROSS_ENTROPY, _OF_CENTRE, _OF_OFFSET, _OF_SIZE = 5.0, 2.0, 3.0, 0.5
_OF_KIND = (1.0, 3.0, 3.0, 2.0, 1.0)
_SMOOTH = 20.0  # pixels of ink that the dice loss adds, so that an empty scene has one
_SURE = 0.9  # of the centre heat map: from it on a cell is a glyph's centre
_FEW = 8  # centres that are added to a batch's, so that a batch of none has a loss
_LEAST_SIDE = 8  # pixels; smaller glyphs have errors as if they were that large


def losses(
    outputs: Any, kind: Any, centre: Any, offset: Any, size: Any
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Losses of kinds, of centres, and of offsets and sizes: their sum is what is minimised.

    `outputs` are the network's; what follows is as in `Targets`.

    References
    ----------
    Milletari et al., "V-Net", 3DV 2016 (dice); Law and Deng, "CornerNet", ECCV 2018
    (penalty-reduced focal loss).
    """
    kinds, centres, glyphs = outputs
    kind = tf.cast(kind, tf.int32)
    cross = tf.nn.sparse_softmax_cross_entropy_with_logits(kind, kinds)
    cross *= tf.gather(tf.constant(_OF_KIND), kind)
    share = tf.reduce_sum(tf.nn.softmax(kinds)[..., DIGIT : MARK + 1], -1)
    ink = tf.cast((kind == DIGIT) | (kind == MARK), tf.float32)
    common, both = tf.reduce_sum(share * ink, (1, 2)), tf.reduce_sum(share + ink, (1, 2))
    dice = 1 - (2 * common + _SMOOTH) / (both + _SMOOTH)
    of_kind = tf.reduce_mean(cross) * _OF_CROSS_ENTROPY + tf.reduce_mean(dice)

    centre, centres = tf.cast(centre, tf.float32) / 255, centres[..., 0]
    heat = tf.sigmoid(centres)
    is_centre = tf.cast(centre > _SURE, tf.float32)
    focal = -is_centre * (1 - heat) ** 2 * tf.math.log_sigmoid(centres)
    focal -= (1 - is_centre) * (1 - centre) ** 4 * heat**2 * tf.math.log_sigmoid(-centres)
    of_centre = _OF_CENTRE * tf.reduce_sum(focal) / (tf.reduce_sum(is_centre) + _FEW)

    inked = tf.cast(size > 0, tf.float32)
    count = tf.reduce_sum(inked) + 1
    side = tf.maximum(tf.cast(size, tf.float32), _LEAST_SIDE)
    miss = tf.abs(tf.cast(offset, tf.float32) / FINE - glyphs[..., :2] * UNIT)
    of_offset = tf.reduce_sum(tf.reduce_sum(miss, -1) / side * inked) / count
    octaves = tf.abs(tf.math.log(side / UNIT) / tf.math.log(2.0) - glyphs[..., 2])
    of_size = tf.reduce_sum(octaves * inked) / count
    return of_kind, of_centre, _OF_OFFSET * of_offset + _OF_SIZE * of_size


def fit(
    scenes: Targets,
    steps: int,
    seed: int,
    progress: RunProgress,
    checkpoint: Checkpoint,
    start: Weights | None = None,
) -> Weights:
    """Train for so many steps, from the checkpoint if there is one; gives the averaged weights.

    Without a checkpoint it begins with the weights `start`, or with random ones.

    Raises
    ------
    StoreUnreachable, Conflict
        If the checkpoint cannot be read or written.
    """
    keras.utils.set_random_seed(seed)
    run = TileSegmenterTrainer(steps, start)
    state = checkpoint.load()
    done = state.epoch if state else 0  # a checkpoint's epoch is a step here
    if state:
        run.restore(state.arrays)
        progress.say(f"going on after step {done}", step=done)
    sums = np.zeros(3)
    with ThreadPoolExecutor(1) as ahead, progress.bar(steps, done) as advance:
        shown = ahead.submit(batch, scenes, seed, done)
        for step in range(done + 1, steps + 1):
            arrays = shown.result()
            if step < steps:
                shown = ahead.submit(batch, scenes, seed, step)
            sums += np.array(run.step(*map(tf.constant, arrays)))
            advance()
            if step % _TOLD == 0:
                kind, centre, glyph = (sums / _TOLD).tolist()
                progress.say(f"step {step}/{steps}", kind=kind, centre=centre, glyph=glyph)
                sums[:] = 0
            if step % _EVERY == 0 or step == steps:
                checkpoint.save(step, run.state(), [])
    return run.averaged()


class TileSegmenterTrainer:
    """The network in training for so many steps, its optimizer, and its averaged weights.

    It computes in bfloat16; weights and losses are float32. With oneDNN's kernels, that is without
    XLA, a step takes half the time that it takes in float32 with XLA.
    """

    def __init__(self, steps: int, start: Weights | None = None) -> None:
        policy = keras.config.dtype_policy()
        keras.config.set_dtype_policy("mixed_bfloat16")
        self.model = network(training=True)
        keras.config.set_dtype_policy(policy)
        if start is not None:
            self.model.set_weights(start)
        self._optimizer = keras.optimizers.AdamW(
            OneCycle(_PEAK_RATE if start is None else _PEAK_RATE_AGAIN, steps, _WARM_UP),
            weight_decay=_WEIGHT_DECAY,
            clipnorm=_CLIP,
        )
        self._optimizer.build(self.model.trainable_variables)
        self._average = [tf.Variable(weight.value) for weight in self.model.weights]

        @tf.function  # type: ignore[untyped-decorator]
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
                average.assign(average + _FORGOTTEN * (weight.value - average))
            return each

        self.step = step

    def averaged(self) -> Weights:
        """The running average of the weights, in the model's order."""
        return [average.numpy() for average in self._average]

    def state(self) -> list[NDArray[Any]]:
        """Every variable, in an order of its own."""
        return [np.asarray(variable) for variable in self._variables()]

    def restore(self, arrays: list[NDArray[Any]]) -> None:
        """Set every variable to what `state` gave."""
        for variable, array in zip(self._variables(), arrays, strict=True):
            variable.assign(array)

    def _variables(self) -> list[Any]:
        return [*self.model.variables, *self._optimizer.variables, *self._average]


def batch(scenes: Targets, seed: int, step: int) -> list[NDArray[Any]]:
    """The arrays that the step after `step` is shown: pictures in other light, and their targets.

    Every scene is shown once before any is shown again, but for an incomplete batch at the end.
    """
    size = min(BATCH, len(scenes))
    turn, place = divmod(step, len(scenes) // size)
    order = np.random.default_rng([seed, turn]).permutation(len(scenes))
    chosen = np.sort(order[place * size : (place + 1) * size])
    picture, *right = (array[chosen] for array in scenes.arrays())
    return [_relit(picture, np.random.default_rng([seed, step, 1])), *right]


def _relit(pictures: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float32]:
    """Other contrast, brightness, polarity and noise, (n, h, w) in 0..1; chosen by eye."""
    shape = (len(pictures), 1, 1)
    levels = pictures.astype(np.float32) / 255
    mean = levels.mean(axis=(1, 2), keepdims=True)
    levels = (levels - mean) * np.exp(rng.uniform(-0.5, 0.25, shape)) + mean
    levels += rng.uniform(-0.15, 0.15, shape)
    levels = np.where(rng.random(shape) < 0.15, 1 - levels, levels)
    amount = rng.uniform(0, 0.03, shape) * (rng.random(shape) < 0.3)
    levels = levels + amount * rng.standard_normal(levels.shape, np.float32)
    return np.asarray(levels.clip(0, 1), np.float32)
