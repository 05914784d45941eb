"""The segmentation network: a small U-net with the outputs of Panoptic-DeepLab."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from digits.recognition.outputs import KINDS
from training_job.classifier.model import FusedBatchNormalization
from training_job.segmenter import DepthToSpace, SpaceToDepth

# Channels at 1/2, 1/4, 1/8 and 1/16 of the size, as in `training_job.segmenter`, and of the layers
# before the outputs, of which there are more than there.
_HALF, _QUARTER, _EIGHTH, _DEEP = 12, 24, 48, 64
_JOINED, _BEFORE_CENTRE, _BEFORE_KIND = 16, 24, 24
_MOMENTUM = (
    0.95  # of the moving batch statistics; Keras' default of 0.99 is too slow for short runs
)


def network(*, training: bool) -> keras.Model:
    """Build a fully convolutional network for the kind of each pixel and the glyph it belongs to.

    The input is float32 (n, h, w, 1) in 0..1; h and w are multiples of 16. The outputs are logits
    of the kinds, (n, h, w, 5); logits of the centre heat map, (n, h/4, w/4, 1); and for each pixel
    of a glyph, (n, h/2, w/2, 3), x and y of the offset to the glyph's centre in units of 32 pixels,
    and the binary logarithm of the glyph's longer side in the same unit. With `training`, batch
    normalisation is trained by the fused kernel; the weights have the same order.

    After Ronneberger et al., "U-Net", MICCAI 2015, and Cheng et al., "Panoptic-DeepLab", CVPR 2020.
    """
    norm = FusedBatchNormalization if training else layers.BatchNormalization

    def block(x: Any, maps: int, stride: int = 1, dilation: int = 1) -> Any:
        y = layers.Conv2D(
            maps, 3, strides=stride, dilation_rate=dilation, padding="same", use_bias=False,
            kernel_initializer="he_normal",
        )(x)  # fmt: skip
        y = layers.ReLU()(norm(momentum=_MOMENTUM)(y))
        return layers.Add()([x, y]) if x.shape[-1] == maps and stride == 1 else y

    def joined(deep: Any, skip: Any) -> Any:
        maps = skip.shape[-1]
        return layers.Add()([DepthToSpace()(layers.Conv2D(4 * maps, 1)(deep)), skip])

    picture = keras.Input((None, None, 1))
    half = block(SpaceToDepth()(picture), _HALF)
    quarter = block(block(half, _QUARTER, 2), _QUARTER)
    eighth = block(block(quarter, _EIGHTH, 2), _EIGHTH)
    deep = block(eighth, _DEEP, 2)
    for dilation in (1, 2, 4):
        deep = block(deep, _DEEP, dilation=dilation)
    eighth = block(joined(deep, eighth), _EIGHTH)
    quarter = block(joined(eighth, quarter), _QUARTER)
    centre = layers.Conv2D(1, 1, name="centre")(block(quarter, _BEFORE_CENTRE))
    half = block(block(joined(quarter, half), _JOINED), _BEFORE_KIND)
    kind = DepthToSpace(name="kind")(layers.Conv2D(4 * KINDS, 1)(half))
    glyph = layers.Conv2D(3, 1, name="glyph")(half)
    return keras.Model(picture, [kind, centre, glyph])
