"""How many images a second the labels function labels, with real boto3 and S3 answered here.

    python -m benchmarks.batch
    python -m benchmarks.batch --rounds 100 --record

Batches of ten messages through the real handler on one core. Requests are made, signed and parsed
by boto3 and answered before they would go out, at once or after as long as S3 takes. At once: what
a core can do, beside what boto3 alone needs for the same calls. After a wait: how much of it is
spent waiting, beside the same images one a batch, which can wait for nothing together.
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
from benchmarks.functions import Function
from benchmarks.side_by_side import Bar, Row, Way
from digits.labels.label import label_key
from digits.quiet import nothing_on_stderr
from infra.local.events import of_queue

IMAGES, LABELS = "images", "labels"
BATCH = 10  # template.yaml
S3_SECONDS = 0.020
OURS, BOTO = "labels handler", "boto3 alone: head, get, put"
WAITING, SINGLY = (f"{it}, S3 after 20 ms" for it in ("by ten", "one by one"))


class LocalS3:
    """Answers S3's requests in this process.

    Attributes
    ----------
    seconds
        How long each answer takes.
    labels
        How many labels were put.
    """

    def __init__(self, files: list[bytes]) -> None:
        self.seconds = 0.0
        self.labels = 0
        self._files = files
        self._lock = threading.Lock()

    def answer(self, request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        """What botocore takes for the answer: an image, no label yet, or a label that was put."""
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
    """A body as botocore reads it."""

    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        yield self.read()


def main(
    rounds: Annotated[int, typer.Option(help="Batches of each kind.", min=1)] = 60,
    record: side_by_side.Record = False,
) -> None:
    """Label batches in turns and print the table."""
    side_by_side.on_one_core()
    s3 = LocalS3(samples.small(200))
    session = botocore.session.get_session()
    session.register("before-send.s3", s3.answer)  # type: ignore[arg-type]
    boto3.setup_default_session(botocore_session=session)
    with nothing_on_stderr():
        handler = Function("s3_labels", {"DIGITS_MODELS": "", "DIGITS_LABELS_BUCKET": LABELS})
        numbers = count()
        ways = {
            OURS: _rate(s3, time.process_time, 0, lambda: _label(handler, s3, numbers, BATCH)),
            BOTO: _rate(s3, time.process_time, 0, _with_boto3(numbers)),
            WAITING: _rate(
                s3, time.perf_counter, S3_SECONDS, lambda: _label(handler, s3, numbers, BATCH)
            ),
            SINGLY: _rate(s3, time.perf_counter, S3_SECONDS, lambda: _singly(handler, s3, numbers)),
        }
        rates = side_by_side.in_turns(ways, rounds)
    bars = {OURS: (Bar("median", "≥", 500),)}
    against = {OURS: (BOTO,), WAITING: (SINGLY,)}
    rows = [
        Row(name, them, "a second", bars.get(name, ()), against.get(name, ()))
        for name, them in rates.items()
    ]
    side_by_side.tell("batch", "images labelled, one core", rows, record=record)


def _label(handler: Function, s3: LocalS3, numbers: Iterator[int], size: int) -> None:
    keys = [f"{next(numbers)}.png" for _ in range(size)]
    before = s3.labels
    answer = handler(of_queue(IMAGES, keys))
    if answer["batchItemFailures"] or s3.labels - before != size:
        raise RuntimeError(f"Not all were labelled: {answer}")


def _singly(handler: Function, s3: LocalS3, numbers: Iterator[int]) -> None:
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
) -> Way:
    """How many images a second, by the clock or of this process's time; `action` does `BATCH`."""

    def way() -> float:
        s3.seconds = seconds
        started = clock()
        action()
        return BATCH / (clock() - started)

    return way


if __name__ == "__main__":
    typer.run(main)
