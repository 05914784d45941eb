"""Train the segmentation network that `digits.finder` runs.

    python -m training_job.segmenter --out segmenter    an hour of two cores
    python -m training_job.assemble --segmenter segmenter --out bundle
                                                        a bundle of it and the shipped classifier

The network does not depend on the classifier: a new classifier needs no new segmentation network.
`python -m training_job --segmenter` takes the output folder, too.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Annotated, Any

import keras
import numpy as np
import tensorflow as tf
import typer
from keras import layers
from numpy.typing import NDArray
from PIL import Image

from digits import finder
from digits.finder import CELL, HALF, UNIT
from digits.registry import bundle
from digits.registry.bundle import CONFIG, SEGMENTER
from training_job import rendered_pages, segmentation
from training_job.classifier.fit import OneCycle
from training_job.classifier.model import FusedBatchNormalization
from training_job.progress import RunProgress

_INK_LEVEL = 76  # of 255, 0.3 of full ink; above it a pixel is ink
_FIRST_SEED = 1_000_000  # of the training pages; held-out pages and tests use smaller ones
_OFFSET_SCALE = 16  # offsets are stored in units of 1/16 pixel
# Chosen on rendered pages.
_BATCH = 16  # pages per step
_PEAK_RATE = 3e-3  # largest learning rate
_WARM_UP = 0.07  # share of the steps until the largest learning rate
_OFFSET_WEIGHT = 3  # of the offset loss, in the sum with the losses of ink and centres
_SMOOTH = 20  # pixels added to both parts of the dice loss, which is then defined without ink
_SURE = 0.9  # of the target heat map's peak; from it on a cell is a glyph's centre
_FEW = 8  # added to the number of centres in a batch, which may be 0
_LEAST_SIDE = 8  # pixels; offset errors are relative to the glyph's side, but at least to this
_LEAST_PIXELS = 4  # pixels of ink; a glyph with fewer has no targets
_SPREAD = 0.1  # standard deviation of a peak of the heat map, in longer sides of the glyph
_LEAST_SPREAD = 2.5  # pixels; a narrower peak could fall between the cells of the heat map

Bytes = NDArray[np.uint8]


def network(*, training: bool) -> keras.Model:
    """Build a small U-net with the outputs of Panoptic-DeepLab.

    The input is float32 (n, h, w, 1) in 0..1; h and w are multiples of 16. The outputs are logits
    of ink, (n, h, w, 1); logits of the centre heat map, (n, h/4, w/4, 1); and the offset field,
    (n, h/2, w/2, 2), x and y from a cell to its glyph's centre in units of 32 pixels. With
    `training`, batch normalisation is trained by the fused kernel; the weights have the same order.

    Ronneberger et al., "U-Net", MICCAI 2015; Cheng et al., "Panoptic-DeepLab", CVPR 2020.
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

    picture = keras.Input((None, None, 1))
    half = block(SpaceToDepth()(picture), 12)
    quarter = block(block(half, 24, 2), 24)
    eighth = block(block(quarter, 48, 2), 48)
    deep = block(eighth, 64, 2)
    for dilation in (1, 2, 4):
        deep = block(deep, 64, dilation=dilation)
    eighth = block(joined(deep, eighth), 48)
    quarter = block(joined(eighth, quarter), 24)
    centre = layers.Conv2D(1, 1, name="centre")(block(quarter, 16))
    half = block(block(joined(quarter, half), 12), 16)
    ink = DepthToSpace(name="ink")(layers.Conv2D(4, 1)(half))
    # Bundles know the layer of the offset field by this name.
    offset = layers.Conv2D(2, 1, name="way")(half)
    return keras.Model(picture, [ink, centre, offset])


@keras.saving.register_keras_serializable("digits")
class SpaceToDepth(layers.Layer):  # type: ignore[misc]
    """Moves each block of 2×2 pixels to four channels."""

    def call(self, x: Any) -> Any:  # noqa: D102
        return tf.nn.space_to_depth(x, 2)

    def compute_output_shape(self, shape: Any) -> Any:  # noqa: D102
        return (shape[0], None, None, 4 * shape[3])


@keras.saving.register_keras_serializable("digits")
class DepthToSpace(layers.Layer):  # type: ignore[misc]
    """Moves each four channels to a block of 2×2 pixels."""

    def call(self, x: Any) -> Any:  # noqa: D102
        return tf.nn.depth_to_space(x, 2)

    def compute_output_shape(self, shape: Any) -> Any:  # noqa: D102
        return (shape[0], None, None, shape[3] // 4)


@dataclass(frozen=True)
class Examples:
    """Training examples: pages of one shape, and the target outputs for them, as integers.

    Attributes
    ----------
    picture, ink : uint8 (n, h, w)
        The network's input, and the share of ink in each pixel, 0 to 255.
    centre : uint8 (n, h/4, w/4)
        The centre heat map: a Gaussian peak of 255 at each glyph's centre, as wide as the glyph's
        size demands.
    offset : int16 (n, h/2, w/2, 2)
        The offset field: x and y from each cell with ink to its glyph's centre, in 1/16 pixel.
    size : uint8 (n, h/2, w/2)
        The longer side of that glyph, in pixels up to 255; 0 for a cell without ink.
    """

    picture: Bytes
    ink: Bytes
    centre: Bytes
    offset: NDArray[np.int16]
    size: Bytes

    def __len__(self) -> int:
        return len(self.picture)


def example(seed: int) -> Examples:
    """Render a page and compute the target outputs for it; n is 1."""
    page = rendered_pages.render(seed)
    picture, (height, width) = finder.fitted(page.grey)
    ink, owner = np.zeros_like(picture), np.zeros_like(picture)
    small = Image.fromarray(page.ink).resize((width, height), Image.Resampling.BILINEAR)
    ink[:height, :width] = np.round(np.asarray(small).clip(0, 1) * 255)
    owned = Image.fromarray(page.owner).resize((width, height), Image.Resampling.NEAREST)
    owner[:height, :width] = np.asarray(owned)
    centre, offset, size = _targets(ink, owner)
    return Examples(picture[None], ink[None], centre[None], offset[None], size[None])


def _targets(ink: Bytes, owner: Bytes) -> tuple[Bytes, NDArray[np.int16], Bytes]:
    """Compute centre heat map, offset field and sizes, as in `Examples`."""
    height, width = ink.shape
    inks, owners = _blocks(ink), _blocks(owner)
    darkest = inks.argmax(-1)[..., None]
    half = np.take_along_axis(owners, darkest, -1)[..., 0] * (inks.max(-1) > _INK_LEVEL)
    centre = np.zeros((height // CELL, width // CELL), np.float32)
    offset = np.zeros((*half.shape, 2), np.int16)
    size = np.zeros(half.shape, np.uint8)
    y, x = np.mgrid[: height // CELL, : width // CELL] * CELL + (CELL - 1) / 2
    for number in np.unique(half[half > 0]):
        rows, columns = np.nonzero((owner == number) & (ink > _INK_LEVEL))
        if len(rows) < _LEAST_PIXELS:
            continue
        top, bottom, left, right = rows.min(), rows.max(), columns.min(), columns.max()
        middle_y, middle_x = (top + bottom) / 2, (left + right) / 2
        side = max(bottom - top, right - left) + 1
        spread = max(_LEAST_SPREAD, _SPREAD * side)
        far = (y - middle_y) ** 2 + (x - middle_x) ** 2
        centre = np.maximum(centre, np.exp(-far / (2 * spread**2)))
        at_y, at_x = np.nonzero(half == number)
        offset[at_y, at_x, 0] = np.round((middle_x - (at_x * HALF + 0.5)) * _OFFSET_SCALE)
        offset[at_y, at_x, 1] = np.round((middle_y - (at_y * HALF + 0.5)) * _OFFSET_SCALE)
        size[at_y, at_x] = min(side, 255)
    return np.round(centre * 255).astype(np.uint8), offset, size


def _blocks(plane: Bytes) -> Bytes:
    """Return the pixels of each cell of the offset field, (h/2, w/2, 4)."""
    height, width = (side // HALF for side in plane.shape)
    blocks = plane.reshape(height, HALF, width, HALF).swapaxes(1, 2)
    return np.asarray(blocks.reshape(height, width, HALF * HALF))


def losses(outputs: Any, ink: Any, centre: Any, offset: Any, size: Any) -> tuple[Any, Any, Any]:
    """Compute the losses of ink, of centres and of offsets.

    `outputs` are those of the network, the other parameters are as in `Examples`.

    References
    ----------
    Milletari et al., "V-Net", 3DV 2016 (dice); Law and Deng, "CornerNet", ECCV 2018
    (penalty-reduced focal loss).
    """
    inks, centres, offsets = outputs
    inks, centres = inks[..., 0], centres[..., 0]
    ink = tf.cast(ink, tf.float32) / 255
    cross = tf.nn.sigmoid_cross_entropy_with_logits(ink, inks) * (1 + 2 * ink)
    share = tf.sigmoid(inks)
    common = tf.reduce_sum(share * ink, (1, 2))
    dice = 1 - (2 * common + _SMOOTH) / (tf.reduce_sum(share + ink, (1, 2)) + _SMOOTH)
    ink_loss = tf.reduce_mean(cross) * 10 + tf.reduce_mean(dice)

    centre = tf.cast(centre, tf.float32) / 255
    heat = tf.sigmoid(centres)
    penalty = (1 - centre) ** 4
    is_centre = tf.cast(centre > _SURE, tf.float32)
    focal = -is_centre * (1 - heat) ** 2 * tf.math.log_sigmoid(centres)
    focal -= (1 - is_centre) * penalty * heat**2 * tf.math.log_sigmoid(-centres)
    centre_loss = tf.reduce_sum(focal) / (tf.reduce_sum(is_centre) + _FEW)

    inked = tf.cast(size > 0, tf.float32)
    side = tf.maximum(tf.cast(size, tf.float32), _LEAST_SIDE)
    miss = tf.abs(tf.cast(offset, tf.float32) / _OFFSET_SCALE - offsets * UNIT)
    miss = tf.reduce_sum(miss, -1) / side * inked
    offset_loss = tf.reduce_sum(miss) / (tf.reduce_sum(inked) + 1)
    return ink_loss, centre_loss, offset_loss


def litert(served: keras.Model) -> bytes:
    """Convert the network to LiteRT, for pictures of any size."""
    with redirect_stdout(io.StringIO()):
        converted: bytes = tf.lite.TFLiteConverter.from_keras_model(served).convert()
    return converted


def main(
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Folder to write the network to.")
    ] = Path("segmenter"),
    count: Annotated[int, typer.Option(help="Number of pages to render.")] = 12_000,
    epochs: Annotated[int, typer.Option(help="Passes over the pages.")] = 6,
    seed: Annotated[
        int, typer.Option(help="Seed of the weights, the order of pages and the augmentation.")
    ] = 1,
) -> None:
    """Render pages, train on them and write the network, with the shipped thresholds."""
    if out.resolve().is_relative_to(bundle.SHIPPED.resolve()):
        raise typer.BadParameter(
            f"{out} is in the bundle that ships; choose another folder, and then make a bundle of"
            " the network with `python -m training_job.assemble`.",
            param_hint="--out",
        )
    progress = RunProgress()
    keras.utils.set_random_seed(seed)
    examples = _rendered_examples(count, progress)
    rng = np.random.default_rng(seed)
    steps = epochs * sum(len(one) // _BATCH for one in examples)
    trainer = _SegmenterTrainer(steps)
    queue: Queue[list[NDArray[Any]]] = Queue(8)
    Thread(target=_feed, args=(examples, queue, rng), daemon=True).start()
    with progress.bar(steps) as advance:
        sums = np.zeros(3)
        for step in range(1, steps + 1):
            sums += np.array(trainer.step(*map(tf.constant, queue.get()))) / 100
            advance()
            if step % 100 == 0:
                ink, centre, offset = sums.tolist()
                progress.say(f"step {step}/{steps}", ink=ink, centre=centre, offset=offset)
                sums[:] = 0
    save(trainer.model, out)
    progress.say(f"wrote the segmentation network to {out}")


def save(trained: keras.Model, out: Path) -> None:
    """Write the network to the folder `out`, for Keras and LiteRT, and the shipped configuration.

    The thresholds in the configuration are not fitted for this network.
    """
    served = network(training=False)
    served.set_weights(trained.get_weights())
    out.mkdir(parents=True, exist_ok=True)
    served.save(out / segmentation.KERAS)
    (out / SEGMENTER).write_bytes(litert(served))
    (out / CONFIG).write_bytes((bundle.SHIPPED / CONFIG).read_bytes())


def _rendered_examples(count: int, progress: RunProgress) -> list[Examples]:
    """Render pages on all cores; return those of portrait and of landscape shape separately."""
    rendered: dict[tuple[int, ...], list[Examples]] = {}
    with ProcessPoolExecutor() as pool, progress.bar(count) as advance:
        for one in pool.map(example, range(_FIRST_SEED, _FIRST_SEED + count), chunksize=50):
            rendered.setdefault(one.picture.shape, []).append(one)
            advance()
    return [
        Examples(*(np.concatenate(arrays) for arrays in zip(*map(_arrays, several), strict=True)))
        for several in rendered.values()
    ]


def _arrays(one: Examples) -> tuple[NDArray[Any], ...]:
    return one.picture, one.ink, one.centre, one.offset, one.size


class _SegmenterTrainer:
    """The network in training; its step is compiled once for each shape of pages."""

    def __init__(self, steps: int) -> None:
        self.model = network(training=True)
        rate = OneCycle(_PEAK_RATE, steps, _WARM_UP)
        optimizer = keras.optimizers.AdamW(rate, weight_decay=1e-3, clipnorm=1.0)
        optimizer.build(self.model.trainable_variables)

        @tf.function(jit_compile=True)  # type: ignore[untyped-decorator]
        def step(picture: Any, ink: Any, centre: Any, offset: Any, size: Any) -> Any:
            with tf.GradientTape() as tape:
                outputs = self.model(picture[..., None], training=True)
                each = losses(outputs, ink, centre, offset, size)
                total = each[0] + each[1] + _OFFSET_WEIGHT * each[2]
            trained = self.model.trainable_variables
            optimizer.apply_gradients(zip(tape.gradient(total, trained), trained, strict=True))
            return each

        self.step = step


def _feed(
    examples: list[Examples], queue: Queue[list[NDArray[Any]]], rng: np.random.Generator
) -> None:
    for one, places in _batches(examples, rng):
        picture, *right = (array[places] for array in _arrays(one))
        queue.put([_augmented(picture, rng), *right])


def _batches(
    examples: list[Examples], rng: np.random.Generator
) -> Iterator[tuple[Examples, NDArray[np.intp]]]:
    """Yield batches of one shape each, in random order, without end."""
    while True:
        batches = []
        for one in examples:
            order = rng.permutation(len(one))[: len(one) // _BATCH * _BATCH]
            batches += [(one, np.sort(batch)) for batch in order.reshape(-1, _BATCH)]
        for place in rng.permutation(len(batches)):
            yield batches[place]


def _augmented(pictures: Bytes, rng: np.random.Generator) -> NDArray[np.float32]:
    """Augment contrast, brightness, polarity and noise, (n, h, w) in 0..1; ranges by eye."""
    shape = (len(pictures), 1, 1)
    levels = pictures.astype(np.float32) / 255
    mean = levels.mean(axis=(1, 2), keepdims=True)
    levels = (levels - mean) * np.exp(rng.uniform(-0.5, 0.25, shape)) + mean
    levels += rng.uniform(-0.15, 0.15, shape)
    levels = np.where(rng.random(shape) < 0.25, 1 - levels, levels)
    amount = rng.uniform(0, 0.03, shape) * (rng.random(shape) < 0.3)
    levels = levels + amount * rng.standard_normal(levels.shape, np.float32)
    return np.asarray(levels.clip(0, 1), np.float32)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    typer.run(main)
