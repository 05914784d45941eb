"""Fit the digit network: logits of the digits and the OOD output, on the same batches.

Only digits contribute to the loss of the logits; digits and negatives contribute to the loss of the
OOD output. This is outlier exposure (see `training_job.classifier.negatives`) with an output of its
own, so that the softmax of the logits stays a distribution over ten digits.

The result has the running average of the trained weights. All random choices depend only on the
seed and the number of the epoch, so a run that resumes from a checkpoint ends with the same weights
as an uninterrupted one.
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

from digits.recognition.classification import softmax
from training_job import evaluate
from training_job.checkpoint import Checkpoint
from training_job.classifier.augment import augmented
from training_job.classifier.model import Architecture, with_ood_output
from training_job.classifier.recipes import Precision, Recipe
from training_job.data import Split
from training_job.progress import RunProgress

_BLOCKS = 10  # calls of the compiled function per epoch; progress and signals come between them
# Chosen on the held-out images. Labels are smoothed because some negatives look like digits.
_OOD_LOSS_WEIGHT = 0.5  # of the OOD output's loss, in the sum with the logits' loss
_OOD_LABEL_SMOOTHING = 0.01  # the OOD output's targets are 0.01 and 0.99

Row = dict[str, float]
"""The figures of one epoch, by the names of their columns in a bundle's `history.csv`."""


def fit(
    architecture: Architecture,
    train: Split,
    held_out: Split,
    recipe: Recipe,
    seed: int,
    progress: RunProgress,
    checkpoint: Checkpoint | None = None,
) -> tuple[keras.Model, keras.Model, list[Row]]:
    """Train a network.

    The incomplete batch at the end of an epoch is left out; it holds other images in each epoch.

    Parameters
    ----------
    architecture, recipe, seed
        The network, its hyperparameters, and the seed of all random choices.
    train
        Digits, and negatives labelled `training_job.data.NOT_A_DIGIT`.
    held_out
        Digits whose loss and accuracy are measured after each epoch.
    progress
        Reports each epoch.
    checkpoint
        Where the state is written after each epoch, and from where the run resumes.

    Returns
    -------
    keras.Model
        The network from images, float32 (n, 28, 28, 1), to the probabilities of the digits,
        (n, 10), with averaged weights.
    keras.Model
        The same network from images to the logits and the OOD output; see
        `training_job.classifier.model.with_ood_output`.
    list of dict
        The figures of each epoch.

    Raises
    ------
    StoreUnreachable, Conflict
        If the checkpoint cannot be read or written.
    """
    keras.utils.set_random_seed(seed)
    trainer = ClassifierTrainer(architecture, recipe, len(train))
    history: list[Row] = []
    state = checkpoint.load() if checkpoint else None
    if state is not None:
        trainer.restore(state.arrays)
        history = state.history
        progress.say(f"resuming after epoch {state.epoch}", epoch=state.epoch)
    truths = keras.utils.to_categorical(train.y, 11)[:, :10]
    with progress.bar(recipe.epochs * _BLOCKS, done=len(history) * _BLOCKS) as advance:
        for epoch in range(len(history) + 1, recipe.epochs + 1):
            generator = np.random.default_rng([seed, epoch])
            images = augmented(train.x, recipe.ranges, generator)
            order = generator.permutation(len(train))
            figures = trainer.epoch(images, truths, order, advance)
            history.append(
                {"epoch": epoch} | figures | _held_out_figures(held_out, trainer.averaged())
            )
            if checkpoint:
                checkpoint.save(epoch, trainer.state(), history)
            progress.epoch(history[-1], recipe.epochs)
    served = trainer.averaged()
    return trainer.network, served, history


class OneCycle(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """One-cycle learning rate: linear warm-up, then half a cosine down to zero.

    Smith and Topin, "Super-Convergence", 2018.

    Parameters
    ----------
    peak
        Largest learning rate.
    steps
        Number of all steps.
    warm_up
        Share of the steps until the peak.
    """

    def __init__(self, peak: float, steps: int, warm_up: float) -> None:
        self.peak, self.steps, self.warm_up = peak, steps, warm_up

    def __call__(self, step: Any) -> Any:
        """Return the learning rate at `step`, counted from 0."""
        share = tf.cast(step, tf.float32) / self.steps
        rising = share / self.warm_up
        falling = (1 + tf.cos(math.pi * (share - self.warm_up) / (1 - self.warm_up))) / 2
        return self.peak * tf.where(share < self.warm_up, rising, falling)


class ClassifierTrainer:
    """The digit network in training, with its optimizer and the running average of its weights.

    Parameters
    ----------
    architecture, recipe
        The network and its hyperparameters.
    images
        Number of images per epoch.

    Attributes
    ----------
    network
        The network from images to probabilities, without the OOD output. It has averaged weights
        after a call of `averaged`.
    """

    def __init__(self, architecture: Architecture, recipe: Recipe, images: int) -> None:
        self._recipe = recipe
        self._steps = max(1, images // recipe.batch_size)  # per epoch
        with dtype_policy(recipe.precision):
            self._model = with_ood_output(architecture(training=True))
        self.network = architecture(training=False)
        self._served = with_ood_output(self.network)
        self._average = [tf.Variable(weight.value) for weight in self._model.weights]
        self._optimizer = _optimizer(recipe, self._steps * recipe.epochs)
        self._optimizer.build(self._model.trainable_variables)
        self._run_steps = self._compiled_steps()

    def epoch(
        self,
        images: tf.Tensor,
        truths: NDArray[np.floating[Any]],
        order: NDArray[np.intp],
        advance: Callable[[], None],
    ) -> Row:
        """Train on every image once, in `order`; return the mean losses and the accuracy.

        Parameters
        ----------
        images : float32 (n, 28, 28, 1)
        truths : float (n, 10)
            One-hot labels; a row of zeros for a negative.
        order : int (n,)
            Permutation of the images.
        advance
            Called after each of ten equal parts of the epoch.
        """
        truths = tf.constant(truths, tf.float32)
        batches = order[: self._steps * self._recipe.batch_size].reshape(self._steps, -1)
        sums = np.zeros(3)
        for block in np.array_split(batches, _BLOCKS):
            sums += np.array(self._run_steps(images, truths, tf.constant(block, tf.int32)))
            advance()
        loss, ood_loss, right = (sums / len(batches)).tolist()
        return {"loss": loss, "accuracy": right, "opinion_loss": ood_loss}

    def averaged(self) -> keras.Model:
        """Return the network to serve, from images to logits and OOD output, averaged so far."""
        self._served.set_weights([average.numpy() for average in self._average])
        return self._served

    def state(self) -> list[NDArray[Any]]:
        """Return the values of all variables, in an order that `restore` expects."""
        return [np.asarray(variable) for variable in self._variables()]

    def restore(self, arrays: list[NDArray[Any]]) -> None:
        """Set all variables to the values that `state` returned."""
        for variable, array in zip(self._variables(), arrays, strict=True):
            variable.assign(array)

    def _variables(self) -> list[Any]:
        return [*self._model.variables, *self._optimizer.variables, *self._average]

    def _compiled_steps(self) -> Callable[..., Any]:
        """Compile a function that runs many steps: Keras' own loop takes a third longer here."""
        trained = self._model.trainable_variables
        smoothing = self._recipe.label_smoothing

        @tf.function(  # type: ignore[untyped-decorator]
            input_signature=[
                tf.TensorSpec((None, 28, 28, 1), tf.float32),
                tf.TensorSpec((None, 10), tf.float32),
                tf.TensorSpec((None, self._recipe.batch_size), tf.int32),
            ]
        )
        def run_steps(images: tf.Tensor, truths: tf.Tensor, batches: tf.Tensor) -> Any:
            sums = tf.zeros(3)
            for batch in batches:
                image, truth = tf.gather(images, batch), tf.gather(truths, batch)
                digit = tf.reduce_sum(truth, 1)
                digits = tf.maximum(tf.reduce_sum(digit), 1)
                with tf.GradientTape() as tape:
                    outputs = self._model(image, training=True)
                    logits, log_odds = (tf.cast(output, tf.float32) for output in outputs)
                    target = truth * (1 - smoothing) + smoothing / 10
                    losses = tf.nn.softmax_cross_entropy_with_logits(target, logits)
                    loss = tf.reduce_sum(losses * digit) / digits
                    target_ood = digit * (1 - 2 * _OOD_LABEL_SMOOTHING) + _OOD_LABEL_SMOOTHING
                    ood_loss = tf.reduce_mean(
                        tf.nn.sigmoid_cross_entropy_with_logits(target_ood, log_odds[:, 0])
                    )
                    total = loss + _OOD_LOSS_WEIGHT * ood_loss
                gradients = tape.gradient(total, [variable.value for variable in trained])
                self._optimizer.apply(gradients, trained)
                self._update_average()
                hits = tf.cast(tf.equal(tf.argmax(logits, 1), tf.argmax(truth, 1)), tf.float32)
                sums += tf.stack([loss, ood_loss, tf.reduce_sum(hits * digit) / digits])
            return sums

        return run_steps  # type: ignore[no-any-return]

    def _update_average(self) -> None:
        """Update the running average; its decay is smaller in early steps, to forget the start."""
        step = tf.cast(self._optimizer.iterations.value, tf.float32)
        decay = tf.minimum(self._recipe.average, (1 + step) / (10 + step))
        for average, weight in zip(self._average, self._model.weights, strict=True):
            average.assign(average + (1 - decay) * (weight.value - average))


@contextmanager
def dtype_policy(precision: Precision) -> Iterator[None]:
    """Let layers that are built in the block compute in `precision`, with float32 weights."""
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


def _held_out_figures(held_out: Split, model: keras.Model) -> Row:
    logits, _ = model.predict(held_out.x, batch_size=1000, verbose=0)
    probabilities = softmax(logits)
    return {
        "held_out_loss": evaluate.negative_log_likelihood(probabilities, held_out.y),
        "held_out_accuracy": float((probabilities.argmax(axis=1) == held_out.y).mean()),
    }
