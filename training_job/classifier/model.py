"""The architectures of the digit network."""

from __future__ import annotations

from typing import Any, Protocol

import keras
import tensorflow as tf
from keras import layers

_LANES = 16  # channels that oneDNN's fast bfloat16 batch normalisation processes at once


class Architecture(Protocol):
    """Builds a network with layers named `flatten`, `logits` and, last, `softmax`."""

    def __call__(self, *, training: bool) -> keras.Model:
        """Build the network to train, or the one to serve; both have the same order of weights."""


def reference(*, training: bool = False) -> keras.Model:
    """The textbook CNN: two convolutions and a hidden layer, 225,034 parameters.

    =========  ====================  ============
    layer      operation             output
    =========  ====================  ============
    conv1      32 of 3×3, ReLU       (26, 26, 32)
    pool1      maximum of 2×2        (13, 13, 32)
    conv2      64 of 3×3, ReLU       (11, 11, 64)
    pool2      maximum of 2×2        (5, 5, 64)
    flatten                          (1600,)
    hidden     dense, ReLU           (128,)
    dropout    0.5, in training      (128,)
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
    block    operation                   output
    =======  ==========================  ============
    1        16 of 3×3                   (26, 26, 16)
    2        24 of 3×3, maximum of 2×2   (12, 12, 24)
    3        64 of 3×3                   (12, 12, 64)
    4        64 of 3×3, maximum of 2×2   (6, 6, 64)
    5        96 of 3×3                   (6, 6, 96)
    6        96 of 3×3, maximum of 2×2   (3, 3, 96)
    flatten                              (864,)
    dropout  0.2, in training            (864,)
    logits   dense                       (10,)
    softmax  probabilities               (10,)
    =======  ==========================  ============

    The first blocks have few channels, because their large feature maps take most of the time. Each
    block ends in batch normalisation, after pooling, and ReLU (Ioffe and Szegedy, "Batch
    Normalization", ICML 2015). Input as for `reference`.
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
    """Keras' batch normalisation with TensorFlow's fused kernel, which makes an epoch 10 % shorter.

    Keras 3 computes the training step in some ten elementwise operations. Parameters and statistics
    are float32 for inputs of any dtype.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(autocast=False, **settings)

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalise; in training by the batch's statistics, which update the moving averages."""
        if not training:
            return super().call(inputs, training=False, mask=mask)
        # oneDNN's fast kernel for bfloat16 needs channels that fill its vector registers.
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


def with_ood_output(network: keras.Model) -> keras.Model:
    """Add an out-of-distribution (OOD) output to a network.

    The OOD output is a small head on the feature maps of the layer `flatten`. The returned model
    gives the logits of the digits, (n, 10), and the log-odds that an image shows a digit, (n, 1).
    The head's layers are named `opinion…` in the files of every bundle.
    """
    flat = network.get_layer("flatten").output
    dropped = layers.Dropout(0.3, name="opinion_dropout")(flat)
    hidden = layers.Dense(64, activation="relu", name="opinion_hidden")(dropped)
    log_odds = layers.Dense(1, name="opinion")(hidden)
    return keras.Model(network.inputs[0], [network.get_layer("logits").output, log_odds])


ARCHITECTURES: dict[str, Architecture] = {"reference": reference, "deep": deep}


def up_to(model: keras.Model, name: str) -> keras.Model:
    """Return the part of a network from its input to the output of the layer `name`."""
    return keras.Model(model.inputs[0], model.get_layer(name).output)


def activation_of(model: keras.Model, name: str) -> str:
    """Return the layer whose output are the rectified feature maps of the convolution `name`.

    That is the convolution itself if its activation is ReLU, and otherwise the next ReLU layer.
    """
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
    """Describe each layer: its name, kind, output shape without the batch, and parameters."""
    return [
        {
            "name": layer.name,
            "kind": type(layer).__name__,
            "output": list(layer.output.shape[1:]),
            "parameters": layer.count_params(),
        }
        for layer in model.layers
    ]
