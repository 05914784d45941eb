"""Load MNIST from the repository, a path, S3 or Keras, and check it against known digests."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training_job.errors import TrainingError

BUNDLED = Path(__file__).parent / "data/mnist.npz"
HELD_OUT_IMAGES = 5_000  # a standard error of 0.08 points at an accuracy of 99.7 %
NOT_A_DIGIT = 10  # label of negatives

SHAPES = {
    "x_train": (60_000, 28, 28),
    "y_train": (60_000,),
    "x_test": (10_000, 28, 28),
    "y_test": (10_000,),
}
TRAINING_IMAGES = SHAPES["x_train"][0] - HELD_OUT_IMAGES

# SHA-256 of the arrays' bytes, uint8, in C order; computed from the file that Keras publishes.
DIGESTS = {
    "x_train": "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
    "y_train": "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
    "x_test": "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
    "y_test": "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
}


@dataclass(frozen=True)
class Split:
    """Images, float32 (n, 28, 28, 1) in 0..1, white on black, and labels, uint8 (n,).

    Negatives, which only training sets have, are labelled `NOT_A_DIGIT`.
    """

    x: NDArray[np.float32]
    y: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class Mnist:
    """55,000 training images, 5,000 held out for choices, and 10,000 test images for no choice."""

    train: Split
    held_out: Split
    test: Split


def load(source: str = str(BUNDLED)) -> Mnist:
    """Load MNIST (LeCun, Cortes and Burges, http://yann.lecun.com/exdb/mnist/) and split it.

    Parameters
    ----------
    source
        The path or ``s3://`` address of an ``mnist.npz`` as Keras publishes it, or ``keras`` to let
        Keras download it.

    Raises
    ------
    TrainingError
        If it cannot be read, or an array differs from MNIST's.
    """
    arrays = _checked(_from_keras() if source == "keras" else _from_npz(source), source)
    x, y = _scaled(arrays["x_train"]), arrays["y_train"]
    return Mnist(
        train=Split(x[:-HELD_OUT_IMAGES], y[:-HELD_OUT_IMAGES]),
        held_out=Split(x[-HELD_OUT_IMAGES:], y[-HELD_OUT_IMAGES:]),
        test=Split(_scaled(arrays["x_test"]), arrays["y_test"]),
    )


def joined(one: Split, other: Split) -> Split:
    """Concatenate two splits."""
    return Split(np.concatenate([one.x, other.x]), np.concatenate([one.y, other.y]))


def _scaled(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.asarray(images[..., np.newaxis] / np.float32(255))


def _checked(arrays: dict[str, Any], source: str) -> dict[str, Any]:
    for name in DIGESTS:
        if not _is_mnist(name, arrays.get(name)):
            raise TrainingError(
                f"{name} in {source} is not MNIST's (its SHA-256 differs); use the mnist.npz in"
                " training_job/data."
            )
    return arrays


def _is_mnist(name: str, array: Any) -> bool:
    # The digest does not cover dtype and shape.
    if not isinstance(array, np.ndarray) or array.dtype != np.uint8 or array.shape != SHAPES[name]:
        return False
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest() == DIGESTS[name]


def _from_npz(source: str) -> dict[str, Any]:
    data = read_bytes(source, "--data")
    try:
        # Without pickle: a data file must not be able to run code.
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            return {name: file[name] for name in DIGESTS if name in file.files}
    except Exception as error:  # NumPy, zipfile and zlib raise many types for a broken file
        raise TrainingError(
            f"{source} is not an .npz file of arrays; give the mnist.npz that Keras publishes."
        ) from error


def read_bytes(source: str, option: str) -> bytes:
    """Read the file at a path or an ``s3://`` address, which the option `option` named.

    Raises
    ------
    TrainingError
        If it cannot be read.
    """
    if not source.startswith("s3://"):
        try:
            return Path(source).read_bytes()
        except OSError as error:
            raise TrainingError(
                f"Cannot read {source} ({error.strerror}); check {option}."
            ) from error

    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - for s3:// alone

    bucket, _, key = source.removeprefix("s3://").partition("/")
    try:
        data: bytes = _s3().get_object(Bucket=bucket, Key=key)["Body"].read()
    except (BotoCoreError, ClientError) as error:
        why = " ".join(str(error).split())  # some messages have several lines
        raise TrainingError(
            f"Cannot read {source} ({why}); check {option} and your credentials."
        ) from error
    return data


@cache
def _s3() -> Any:
    import boto3  # noqa: PLC0415 - only an s3:// address needs it

    return boto3.client("s3")


def _from_keras() -> dict[str, Any]:
    import keras  # noqa: PLC0415 - slow, and only this source needs it here

    try:
        (x_train, y_train), (x_test, y_test) = keras.datasets.mnist.load_data()
    except Exception as error:  # Keras raises a bare Exception where it cannot download
        raise TrainingError(
            "Keras cannot download MNIST; omit --data to use the copy in training_job/data."
        ) from error
    return {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}
