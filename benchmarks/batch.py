"""Throughput of the labels function, with real boto3 and simulated responses of S3.

    python -m benchmarks.batch
    python -m benchmarks.batch --rounds 100 --record

The handler processes batches of ten messages on one core. boto3 builds and signs the requests and
parses the responses, which are returned in this process, at once or after S3's usual latency. The
first shows the throughput of a core, compared with boto3 alone for the same calls. The second shows
how far waits overlap, compared with batches of one image, in which none can.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import Annotated, Any

import boto3
import botocore.session
import typer
from botocore.awsrequest import AWSPreparedRequest, AWSResponse

from benchmarks import samples, side_by_side
from benchmarks.functions import LambdaFunction
from benchmarks.side_by_side import Measurement, Series, Target
from digits.labels.label import label_key
from digits.quiet import nothing_on_stderr
from infra.local.events import of_queue

IMAGES, LABELS = "images", "labels"
BATCH = 10  # template.yaml
S3_SECONDS = 0.020  # assumed latency of S3
OURS, BOTO = "labels handler", "boto3 alone: head, get, put"
WAITING, SINGLY = (f"{it}, S3 after 20 ms" for it in ("by ten", "one by one"))


class LocalS3:
    """Simulates S3 in this process.

    Parameters
    ----------
    files
        The images; object number n is file n modulo their number.

    Attributes
    ----------
    seconds
        Latency of each response.
    labels
        Number of labels that were put so far.
    """

    def __init__(self, files: list[bytes]) -> None:
        self.seconds = 0.0
        self.labels = 0
        self._files = files
        self._lock = threading.Lock()

    def answer(self, request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        """Return botocore's response object: an image, 404 for a label, or success of a PUT."""
        time.sleep(self.seconds)
        headers: Any = {"ETag": '"0123456789abcdef0123456789abcdef"', "x-amz-request-id": "1"}
        if request.method == "HEAD":
            return AWSResponse(request.url, 404, headers, _Raw(b""))
        if request.method == "PUT":
            with self._lock:
                self.labels += 1
            return AWSResponse(request.url, 200, headers, _Raw(b""))
        number = int(request.url.rpartition("/")[2].partition(".")[0])
        data = self._files[number % len(self._files)]
        headers |= {"Content-Length": str(len(data)), "Content-Type": "image/png"}
        return AWSResponse(request.url, 200, headers, _Raw(data))


class _Raw(io.BytesIO):
    """A response body with the interface that botocore needs."""

    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        yield self.read()


def main(
    rounds: Annotated[int, typer.Option(help="Number of batches of each kind.", min=1)] = 60,
    record: side_by_side.RecordOption = False,
) -> None:
    """Measure all implementations in each round and print the table."""
    side_by_side.on_one_core()
    s3 = LocalS3(samples.small(200))
    session = botocore.session.get_session()
    session.register("before-send.s3", s3.answer)  # type: ignore[arg-type]
    boto3.setup_default_session(botocore_session=session)
    with nothing_on_stderr():
        handler = LambdaFunction("s3_labels", {"DIGITS_MODELS": "", "DIGITS_LABELS_BUCKET": LABELS})
        numbers = count()
        measurements = {
            OURS: _rate(s3, time.process_time, 0, lambda: _label(handler, s3, numbers, BATCH)),
            BOTO: _rate(s3, time.process_time, 0, _with_boto3(numbers)),
            WAITING: _rate(
                s3, time.perf_counter, S3_SECONDS, lambda: _label(handler, s3, numbers, BATCH)
            ),
            SINGLY: _rate(s3, time.perf_counter, S3_SECONDS, lambda: _singly(handler, s3, numbers)),
        }
        rates = side_by_side.in_turns(measurements, rounds)
    bars = {OURS: (Target("median", "≥", 500),)}
    against = {OURS: (BOTO,), WAITING: (SINGLY,)}
    rows = [
        Series(name, them, "a second", bars.get(name, ()), against.get(name, ()))
        for name, them in rates.items()
    ]
    side_by_side.report("batch", "images labelled, one core", rows, record=record)


def _label(handler: LambdaFunction, s3: LocalS3, numbers: Iterator[int], size: int) -> None:
    keys = [f"{next(numbers)}.png" for _ in range(size)]
    before = s3.labels
    answer = handler(of_queue(IMAGES, keys))
    if answer["batchItemFailures"] or s3.labels - before != size:
        raise RuntimeError(f"Some images got no label: {answer}")


def _singly(handler: LambdaFunction, s3: LocalS3, numbers: Iterator[int]) -> None:
    for _ in range(BATCH):
        _label(handler, s3, numbers, 1)


def _with_boto3(numbers: Iterator[int]) -> Callable[[], None]:
    client = boto3.client("s3")

    def action() -> None:
        for _ in range(BATCH):
            key = f"{next(numbers)}.png"
            try:
                client.head_object(Bucket=LABELS, Key=label_key(key))
            except client.exceptions.ClientError:
                client.get_object(Bucket=IMAGES, Key=key)["Body"].read()
            client.put_object(Bucket=LABELS, Key=label_key(key), Body=b"{}", IfNoneMatch="*")

    return action


def _rate(
    s3: LocalS3, clock: Callable[[], float], seconds: float, action: Callable[[], object]
) -> Measurement:
    """Measure images per second of an action that labels `BATCH` images, by the given clock."""

    def way() -> float:
        s3.seconds = seconds
        started = clock()
        action()
        return BATCH / (clock() - started)

    return way


if __name__ == "__main__":
    typer.run(main)
