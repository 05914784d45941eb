"""Training itself: one compiled function runs a stretch of steps, an epoch is ten of them.

The digits and the reject option are learnt together, from the same batches: the ten
logits from what is a digit, the opinion from everything. That is outlier exposure (see `outliers`)
by an output of its own, so the digits' probabilities stay those of ten digits.

The weights that are kept are a running average of those that were trained. All chance comes from
the seed and the number of the epoch, so a run that goes on from a checkpoint ends where it would
have.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from digits.classifier import softmax
from training_job import evaluate
from training_job.checkpoint import Checkpoint
from training_job.classifier.augment import augmented
from training_job.classifier.model import Architecture, with_opinion
from training_job.classifier.recipes import Precision, Recipe
from training_job.data import Split
from training_job.progress import Progress

_STRETCHES = 10  # an epoch; between them the bar moves and a signal is heard
_OPINION = 0.5  # of the loss, beside that of the digits
_DOUBT = 0.01  # left to the opinion: some of what is drawn as no digit may pass for one

Row = dict[str, float]


def fit(
    architecture: Architecture,
    train: Split,
    held_out: Split,
    recipe: Recipe,
    seed: int,
    progress: Progress,
    checkpoint: Checkpoint | None = None,
) -> tuple[keras.Model, keras.Model, list[Row]]:
    """Train from one seed; gives the networks with the averaged weights, and a row an epoch.

    The incomplete batch at an epoch's end, another one each time, is left out.

    Parameters
    ----------
    train
        Digits, and negatives; see `training_job.data.NONE`.

    Returns
    -------
    keras.Model
        From images, float32 (n, 28, 28, 1), to the probabilities of ten digits, (n, 10).
    keras.Model
        The same network to its logits, with the opinion beside them; see
        `training_job.classifier.model.with_opinion`.
    list of dict
        Loss and accuracy by epoch.

    Raises
    ------
    StoreUnreachable, Conflict
        If the checkpoint cannot be read or written.
    """
    keras.utils.set_random_seed(seed)
    run = Run(architecture, recipe, len(train))
    history: list[Row] = []
    state = checkpoint.load() if checkpoint else None
    if state is not None:
        run.restore(state.arrays)
        history = state.history
        progress.say(f"going on after epoch {state.epoch}", epoch=state.epoch)
    truths = keras.utils.to_categorical(train.y, 11)[:, :10]
    with progress.bar(recipe.epochs * _STRETCHES, done=len(history) * _STRETCHES) as advance:
        for epoch in range(len(history) + 1, recipe.epochs + 1):
            generator = np.random.default_rng([seed, epoch])
            images = augmented(train.x, recipe.ranges, generator)
            order = generator.permutation(len(train))
            figures = run.epoch(images, truths, order, advance)
            history.append({"epoch": epoch} | figures | _on(held_out, run.averaged()))
            if checkpoint:
                checkpoint.save(epoch, run.state(), history)
            progress.epoch(history[-1], recipe.epochs)
    whole = run.averaged()
    return run.network, whole, history


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


class Run:
    """A network in training: its variables, its optimizer and the average of its weights.

    `images` is how many an epoch shows; `network` is what is served, without the opinion.
    """

    def __init__(self, architecture: Architecture, recipe: Recipe, images: int) -> None:
        self._recipe = recipe
        self._steps = max(1, images // recipe.batch_size)  # an epoch
        with _computed_in(recipe.precision):
            self._model = with_opinion(architecture(training=True))
        self.network = architecture(training=False)
        self._served = with_opinion(self.network)
        self._average = [tf.Variable(weight.value) for weight in self._model.weights]
        self._optimizer = _optimizer(recipe, self._steps * recipe.epochs)
        self._optimizer.build(self._model.trainable_variables)
        self._stretch = self._compiled()

    def epoch(
        self,
        images: tf.Tensor,
        truths: NDArray[np.floating[Any]],
        order: NDArray[np.intp],
        advance: Callable[[], None],
    ) -> Row:
        """Show every image once, in `order`; the mean losses and the share of right answers.

        A row of `truths`, (n, 10), is all zero where an image shows no digit.
        """
        truths = tf.constant(truths, tf.float32)
        batches = order[: self._steps * self._recipe.batch_size].reshape(self._steps, -1)
        sums = np.zeros(3)
        for stretch in np.array_split(batches, _STRETCHES):
            sums += np.array(self._stretch(images, truths, tf.constant(stretch, tf.int32)))
            advance()
        loss, opinion_loss, right = (sums / len(batches)).tolist()
        return {"loss": loss, "accuracy": right, "opinion_loss": opinion_loss}

    def averaged(self) -> keras.Model:
        """The network and its opinion as they are served, with the averaged weights so far."""
        self._served.set_weights([average.numpy() for average in self._average])
        return self._served

    def state(self) -> list[NDArray[Any]]:
        """Every variable, in an order of its own."""
        return [np.asarray(variable) for variable in self._variables()]

    def restore(self, arrays: list[NDArray[Any]]) -> None:
        """Set every variable to what `state` gave."""
        for variable, array in zip(self._variables(), arrays, strict=True):
            variable.assign(array)

    def _variables(self) -> list[Any]:
        return [*self._model.variables, *self._optimizer.variables, *self._average]

    def _compiled(self) -> Callable[..., Any]:
        """One function for many steps: Keras' own loop costs a third more for nets this small."""
        trained = self._model.trainable_variables
        smoothing = self._recipe.label_smoothing

        @tf.function(  # type: ignore[untyped-decorator]
            input_signature=[
                tf.TensorSpec((None, 28, 28, 1), tf.float32),
                tf.TensorSpec((None, 10), tf.float32),
                tf.TensorSpec((None, self._recipe.batch_size), tf.int32),
            ]
        )
        def stretch(images: tf.Tensor, truths: tf.Tensor, batches: tf.Tensor) -> Any:
            sums = tf.zeros(3)
            for batch in batches:
                shown, truth = tf.gather(images, batch), tf.gather(truths, batch)
                digit = tf.reduce_sum(truth, 1)
                digits = tf.maximum(tf.reduce_sum(digit), 1)
                with tf.GradientTape() as tape:
                    said = self._model(shown, training=True)
                    logits, log_odds = (tf.cast(output, tf.float32) for output in said)
                    target = truth * (1 - smoothing) + smoothing / 10
                    each = tf.nn.softmax_cross_entropy_with_logits(target, logits)
                    loss = tf.reduce_sum(each * digit) / digits
                    likely = digit * (1 - 2 * _DOUBT) + _DOUBT
                    opinion_loss = tf.reduce_mean(
                        tf.nn.sigmoid_cross_entropy_with_logits(likely, log_odds[:, 0])
                    )
                    whole = loss + _OPINION * opinion_loss
                gradients = tape.gradient(whole, [variable.value for variable in trained])
                self._optimizer.apply(gradients, trained)
                self._update_average()
                hits = tf.cast(tf.equal(tf.argmax(logits, 1), tf.argmax(truth, 1)), tf.float32)
                sums += tf.stack([loss, opinion_loss, tf.reduce_sum(hits * digit) / digits])
            return sums

        return stretch  # type: ignore[no-any-return]

    def _update_average(self) -> None:
        """Early on the average forgets faster, or it would keep the initial weights."""
        step = tf.cast(self._optimizer.iterations.value, tf.float32)
        kept = tf.minimum(self._recipe.average, (1 + step) / (10 + step))
        for average, weight in zip(self._average, self._model.weights, strict=True):
            average.assign(average + (1 - kept) * (weight.value - average))


@contextmanager
def _computed_in(precision: Precision) -> Iterator[None]:
    """Layers that are made meanwhile compute in `precision`; their weights stay float32."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16" if precision == "bfloat16" else "float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _optimizer(recipe: Recipe, steps: int) -> keras.optimizers.Optimizer:
    rate = OneCycle(recipe.peak_rate, steps, recipe.warm_up)
    if recipe.optimizer == "adamw":
        optimizer = keras.optimizers.AdamW(rate, weight_decay=recipe.weight_decay)
    else:
        optimizer = keras.optimizers.SGD(
            rate, momentum=0.9, nesterov=True, weight_decay=recipe.weight_decay
        )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def _on(held_out: Split, model: keras.Model) -> Row:
    logits, _ = model.predict(held_out.x, batch_size=1000, verbose=0)
    probabilities = softmax(logits)
    return {
        "held_out_loss": evaluate.negative_log_likelihood(probabilities, held_out.y),
        "held_out_accuracy": float((probabilities.argmax(axis=1) == held_out.y).mean()),
    }
