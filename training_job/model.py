"""The networks that can be trained."""

from __future__ import annotations

from collections.abc import Callable

import keras
from keras import layers


def reference() -> keras.Model:
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


ARCHITECTURES: dict[str, Callable[[], keras.Model]] = {"reference": reference}


def up_to(model: keras.Model, *names: str) -> keras.Model:
    """The same network, with the outputs of the layers `names` as its outputs."""
    return keras.Model(model.inputs, [model.get_layer(name).output for name in names])
