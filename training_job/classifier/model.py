"""The networks that can be trained."""

from __future__ import annotations

from typing import Any, Protocol

import keras
import tensorflow as tf
from keras import layers

_LANES = 16  # maps that oneDNN normalises at once


class Architecture(Protocol):
    """Builds a network whose last two layers are called `logits` and `softmax`."""

    def __call__(self, *, training: bool) -> keras.Model:
        """The network to train, or, with the same weights in the same order, the one to serve."""


def reference(*, training: bool = False) -> keras.Model:
    """The textbook CNN: two convolutions and a hidden layer, 225,034 parameters.

    =========  ====================  ============
    layer      what                  output
    =========  ====================  ============
    conv1      32 of 3×3, ReLU       (26, 26, 32)
    pool1      largest of 2×2        (13, 13, 32)
    conv2      64 of 3×3, ReLU       (11, 11, 64)
    pool2      largest of 2×2        (5, 5, 64)
    flatten                          (1600,)
    hidden     dense, ReLU           (128,)
    dropout    half, while training  (128,)
    logits     dense                 (10,)
    softmax    probabilities         (10,)
    =========  ====================  ============

    Takes float32 (n, 28, 28, 1) in 0..1, white on black. After LeCun et al., "Gradient-Based
    Learning Applied to Document Recognition", Proc. IEEE 1998.
    """
    return keras.Sequential(
        [
            keras.Input((28, 28, 1), name="image"),
            layers.Conv2D(32, 3, activation="relu", name="conv1"),
            layers.MaxPooling2D(name="pool1"),
            layers.Conv2D(64, 3, activation="relu", name="conv2"),
            layers.MaxPooling2D(name="pool2"),
            layers.Flatten(name="flatten"),
            layers.Dense(128, activation="relu", name="hidden"),
            layers.Dropout(0.5, name="dropout"),
            layers.Dense(10, name="logits"),
            layers.Softmax(name="softmax"),
        ],
        name="mnist_cnn",
    )


def deep(*, training: bool = False) -> keras.Model:
    """Six convolutions with batch normalisation, 202,618 parameters.

    =======  ==========================  ============
    block    what                        output
    =======  ==========================  ============
    1        16 of 3×3                   (26, 26, 16)
    2        24 of 3×3, largest of 2×2   (12, 12, 24)
    3        64 of 3×3                   (12, 12, 64)
    4        64 of 3×3, largest of 2×2   (6, 6, 64)
    5        96 of 3×3                   (6, 6, 96)
    6        96 of 3×3, largest of 2×2   (3, 3, 96)
    flatten                              (864,)
    dropout  a fifth, while training     (864,)
    logits   dense                       (10,)
    softmax  probabilities               (10,)
    =======  ==========================  ============

    Narrow where the maps are large, which is where the time goes. Each block normalises after
    pooling and ends in ReLU (Ioffe and Szegedy, "Batch Normalization", ICML 2015). Input as for
    `reference`.
    """
    norm = FusedBatchNormalization if training else layers.BatchNormalization
    stack: list[Any] = [keras.Input((28, 28, 1), name="image")]
    blocks = [(16, "valid", False), (24, "valid", True), (64, "same", False)]
    blocks += [(64, "same", True), (96, "same", False), (96, "same", True)]
    for number, (maps, padding, pooled) in enumerate(blocks, start=1):
        stack.append(
            layers.Conv2D(
                maps,
                3,
                padding=padding,
                use_bias=False,
                kernel_initializer="he_normal",
                name=f"conv{number}",
            )
        )
        if pooled:
            stack.append(layers.MaxPooling2D(name=f"pool{number}"))
        stack += [norm(momentum=0.9, name=f"norm{number}"), layers.ReLU(name=f"relu{number}")]
    stack += [
        layers.Flatten(name="flatten"),
        layers.Dropout(0.2, name="dropout"),
        layers.Dense(10, name="logits"),
        layers.Softmax(name="softmax"),
    ]
    return keras.Sequential(stack, name="mnist_cnn")


class FusedBatchNormalization(layers.BatchNormalization):  # type: ignore[misc]
    """Keras' batch normalisation, trained by TensorFlow's fused kernel: a tenth of an epoch less.

    Keras 3 spells the training step out in some ten elementwise operations. Its parameters and
    statistics are float32 whatever its inputs are.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(autocast=False, **settings)

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalise by the batch while training, and note its statistics."""
        if not training:
            return super().call(inputs, training=False, mask=mask)
        # In bfloat16 oneDNN has a quick kernel only for maps that fill its registers.
        fits = inputs.shape[-1] % _LANES == 0
        normal, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs if fits else tf.cast(inputs, tf.float32),
            scale=self.gamma,
            offset=self.beta,
            mean=[],
            variance=[],
            epsilon=self.epsilon,
            is_training=True,
        )
        for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + batch * (1 - self.momentum))
        return tf.cast(normal, inputs.dtype)


def with_opinion(network: keras.Model) -> keras.Model:
    """A network with the opinion beside it: whether an image shows a digit at all.

    A small head on the maps that the logits are made of. Gives logits, (n, 10), and log-odds,
    (n, 1), from a layer called `opinion`.
    """
    flat = network.get_layer("flatten").output
    dropped = layers.Dropout(0.3, name="opinion_dropout")(flat)
    hidden = layers.Dense(64, activation="relu", name="opinion_hidden")(dropped)
    log_odds = layers.Dense(1, name="opinion")(hidden)
    return keras.Model(network.inputs[0], [network.get_layer("logits").output, log_odds])


ARCHITECTURES: dict[str, Architecture] = {"reference": reference, "deep": deep}


def up_to(model: keras.Model, name: str) -> keras.Model:
    """The same network as far as the layer `name`."""
    return keras.Model(model.inputs[0], model.get_layer(name).output)


def activation_of(model: keras.Model, name: str) -> str:
    """The layer that gives the feature maps of the convolution `name`: itself, or the next ReLU."""
    names = [layer.name for layer in model.layers]
    following = model.layers[names.index(name) :]
    rectified = (
        layer.name
        for layer in following
        if isinstance(layer, layers.ReLU)
        or getattr(layer, "activation", None) is keras.activations.relu
    )
    return str(next(rectified))


def described(model: keras.Model) -> list[dict[str, Any]]:
    """One row a layer for people: its name, kind, output shape without the batch, parameters."""
    return [
        {
            "name": layer.name,
            "kind": type(layer).__name__,
            "output": list(layer.output.shape[1:]),
            "parameters": layer.count_params(),
        }
        for layer in model.layers
    ]
