"""The segmentation network: a small U-net with the outputs of Panoptic-DeepLab."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import layers

from training_job.model import FusedBatchNormalization
from training_job.synthesis.photographs import KINDS

_WIDTHS = (12, 24, 48, 64)  # maps at a half, a quarter, an eighth and a sixteenth of the size


def network(*, training: bool) -> keras.Model:
    """A fully convolutional network from a picture to the kind of each pixel and its glyph.

    Takes float32 (n, h, w, 1) in 0..1, h and w multiples of 16. Gives logits of the kinds (n, h, w,
    5), logits of a glyph's centre (n, h/4, w/4, 1), and for each pixel of a glyph (n, h/2, w/2, 3):
    x and y of the way to its centre, in units of 32 pixels, and the binary logarithm of its longer
    side, in the same unit.

    After Ronneberger et al., "U-Net", MICCAI 2015, and Cheng et al., "Panoptic-DeepLab", CVPR 2020.
    """
    norm = FusedBatchNormalization if training else layers.BatchNormalization

    def block(x: Any, maps: int, stride: int = 1, dilation: int = 1) -> Any:
        y = layers.Conv2D(
            maps, 3, strides=stride, dilation_rate=dilation, padding="same", use_bias=False,
            kernel_initializer="he_normal",
        )(x)  # fmt: skip
        y = layers.ReLU()(norm(momentum=0.95)(y))
        return layers.Add()([x, y]) if x.shape[-1] == maps and stride == 1 else y

    def joined(deep: Any, skip: Any) -> Any:
        maps = skip.shape[-1]
        return layers.Add()([DepthToSpace()(layers.Conv2D(4 * maps, 1)(deep)), skip])

    half_maps, quarter_maps, eighth_maps, deep_maps = _WIDTHS
    picture = keras.Input((None, None, 1))
    half = block(SpaceToDepth()(picture), half_maps)
    quarter = block(block(half, quarter_maps, 2), quarter_maps)
    eighth = block(block(quarter, eighth_maps, 2), eighth_maps)
    deep = block(eighth, deep_maps, 2)
    for dilation in (1, 2, 4):
        deep = block(deep, deep_maps, dilation=dilation)
    eighth = block(joined(deep, eighth), eighth_maps)
    quarter = block(joined(eighth, quarter), quarter_maps)
    centre = layers.Conv2D(1, 1, name="centre")(block(quarter, 24))
    half = block(block(joined(quarter, half), 16), 24)
    kind = DepthToSpace(name="kind")(layers.Conv2D(4 * KINDS, 1)(half))
    glyph = layers.Conv2D(3, 1, name="glyph")(half)
    return keras.Model(picture, [kind, centre, glyph])


class SpaceToDepth(layers.Layer):  # type: ignore[misc]
    """Four neighbours to four channels."""

    def call(self, x: Any) -> Any:  # noqa: D102
        return tf.nn.space_to_depth(x, 2)

    def compute_output_shape(self, shape: Any) -> Any:  # noqa: D102
        return (shape[0], None, None, 4 * shape[3])


class DepthToSpace(layers.Layer):  # type: ignore[misc]
    """Four channels to four neighbours."""

    def call(self, x: Any) -> Any:  # noqa: D102
        return tf.nn.depth_to_space(x, 2)

    def compute_output_shape(self, shape: Any) -> Any:  # noqa: D102
        return (shape[0], None, None, shape[3] // 4)
