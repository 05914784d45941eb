"""Measure a backfill in the local cloud, and estimate time and cost of 100 million objects on AWS.

    python -m benchmarks.backlog                20,000 objects in the local cloud, and the estimate
    python -m benchmarks.backlog --count 500

The objects are uploaded without notifications, so that they have no labels. The stack's state
machine then labels all of them, and runs once more to skip them. The local cloud passes one object
per call, where AWS passes batches of fifty, so its speed does not carry over; the test is that each
object gets the right label. The estimate uses the processor time and the S3 requests per object,
measured in this process in batches of fifty, and AWS's public prices.
"""

from __future__ import annotations

import io
import json
import os
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import boto3
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks import cost, machine, mnist
from digits.cli.labels import backlog
from digits.cli.labels.backfill import Backfill
from infra.local.cloud import ROOT, STACK, LocalCloud
from infra.local.processes import Processes, end_once

ESTIMATED_OBJECTS = 100_000_000
BATCH = 50  # objects per call: template.yaml
OVERLAPPED = 8  # objects that one call processes concurrently: lambda_predict/backfill.py
REQUEST_MS = 20  # assumed time of one S3 request
# US dollars, https://aws.amazon.com/step-functions/pricing/: each child of a distributed map is one
# transition of the parent run, and is billed as an Express run in addition.
TRANSITION = 25e-6
EXPRESS_REQUEST = 1e-6
EXPRESS_GB_SECOND = 0.00001667
EXPRESS_GB = 64 / 1024
S3_LIST = 5e-6
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html
S3_PUTS_A_SECOND = 3_500  # per prefix; S3 partitions a busy prefix over time
console = Console(soft_wrap=True, highlight=False, width=110)


def main(
    count: Annotated[int, typer.Option(help="Number of objects.")] = 20_000,
    port: Annotated[int, typer.Option(help="Port of the local cloud.")] = 4578,
    out: Annotated[Path | None, typer.Option(help="JSON file to write the figures to.")] = None,
) -> None:
    """Label objects in the local cloud, check all labels, and print the estimate for AWS."""
    end_once()
    with TemporaryDirectory() as folder, Processes(Path(folder) / "logs") as processes:
        cloud = LocalCloud(port)
        state = Path(folder) / "state"
        state.mkdir()
        cloud.start(processes, state)
        built = ROOT / ".local-cloud/build"
        cloud.build(processes, built)
        cloud.deploy(processes, built)
        os.environ |= {name: it for name, it in cloud.env.items() if name.startswith("AWS_")}
        figures = _measured(cloud, count)
    console.print(_table(f"{count:,} objects in the local cloud", figures))
    estimate = _estimate(figures)
    title = f"{ESTIMATED_OBJECTS:,} objects on AWS, estimated ({cost.PRICES_OF})"
    console.print(_table(title, estimate))
    console.print(machine.in_words(machine.described()))
    if out is not None:
        record = {"machine": machine.described(), **figures, "estimate": estimate}
        out.write_text(json.dumps(record, indent=2) + "\n")
    raise typer.Exit(1 if figures["without the right label"] else 0)


def _measured(cloud: LocalCloud, count: int) -> dict[str, Any]:
    s3, images = cloud.s3(), cloud.outputs()["ImagesBucket"]
    s3.put_bucket_notification_configuration(Bucket=images, NotificationConfiguration={})
    pixels, _ = mnist.test_images()
    files = [mnist.png(it) for it in pixels[: min(count, len(pixels))]]

    def put(number: int) -> None:
        key = f"backlog/{number:07d}.png"
        s3.put_object(Bucket=images, Key=key, Body=files[number % len(files)])

    with ThreadPoolExecutor(16) as pool:
        for _ in track(pool.map(put, range(count)), "putting", count, transient=True):
            pass
    where = backlog.places(f"s3://{images}/backlog/", STACK)
    first, again = _run(where), _run(where)
    found: Counter[str] = Counter()
    for page in backlog.states(where):
        found.update(page)
    right = found["labelled"] + found["for review"]
    return {
        "objects": count,
        "without the right label": count - right,
        "seconds to label all": round(first),
        "objects a second": round(count / first),
        "seconds to skip all": round(again),
        **_worker(cloud, images),
    }


def _run(where: backlog.Places) -> float:
    """Run the state machine once, and return its seconds."""
    started = time.perf_counter()
    run, _ = Backfill.start(where, relabel=False, inventory=None)
    for _ in run.watch():
        pass
    return time.perf_counter() - started


def _worker(cloud: LocalCloud, images: str) -> dict[str, float]:
    """Measure the worker's S3 requests and processor time per object, in this process."""
    found = cloud.outputs()
    os.environ |= {
        "DIGITS_IMAGES_BUCKET": images,
        "DIGITS_LABELS_BUCKET": found["LabelsBucket"],
        "DIGITS_LABELS_QUEUE_URL": found["LabelsQueueUrl"],
        "POWERTOOLS_METRICS_NAMESPACE": "Digits",
        "POWERTOOLS_LOG_LEVEL": "ERROR",
        "POWERTOOLS_SERVICE_NAME": "benchmark",
    }
    from lambda_predict import backfill  # noqa: PLC0415 - it reads the environment on import

    boto3.setup_default_session()
    sent: Counter[str] = Counter()
    boto3.DEFAULT_SESSION.events.register(  # type: ignore[union-attr]
        "before-send.s3", lambda **_: sent.update(["requests"])
    )
    listed = cloud.s3().list_objects_v2(Bucket=images, Prefix="backlog/")["Contents"]

    def label(since: str | None) -> tuple[float, float]:
        """Return the requests and the milliseconds of processor time per object."""
        items = [backfill.Item.model_validate({"Item": it, "Since": since}) for it in listed]
        sent.clear()
        started = time.process_time()
        with redirect_stdout(io.StringIO()):  # the function's metrics
            for batch in range(0, len(items), BATCH):
                backfill.backfill().label(
                    items[batch : batch + BATCH], backfill.models.classifier, lambda: True
                )
        milliseconds = (time.process_time() - started) * 1000
        return round(sent["requests"] / len(items), 2), round(milliseconds / len(items), 2)

    label(None)  # warms up: loads the model
    requests, milliseconds = label("2100-01-01")
    requests_to_skip, milliseconds_to_skip = label(None)
    return {
        "requests to S3, a new object": requests,
        "requests to S3, a labelled one": requests_to_skip,
        "milliseconds of CPU, a new object": milliseconds,
        "milliseconds of CPU, a labelled one": milliseconds_to_skip,
    }


def _estimate(figures: dict[str, Any]) -> dict[str, Any]:
    """Estimate time and cost of `ESTIMATED_OBJECTS` new objects."""
    requests = figures["requests to S3, a new object"]
    each = _milliseconds(requests, figures["milliseconds of CPU, a new object"])
    again = _milliseconds(
        figures["requests to S3, a labelled one"], figures["milliseconds of CPU, a labelled one"]
    )
    seconds, calls = ESTIMATED_OBJECTS * each / 1000, ESTIMATED_OBJECTS / BATCH
    lines = {
        "Lambda, time": seconds * cost.MEMORY_GB * cost.GB_SECOND,
        "Lambda, invocations": calls * cost.INVOCATION,
        "S3, labels put": ESTIMATED_OBJECTS * cost.S3_PUT,
        "S3, gets": ESTIMATED_OBJECTS * (requests - 1) * cost.S3_GET,
        "S3, lists": ESTIMATED_OBJECTS / 1000 * S3_LIST,
        "Step Functions": calls * (TRANSITION + EXPRESS_REQUEST)
        + seconds * EXPRESS_GB * EXPRESS_GB_SECOND,
        "logs": ESTIMATED_OBJECTS * cost.LOG_BYTES * cost.LOG_BYTE,
    }
    hours = {it: round(seconds / 3600 / it, 1) for it in (5, 20)}
    return {
        "milliseconds of a function per image": round(each, 1),
        "calls": int(calls),
        "requests to S3": int(ESTIMATED_OBJECTS * requests),
        **{f"hours at concurrency {it}": value for it, value in hours.items()},
        "hours at S3's rate of label writes": round(ESTIMATED_OBJECTS / S3_PUTS_A_SECOND / 3600, 1),
        "concurrency at that rate": round(S3_PUTS_A_SECOND * each / 1000),
        **{f"USD, {name}": round(value) for name, value in lines.items()},
        "USD, total": round(sum(lines.values())),
        "USD for a second run, which skips all": round(
            ESTIMATED_OBJECTS * cost.S3_GET
            + ESTIMATED_OBJECTS / 1000 * S3_LIST
            + calls * (TRANSITION + EXPRESS_REQUEST + cost.INVOCATION)
            + ESTIMATED_OBJECTS * again / 1000 * cost.MEMORY_GB * cost.GB_SECOND
        ),
    }


def _milliseconds(requests: float, cpu: float) -> float:
    """Return the milliseconds of a function per object, whose requests overlap with others."""
    return max(cpu, requests * REQUEST_MS / OVERLAPPED)


def _table(title: str, figures: dict[str, Any]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("")
    table.add_column("figure", justify="right")
    for name, value in figures.items():
        table.add_row(name, f"{value:,}")
    return table


if __name__ == "__main__":
    typer.run(main)
