"""Pictures from outside MNIST: how good a model is on what people send, not on what it was fed.

Each set goes through the recogniser's own decoding and preprocessing. The photos are painted from
the 5,000 digits that are held out of training; UCI's digits are by other hands altogether.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from digits import image, preprocess
from training_job import photos
from training_job.data import HELD_OUT, Mnist, Split

LEVELS: tuple[photos.Level, ...] = ("easy", "medium", "hard")
UCI = "uci 8x8"


@dataclass(frozen=True)
class Outside:
    """One set.

    Attributes
    ----------
    split
        The frames of the pictures in which a digit was found.
    pictures
        How many there were in all.
    sha256
        Over all of them: two models are compared on the same ones.
    """

    split: Split
    pictures: int
    sha256: str


def sets(mnist: Mnist, photos_a_level: int) -> dict[str, Outside]:
    """Every set by its name: ``photos easy``, ``photos medium``, ``photos hard`` and ``uci 8x8``.

    The same pictures each time, so that two models are compared on the same ones. `photos_a_level`
    is at most 5,000, the digits that are held out.
    """
    found = {f"photos {level}": _of(_photos(mnist, level, photos_a_level)) for level in LEVELS}
    return found | {UCI: _of(_uci())}


def _photos(mnist: Mnist, level: photos.Level, count: int) -> Iterator[tuple[bytes, int]]:
    chosen = np.random.default_rng(LEVELS.index(level)).permutation(HELD_OUT)[:count]
    for index in chosen:
        digit = np.round(mnist.held_out.x[index, ..., 0] * 255).astype(np.uint8)
        truth = int(mnist.held_out.y[index])
        yield photos.photo(digit, truth, level=level, seed=int(index)).data, truth


def _uci() -> Iterator[tuple[bytes, int]]:
    """1,797 digits, 8×8 in 17 levels (Alpaydin and Kaynak, UCI Machine Learning Repository)."""
    digits = load_digits()
    for levels, truth in zip(digits.images, digits.target, strict=True):
        buffer = io.BytesIO()
        Image.fromarray(np.round(levels * (255 / 16)).astype(np.uint8)).save(buffer, "PNG")
        yield buffer.getvalue(), int(truth)


def _of(pictures: Iterator[tuple[bytes, int]]) -> Outside:
    frames, truths, count, digest = [], [], 0, hashlib.sha256()
    for data, truth in pictures:
        count += 1
        digest.update(data)
        mark = preprocess.single(image.decode(data)).mark
        if mark is not None:
            frames.append(mark.frame)
            truths.append(truth)
    x = np.stack(frames)[..., np.newaxis]
    return Outside(Split(x, np.array(truths, np.uint8)), count, digest.hexdigest())
