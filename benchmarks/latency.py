"""Latency of the HTTP function's handler, from event to response, on one core.

    python -m benchmarks.latency
    python -m benchmarks.latency --rounds 300 --record

Each size of picture is compared with the time that Pillow alone needs to decode it. Preprocessing
is also measured alone: decoding, binarisation, and the frame of the largest mark.
"""

from __future__ import annotations

import base64
import gc
import io
import os
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Annotated, Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import typer
from PIL import Image

from benchmarks import samples, side_by_side
from benchmarks.functions import LambdaFunction
from benchmarks.side_by_side import Series, Target, timed
from digits import image, preprocess
from digits.quiet import nothing_on_stderr
from infra.local.events import of_gateway

PNG, MEGAPIXEL, JPEG = "28×28 PNG", "1 MP PNG", "12 MP JPEG"
HANDLER, PREPROCESSING = "handler, {}", "preprocessing, {}"
TENSORFLOW = "TensorFlow's handler, 28×28 PNG"
DECODED = {MEGAPIXEL: "decoding a 1 MP PNG", JPEG: "draft-decoding a 12 MP JPEG"}
FROM_BASE64 = "the same and base64"
BARS = {
    HANDLER.format(PNG): (Target("median", "≤", 1.5), Target("p99", "≤", 4)),
    HANDLER.format(MEGAPIXEL): (Target("ratio", "≤", 1.6, DECODED[MEGAPIXEL]),),
    HANDLER.format(JPEG): (Target("ratio", "≤", 1.6, FROM_BASE64),),
    PREPROCESSING.format(PNG): (Target("median", "≤", 0.5),),
    PREPROCESSING.format(MEGAPIXEL): (Target("ratio", "≤", 1.5, DECODED[MEGAPIXEL]),),
    PREPROCESSING.format(JPEG): (Target("ratio", "≤", 1.4, DECODED[JPEG]),),
}


def main(
    rounds: Annotated[int, typer.Option(help="Number of rounds.", min=1)] = 100,
    tensorflow: Annotated[
        bool, typer.Option(help="Also measure the reference on TensorFlow, which loads slowly.")
    ] = True,
    record: side_by_side.RecordOption = False,
) -> None:
    """Measure all implementations in each round and print the table."""
    side_by_side.on_one_core()
    files = {
        PNG: samples.small(100),
        MEGAPIXEL: [samples.photo_png(number, (1154, 866)) for number in range(5)],
        JPEG: [samples.large_jpeg(number) for number in range(5)],
    }
    with nothing_on_stderr():
        handler = LambdaFunction("http_api", {"DIGITS_MODELS": ""})
        handler(_event(files[PNG][0], "image/png"))
        measurements = {
            HANDLER.format(name): _each(handler, [_event(it, _type(name)) for it in data])
            for name, data in files.items()
        }
        if tensorflow:
            measurements[TENSORFLOW] = _each(_reference(), [_event(it, "") for it in files[PNG]])
    measurements[DECODED[MEGAPIXEL]] = _each(_decode, files[MEGAPIXEL])
    measurements[DECODED[JPEG]] = _each(_draft, files[JPEG])
    encoded = [base64.b64encode(data).decode() for data in files[JPEG]]
    measurements[FROM_BASE64] = _each(lambda text: _draft(base64.b64decode(text)), encoded)
    for name, data in files.items():
        measurements[PREPROCESSING.format(name)] = _each(_preprocess, data)
    # Otherwise garbage collection would also visit TensorFlow's objects, in all measurements.
    gc.collect()
    gc.freeze()
    times = side_by_side.in_turns({name: timed(way) for name, way in measurements.items()}, rounds)
    rows = [
        Series(name, them, "ms", BARS.get(name, ()), _against(name, tensorflow))
        for name, them in times.items()
    ]
    side_by_side.report("latency", "one request, one core", rows, record=record)


def _against(name: str, tensorflow: bool) -> tuple[str, ...]:
    return (TENSORFLOW,) if tensorflow and name == HANDLER.format(PNG) else ()


def _each(action: Callable[[Any], object], inputs: list[Any]) -> Callable[[], object]:
    """Return a function that calls the action with the next input, cyclically."""
    following = cycle(inputs)
    return lambda: action(next(following))


def _event(data: bytes, content_type: str) -> dict[str, Any]:
    return of_gateway("POST", "/classify", headers={"Content-Type": content_type}, body=data)


def _type(name: str) -> str:
    return "image/jpeg" if name == JPEG else "image/png"


def _reference() -> Callable[[Any], object]:
    os.environ["MODEL"] = str(Path(image.__file__).parent / "model/mnist_cnn.keras")
    from benchmarks.references import reference  # noqa: PLC0415 - brings TensorFlow

    return lambda event: reference.handler(event, None)


def _decode(data: bytes) -> None:
    Image.open(io.BytesIO(data)).load()


def _draft(data: bytes) -> None:
    """Decode at 1/8 scale and in grey, from the JPEG's coefficients."""
    picture = Image.open(io.BytesIO(data))
    picture.draft("L", (picture.width // 8, picture.height // 8))
    picture.load()


def _preprocess(data: bytes) -> None:
    preprocess.largest(image.decode(data))


if __name__ == "__main__":
    typer.run(main)
