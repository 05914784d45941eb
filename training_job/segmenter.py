"""Train the segmentation network; see `digits.finder`.

    python -m training_job.segmenter --out segmenter    an hour of two cores
    python -m training_job.assemble --segmenter segmenter --out bundle
                                                        a bundle of it and the shipped classifier

It does not depend on the classifier, so a new classifier needs no new one. The folder that it
writes is what `python -m training_job --segmenter` takes.
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

_BATCH = 16
_PEAK_RATE = 3e-3
_INKED = 76  # of 255: from which a pixel is ink
_FIRST = 1_000_000  # seed of the first scene

Bytes = NDArray[np.uint8]


def network(*, training: bool) -> keras.Model:
    """A small U-net (Ronneberger et al., MICCAI 2015) with Panoptic-DeepLab's three answers.

    Takes float32 (n, h, w, 1) in 0..1, h and w multiples of 16. Gives logits of ink (n, h, w, 1),
    logits of a thing's centre (n, h/4, w/4, 1), and the way to it (n, h/2, w/2, 2), x and y in
    units of 32 pixels (Cheng et al., "Panoptic-DeepLab", CVPR 2020).
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
    way = layers.Conv2D(2, 1, name="way")(half)
    return keras.Model(picture, [ink, centre, way])


@keras.saving.register_keras_serializable("digits")
class SpaceToDepth(layers.Layer):  # type: ignore[misc]
    """Four neighbours to four channels."""

    def call(self, x: Any) -> Any:  # noqa: D102
        return tf.nn.space_to_depth(x, 2)

    def compute_output_shape(self, shape: Any) -> Any:  # noqa: D102
        return (shape[0], None, None, 4 * shape[3])


@keras.saving.register_keras_serializable("digits")
class DepthToSpace(layers.Layer):  # type: ignore[misc]
    """Four channels to four neighbours."""

    def call(self, x: Any) -> Any:  # noqa: D102
        return tf.nn.depth_to_space(x, 2)

    def compute_output_shape(self, shape: Any) -> Any:  # noqa: D102
        return (shape[0], None, None, shape[3] // 4)


@dataclass(frozen=True)
class Examples:
    """Scenes of one shape, and what the network should say of them, as small whole numbers.

    Attributes
    ----------
    picture, ink : uint8 (n, h, w)
        What it is shown, and how much of each pixel is ink, 0 to 255.
    centre : uint8 (n, h/4, w/4)
        255 at the middle of a thing, falling off as its size has it.
    way : int16 (n, h/2, w/2, 2)
        From each place with ink to the middle of its thing, x and y, sixteenths of a pixel.
    size : uint8 (n, h/2, w/2)
        The longer side of that thing, pixels up to 255; 0 where there is no ink.
    """

    picture: Bytes
    ink: Bytes
    centre: Bytes
    way: NDArray[np.int16]
    size: Bytes

    def __len__(self) -> int:
        return len(self.picture)


def example(seed: int) -> Examples:
    """Paint a scene and say what is right about it; n is 1."""
    scene = rendered_pages.render(seed)
    picture, (height, width) = finder.fitted(scene.grey)
    ink, owner = np.zeros_like(picture), np.zeros_like(picture)
    small = Image.fromarray(scene.ink).resize((width, height), Image.Resampling.BILINEAR)
    ink[:height, :width] = np.round(np.asarray(small).clip(0, 1) * 255)
    owned = Image.fromarray(scene.owner).resize((width, height), Image.Resampling.NEAREST)
    owner[:height, :width] = np.asarray(owned)
    centre, way, size = _targets(ink, owner)
    return Examples(picture[None], ink[None], centre[None], way[None], size[None])


def _targets(ink: Bytes, owner: Bytes) -> tuple[Bytes, NDArray[np.int16], Bytes]:
    """Centres, ways and sizes, as a `Examples` has them."""
    height, width = ink.shape
    inks, owners = _blocks(ink), _blocks(owner)
    darkest = inks.argmax(-1)[..., None]
    half = np.take_along_axis(owners, darkest, -1)[..., 0] * (inks.max(-1) > _INKED)
    centre = np.zeros((height // CELL, width // CELL), np.float32)
    way = np.zeros((*half.shape, 2), np.int16)
    size = np.zeros(half.shape, np.uint8)
    y, x = np.mgrid[: height // CELL, : width // CELL] * CELL + (CELL - 1) / 2
    for number in np.unique(half[half > 0]):
        rows, columns = np.nonzero((owner == number) & (ink > _INKED))
        if len(rows) < 4:
            continue
        top, bottom, left, right = rows.min(), rows.max(), columns.min(), columns.max()
        middle_y, middle_x = (top + bottom) / 2, (left + right) / 2
        side = max(bottom - top, right - left) + 1
        spread = max(2.5, 0.1 * side)
        far = (y - middle_y) ** 2 + (x - middle_x) ** 2
        centre = np.maximum(centre, np.exp(-far / (2 * spread**2)))
        at_y, at_x = np.nonzero(half == number)
        way[at_y, at_x, 0] = np.round((middle_x - (at_x * HALF + 0.5)) * 16)
        way[at_y, at_x, 1] = np.round((middle_y - (at_y * HALF + 0.5)) * 16)
        size[at_y, at_x] = min(side, 255)
    return np.round(centre * 255).astype(np.uint8), way, size


def _blocks(plane: Bytes) -> Bytes:
    """The pixels of each place of the ways' map, (h/2, w/2, 4)."""
    height, width = (side // HALF for side in plane.shape)
    blocks = plane.reshape(height, HALF, width, HALF).swapaxes(1, 2)
    return np.asarray(blocks.reshape(height, width, HALF * HALF))


def loss(said: Any, ink: Any, centre: Any, way: Any, size: Any) -> tuple[Any, Any, Any]:
    """How wrong the three answers are: each one's loss."""
    inks, centres, ways = said
    inks, centres = inks[..., 0], centres[..., 0]
    ink = tf.cast(ink, tf.float32) / 255
    cross = tf.nn.sigmoid_cross_entropy_with_logits(ink, inks) * (1 + 2 * ink)
    share = tf.sigmoid(inks)
    together = tf.reduce_sum(share * ink, (1, 2))
    dice = 1 - (2 * together + 20) / (tf.reduce_sum(share + ink, (1, 2)) + 20)
    of_ink = tf.reduce_mean(cross) * 10 + tf.reduce_mean(dice)

    centre = tf.cast(centre, tf.float32) / 255
    heat = tf.sigmoid(centres)
    fall = (1 - centre) ** 4  # penalty-reduced focal loss (Law and Deng, "CornerNet", ECCV 2018)
    is_centre = tf.cast(centre > 0.9, tf.float32)
    wrong = -is_centre * (1 - heat) ** 2 * tf.math.log_sigmoid(centres)
    wrong -= (1 - is_centre) * fall * heat**2 * tf.math.log_sigmoid(-centres)
    of_centre = tf.reduce_sum(wrong) / (tf.reduce_sum(is_centre) + 8)

    inked = tf.cast(size > 0, tf.float32)
    side = tf.maximum(tf.cast(size, tf.float32), 8)
    miss = tf.abs(tf.cast(way, tf.float32) / 16 - ways * UNIT)
    miss = tf.reduce_sum(miss, -1) / side * inked
    of_way = tf.reduce_sum(miss) / (tf.reduce_sum(inked) + 1)
    return of_ink, of_centre, of_way


def litert(served: keras.Model) -> bytes:
    """The network in LiteRT's form, for pictures of any size."""
    with redirect_stdout(io.StringIO()):
        converted: bytes = tf.lite.TFLiteConverter.from_keras_model(served).convert()
    return converted


def main(
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where the network is written.")
    ] = Path("segmenter"),
    count: Annotated[int, typer.Option(help="Scenes to paint.")] = 12_000,
    epochs: Annotated[int, typer.Option(help="How often each is shown.")] = 6,
    seed: Annotated[int, typer.Option(help="Of weights, order and light.")] = 1,
) -> None:
    """Render pages, train on them and write the network, with the shipped thresholds."""
    if out.resolve().is_relative_to(bundle.SHIPPED.resolve()):
        raise typer.BadParameter(
            f"{out} is in the bundle that ships; write elsewhere, then put the network in a bundle"
            " with `python -m training_job.assemble`.",
            param_hint="--out",
        )
    progress = RunProgress()
    keras.utils.set_random_seed(seed)
    lessons = _rendered_examples(count, progress)
    rng = np.random.default_rng(seed)
    steps = epochs * sum(len(one) // _BATCH for one in lessons)
    run = _SegmenterTrainer(steps)
    shown: Queue[list[NDArray[Any]]] = Queue(8)
    Thread(target=_feed, args=(lessons, shown, rng), daemon=True).start()
    with progress.bar(steps) as advance:
        losses = np.zeros(3)
        for step in range(1, steps + 1):
            losses += np.array(run.step(*map(tf.constant, shown.get()))) / 100
            advance()
            if step % 100 == 0:
                ink, centre, way = losses.tolist()
                progress.say(f"step {step}/{steps}", ink=ink, centre=centre, way=way)
                losses[:] = 0
    save(run.model, out)
    progress.say(f"wrote the segmentation network to {out}")


def save(trained: keras.Model, out: Path) -> None:
    """Write the network to the folder `out`, for Keras and for LiteRT, and a configuration.

    The configuration is the shipped one: its thresholds are yet to be fitted for this network.
    """
    served = network(training=False)
    served.set_weights(trained.get_weights())
    out.mkdir(parents=True, exist_ok=True)
    served.save(out / segmentation.KERAS)
    (out / SEGMENTER).write_bytes(litert(served))
    (out / CONFIG).write_bytes((bundle.SHIPPED / CONFIG).read_bytes())


def _rendered_examples(count: int, progress: RunProgress) -> list[Examples]:
    """Paint scenes in all processes; the upright and the lying ones apart."""
    painted: dict[tuple[int, ...], list[Examples]] = {}
    with ProcessPoolExecutor() as pool, progress.bar(count) as advance:
        for one in pool.map(example, range(_FIRST, _FIRST + count), chunksize=50):
            painted.setdefault(one.picture.shape, []).append(one)
            advance()
    return [
        Examples(*(np.concatenate(arrays) for arrays in zip(*map(_arrays, several), strict=True)))
        for several in painted.values()
    ]


def _arrays(one: Examples) -> tuple[NDArray[Any], ...]:
    return one.picture, one.ink, one.centre, one.way, one.size


class _SegmenterTrainer:
    """The network in training; a step is compiled once for each shape of pictures."""

    def __init__(self, steps: int) -> None:
        self.model = network(training=True)
        rate = OneCycle(_PEAK_RATE, steps, warm_up=0.07)
        optimizer = keras.optimizers.AdamW(rate, weight_decay=1e-3, clipnorm=1.0)
        optimizer.build(self.model.trainable_variables)

        @tf.function(jit_compile=True)  # type: ignore[untyped-decorator]
        def step(picture: Any, ink: Any, centre: Any, way: Any, size: Any) -> Any:
            with tf.GradientTape() as tape:
                said = self.model(picture[..., None], training=True)
                losses = loss(said, ink, centre, way, size)
                whole = losses[0] + losses[1] + 3 * losses[2]
            trained = self.model.trainable_variables
            optimizer.apply_gradients(zip(tape.gradient(whole, trained), trained, strict=True))
            return losses

        self.step = step


def _feed(
    lessons: list[Examples], shown: Queue[list[NDArray[Any]]], rng: np.random.Generator
) -> None:
    for one, places in _batches(lessons, rng):
        picture, *right = (array[places] for array in _arrays(one))
        shown.put([_relit(picture, rng), *right])


def _batches(
    lessons: list[Examples], rng: np.random.Generator
) -> Iterator[tuple[Examples, NDArray[np.intp]]]:
    """Batches of one shape each, in an order of chance, for ever."""
    while True:
        batches = []
        for one in lessons:
            order = rng.permutation(len(one))[: len(one) // _BATCH * _BATCH]
            batches += [(one, np.sort(batch)) for batch in order.reshape(-1, _BATCH)]
        for place in rng.permutation(len(batches)):
            yield batches[place]


def _relit(pictures: Bytes, rng: np.random.Generator) -> NDArray[np.float32]:
    """Other contrast, brightness, polarity and noise, (n, h, w) in 0..1."""
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
