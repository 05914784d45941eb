"""External evaluation: recognition of images that are not MNIST's.

The images are files and pass through decoding and all of recognition. Synthetic photos are rendered
from the 5,000 held-out digits of MNIST; UCI's digits have other writers.
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
from digits.recognition.classification import ClassifyFrames
from training_job import synthetic_photos
from training_job.data import HELD_OUT_IMAGES, Mnist
from training_job.evaluate import Labels, Probabilities

LEVELS: tuple[synthetic_photos.Level, ...] = ("easy", "medium", "hard")
UCI = "uci 8x8"


@dataclass(frozen=True)
class ExternalSet:
    """The answers of one model on one external set.

    Attributes
    ----------
    probabilities : float64 (m, 10)
        Calibrated probabilities of each mark that was found.
    truths : uint8 (m,)
        The true digit of the image of each mark.
    accepted : bool (m,)
        Whether the answer is accepted, that is needs no review.
    pictures
        Number of images in the set, with and without marks.
    sha256
        Digest of all images. Two models are compared only on sets with the same digest.
    """

    probabilities: Probabilities
    truths: Labels
    accepted: NDArray[np.bool_]
    pictures: int
    sha256: str


def sets(
    mnist: Mnist, classify_frames: ClassifyFrames, segmenter: Segmenter, photos_per_level: int
) -> dict[str, ExternalSet]:
    """Recognise ``photos easy``, ``photos medium``, ``photos hard`` and ``uci 8x8``.

    The images are the same in each call. `photos_per_level` is at most 5,000, the number of
    held-out digits.
    """
    found = {
        f"photos {level}": _read(
            _photos(mnist, level, photos_per_level), classify_frames, segmenter
        )
        for level in LEVELS
    }
    return found | {UCI: _read(_uci(), classify_frames, segmenter)}


def _photos(mnist: Mnist, level: synthetic_photos.Level, count: int) -> Iterator[tuple[bytes, int]]:
    chosen = np.random.default_rng(LEVELS.index(level)).permutation(HELD_OUT_IMAGES)[:count]
    for index in chosen:
        digit = np.round(mnist.held_out.x[index, ..., 0] * 255).astype(np.uint8)
        truth = int(mnist.held_out.y[index])
        yield synthetic_photos.photo(digit, truth, level=level, seed=int(index)).data, truth


def _uci() -> Iterator[tuple[bytes, int]]:
    """Yield 1,797 digits of 8×8 pixels (Alpaydin and Kaynak, UCI Machine Learning Repository)."""
    digits = load_digits()
    for levels, truth in zip(digits.images, digits.target, strict=True):
        buffer = io.BytesIO()
        Image.fromarray(np.round(levels * (255 / 16)).astype(np.uint8)).save(buffer, "PNG")
        yield buffer.getvalue(), int(truth)


def _read(
    pictures: Iterator[tuple[bytes, int]], classify_frames: ClassifyFrames, segmenter: Segmenter
) -> ExternalSet:
    rows, truths, accepted, count, digest = [], [], [], 0, hashlib.sha256()
    for data, truth in pictures:
        count += 1
        digest.update(data)
        lines, several = reading.main(reading.read(image.decode(data), classify_frames, segmenter))
        for found in (one for line in lines for one in line):
            rows.append(found.probabilities)
            truths.append(truth)
            accepted.append(found.accepted and not several)
    return ExternalSet(
        np.array(rows).reshape(-1, 10),
        np.array(truths, np.uint8),
        np.array(accepted, np.bool_),
        count,
        digest.hexdigest(),
    )
