"""How long one request takes: through the real handler, event in, response out, on one core.

    python -m benchmarks.latency
    python -m benchmarks.latency --rounds 300 --record

Each size of picture beside what Pillow alone needs to decode it, in turns; and the preprocessing
without anything around it: decoding, telling ink from paper, the frame of the largest mark.
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
from benchmarks.functions import Function
from benchmarks.side_by_side import Bar, Row, timed
from digits import image, preprocess
from digits.quiet import nothing_on_stderr
from infra.local.events import of_gateway

PNG, MEGAPIXEL, JPEG = "28×28 PNG", "1 MP PNG", "12 MP JPEG"
HANDLER, PREPROCESSING = "handler, {}", "preprocessing, {}"
TENSORFLOW = "TensorFlow's handler, 28×28 PNG"
DECODED = {MEGAPIXEL: "decoding a 1 MP PNG", JPEG: "draft-decoding a 12 MP JPEG"}
FROM_BASE64 = "the same and base64"
BARS = {
    HANDLER.format(PNG): (Bar("median", "≤", 1.5), Bar("p99", "≤", 4)),
    HANDLER.format(MEGAPIXEL): (Bar("ratio", "≤", 1.6, DECODED[MEGAPIXEL]),),
    HANDLER.format(JPEG): (Bar("ratio", "≤", 1.6, FROM_BASE64),),
    PREPROCESSING.format(PNG): (Bar("median", "≤", 0.5),),
    PREPROCESSING.format(MEGAPIXEL): (Bar("ratio", "≤", 1.5, DECODED[MEGAPIXEL]),),
    PREPROCESSING.format(JPEG): (Bar("ratio", "≤", 1.4, DECODED[JPEG]),),
}


def main(
    rounds: Annotated[int, typer.Option(help="Of all ways in turns.", min=1)] = 100,
    tensorflow: Annotated[
        bool, typer.Option(help="The reference on TensorFlow, too; importing it takes a while.")
    ] = True,
    record: side_by_side.Record = False,
) -> None:
    """Time every way in turns and print the table."""
    side_by_side.on_one_core()
    files = {
        PNG: samples.small(100),
        MEGAPIXEL: [samples.photo_png(number, (1154, 866)) for number in range(5)],
        JPEG: [samples.large_jpeg(number) for number in range(5)],
    }
    with nothing_on_stderr():
        handler = Function("http_api", {"DIGITS_MODELS": ""})
        handler(_event(files[PNG][0], "image/png"))
        ways = {
            HANDLER.format(name): _each(handler, [_event(it, _type(name)) for it in data])
            for name, data in files.items()
        }
        if tensorflow:
            ways[TENSORFLOW] = _each(_reference(), [_event(it, "") for it in files[PNG]])
    ways[DECODED[MEGAPIXEL]] = _each(_decode, files[MEGAPIXEL])
    ways[DECODED[JPEG]] = _each(_draft, files[JPEG])
    encoded = [base64.b64encode(data).decode() for data in files[JPEG]]
    ways[FROM_BASE64] = _each(lambda text: _draft(base64.b64decode(text)), encoded)
    for name, data in files.items():
        ways[PREPROCESSING.format(name)] = _each(_preprocess, data)
    # What TensorFlow brought is not searched for garbage at the others' expense.
    gc.collect()
    gc.freeze()
    times = side_by_side.in_turns({name: timed(way) for name, way in ways.items()}, rounds)
    rows = [
        Row(name, them, "ms", BARS.get(name, ()), _against(name, tensorflow))
        for name, them in times.items()
    ]
    side_by_side.tell("latency", "one request, one core", rows, record=record)


def _against(name: str, tensorflow: bool) -> tuple[str, ...]:
    return (TENSORFLOW,) if tensorflow and name == HANDLER.format(PNG) else ()


def _each(action: Callable[[Any], object], inputs: list[Any]) -> Callable[[], object]:
    """The action on the next input, over and over."""
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
    """At 1/8 scale and in grey, straight from the JPEG's coefficients."""
    picture = Image.open(io.BytesIO(data))
    picture.draft("L", (picture.width // 8, picture.height // 8))
    picture.load()


def _preprocess(data: bytes) -> None:
    preprocess.largest(image.decode(data))


if __name__ == "__main__":
    typer.run(main)
