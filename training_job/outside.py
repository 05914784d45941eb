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
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

from digits import image, reading
from digits.finder import Segmenter
from digits.reading import ClassifyFrames
from training_job import photos
from training_job.data import HELD_OUT, Mnist
from training_job.evaluate import Labels, Probabilities

LEVELS: tuple[photos.Level, ...] = ("easy", "medium", "hard")
UCI = "uci 8x8"


@dataclass(frozen=True)
class Outside:
    """One set, read by one model.

    Attributes
    ----------
    probabilities : float64 (m, 10)
        Of the digits in the pictures in which one was found.
    truths : uint8 (m,)
        What was in them.
    accepted : bool (m,)
        Whether the answer needs no review.
    pictures
        How many there were in all.
    sha256
        Over all of them: two models are compared on the same ones.
    """

    probabilities: Probabilities
    truths: Labels
    accepted: NDArray[np.bool_]
    pictures: int
    sha256: str


def sets(
    mnist: Mnist, judge: ClassifyFrames, segmenter: Segmenter, photos_a_level: int
) -> dict[str, Outside]:
    """Read every set: ``photos easy``, ``photos medium``, ``photos hard`` and ``uci 8x8``.

    The same pictures each time, so that two models are compared on the same ones. `photos_a_level`
    is at most 5,000, the digits that are held out.
    """
    found = {f"photos {level}": _read(_photos(mnist, level, photos_a_level), judge, segmenter)
             for level in LEVELS}  # fmt: skip
    return found | {UCI: _read(_uci(), judge, segmenter)}


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


def _read(
    pictures: Iterator[tuple[bytes, int]], judge: ClassifyFrames, segmenter: Segmenter
) -> Outside:
    rows, truths, accepted, count, digest = [], [], [], 0, hashlib.sha256()
    for data, truth in pictures:
        count += 1
        digest.update(data)
        lines, several = reading.main(reading.read(image.decode(data), judge, segmenter))
        for found in (one for line in lines for one in line):
            rows.append(found.probabilities)
            truths.append(truth)
            accepted.append(found.accepted and not several)
    return Outside(
        np.array(rows).reshape(-1, 10),
        np.array(truths, np.uint8),
        np.array(accepted, np.bool_),
        count,
        digest.hexdigest(),
    )
