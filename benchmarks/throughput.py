"""Throughput of classification on one core, in MNIST-size PNGs per second, from bytes to result.

    python -m benchmarks.throughput
    python -m benchmarks.throughput --rounds 50 --record

It is compared with a function on TensorFlow like AWS's template, and with the same network in
TensorFlow and ONNX Runtime on batches of the same size. The network alone is an upper bound: it
runs in float32, and faster arithmetic would change its results.
"""

from __future__ import annotations

import base64
import io
import os
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image

from benchmarks import mnist, onnx_model, samples, side_by_side
from benchmarks.side_by_side import Measurement, Series, Target
from digits import Classifier, image
from digits.quiet import nothing_on_stderr
from digits.registry import bundle

AT_ONCE = 64  # pictures per batch
TEMPLATE = "TensorFlow, AWS's template"
OURS = f"ours, {AT_ONCE} at once"


def main(
    rounds: Annotated[int, typer.Option(help="Number of rounds.", min=1)] = 30,
    record: side_by_side.RecordOption = False,
) -> None:
    """Measure all implementations in each round and print the table."""
    side_by_side.on_one_core()
    files = samples.small(AT_ONCE)
    with nothing_on_stderr():
        classifier = Classifier(bundle.load())
        measurements = {**_ours(classifier, files), **_theirs(files)}
        rates = side_by_side.in_turns(measurements, rounds)
    bars = {OURS: (Target("median", "≥", 3_000), Target("ratio", "≥", 15, TEMPLATE))}
    rows = [Series(name, them, "a second", bars.get(name, ())) for name, them in rates.items()]
    side_by_side.report("throughput", "28×28 PNGs, bytes to result, one core", rows, record=record)


def _ours(classifier: Classifier, files: list[bytes]) -> dict[str, Measurement]:
    frames = mnist.test_images()[0][:AT_ONCE] / np.float32(255)
    return {
        OURS: _rate(lambda: classifier.read_all([image.decode(file) for file in files])),
        "ours, one by one": _rate(lambda: [classifier.classify(file) for file in files]),
        "decoding alone": _rate(lambda: [image.decode(file) for file in files]),
        f"the network alone, {AT_ONCE} at once": _rate(lambda: classifier.logits(frames)),
        "the network alone, one by one": _rate(
            lambda: [classifier.logits(frame[np.newaxis]) for frame in frames]
        ),
    }


def _theirs(files: list[bytes]) -> dict[str, Measurement]:
    keras = bundle.SHIPPED / "mnist_cnn.keras"
    os.environ["MODEL"] = str(keras)
    from benchmarks.references import reference  # noqa: PLC0415 - brings TensorFlow

    with TemporaryDirectory() as folder:
        onnx_model.write(keras, Path(folder) / "model.onnx")
        os.environ["MODEL"] = str(Path(folder) / "model.onnx")
        from benchmarks.references import onnx_runtime  # noqa: PLC0415 - loads the model

    events: list[dict[str, Any]] = [{"body": base64.b64encode(file).decode()} for file in files]

    def frames() -> NDArray[np.float32]:
        planes = np.stack([np.asarray(Image.open(io.BytesIO(file))) for file in files])
        return planes[..., np.newaxis].astype(np.float32)

    return {
        TEMPLATE: _rate(lambda: [reference.handler(event, None) for event in events]),
        f"TensorFlow, {AT_ONCE} at once": _rate(
            lambda: reference.model(frames()).numpy().argmax(axis=1)
        ),
        f"ONNX Runtime, {AT_ONCE} at once": _rate(
            lambda: onnx_runtime.session.run(None, {"image": frames() / 255})[0].argmax(axis=1)
        ),
    }


def _rate(action: Callable[[], object]) -> Measurement:
    """Measure pictures per second of processor time, of an action that reads `AT_ONCE` pictures."""

    def way() -> float:
        started = time.process_time()
        action()
        return AT_ONCE / (time.process_time() - started)

    return way


if __name__ == "__main__":
    typer.run(main)
