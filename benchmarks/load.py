"""Load test with injected faults: images in S3 and HTTP calls, in the local cloud.

    python -m benchmarks.load                20,000 images and 20,000 calls
    python -m benchmarks.load --count 500

The template is deployed to the local cloud; the images are MNIST's test images as PNG files. In S3,
one object of a hundred is not an image, one is overwritten and one is deleted immediately, and the
function's process is killed several times during its work. In the end, each object must have the
label of its current version. Over HTTP, 16 clients send calls, one of a hundred without an image,
and the process is killed, too. The figures that matter are lost labels and memory; throughput is
mostly that of the local cloud.
"""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
import urllib3
from rich import box
from rich.console import Console
from rich.progress import Progress, track
from rich.table import Table

from benchmarks import machine, mnist, side_by_side
from digits.labels.label import label_key
from infra.local.cloud import ROOT, STACK, Deployment, LocalCloud
from infra.local.processes import Processes, end_once

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CLIENTS = 16  # concurrent HTTP calls or uploads
ONE_IN = 100  # one object or call of this many has each kind of fault
VISIBILITY_SECONDS = 20  # instead of the template's 360, which each kill would wait for
UNTHROTTLED = {"ThrottleRate": "10000", "ThrottleBurst": "5000", "DailyQuota": "1000000"}
console = Console(soft_wrap=True, highlight=False)


@dataclass
class ProcessLog:
    """Samples of a function's processes: resident megabytes by process id, and number of kills."""

    megabytes: dict[int, list[float]] = field(default_factory=dict)
    kills: int = 0

    def growth(self) -> str:
        """Format the longest-lived process' memory, after a quarter of its life and at its end."""
        lives = max(self.megabytes.values(), key=len, default=[])
        if len(lives) < 4:
            return "too few samples"
        return f"{lives[len(lives) // 4]:.0f} → {lives[-1]:.0f} MB"


def main(
    count: Annotated[int, typer.Option(help="Number of images, and of calls.")] = 20_000,
    kills: Annotated[
        int, typer.Option(help="Kills of the function's process, in S3 and over HTTP each.")
    ] = 5,
    port: Annotated[int, typer.Option(help="Port of the local cloud.")] = 4577,
    record: side_by_side.RecordOption = False,
    recorded: Annotated[bool, typer.Option("--recorded", help="Print the last record.")] = False,
) -> None:
    """Run the load test and print the number of lost labels, errors and other figures."""
    if recorded:
        raise typer.Exit(_show_recorded())
    end_once()
    with TemporaryDirectory() as folder, Processes(Path(folder) / "logs") as processes:
        cloud = LocalCloud(port)
        state = Path(folder) / "state"
        state.mkdir()
        cloud.start(processes, state)
        built = ROOT / ".local-cloud/build"
        cloud.build(processes, built)
        deployment = cloud.deploy(processes, built, UNTHROTTLED)
        _shorten_visibility(cloud)
        _lift_limits(cloud)
        pictures = _pictures(count)
        figures = {
            **{
                f"S3: {name}": it for name, it in _by_s3(cloud, deployment, pictures, kills).items()
            },
            **{f"HTTP: {name}": it for name, it in _by_http(deployment, pictures, kills).items()},
        }
    record_ = {"machine": machine.described(), "figures": figures}
    _show(record_)
    if record:
        side_by_side.save("load", record_)
    raise typer.Exit(1 if figures["S3: lost or wrong"] or figures["HTTP: 5xx not injected"] else 0)


def _show_recorded() -> int:
    """Print the last record; return the exit status."""
    record_ = side_by_side.latest("load")
    if record_ is None:
        console.print("There is no record yet: run python -m benchmarks.load --record.")
        return 1
    _show(record_)
    return 0


def _show(record_: dict[str, Any]) -> None:
    table = Table("under load", box=box.MARKDOWN)
    table.add_column("figure", justify="right")
    for name, value in record_["figures"].items():
        table.add_row(name, f"{value:,}" if isinstance(value, int) else str(value))
    console.print(table)
    console.print(f"\n{machine.in_words(record_['machine'])}\n")


def _by_s3(
    cloud: LocalCloud, deployment: Deployment, pictures: list[tuple[bytes, int]], kills: int
) -> dict[str, Any]:
    s3 = cloud.s3()
    images, labels = deployment.images_bucket, deployment.labels_bucket
    keys = [f"load/{number:06d}.png" for number in range(len(pictures))]

    def drop(number: int) -> None:
        fault = number % ONE_IN
        body = b"no image" if fault == 0 else pictures[number][0]
        s3.put_object(Bucket=images, Key=keys[number], Body=body)
        if fault == 1:
            s3.put_object(Bucket=images, Key=keys[number], Body=pictures[number - 1][0])
        if fault == 2:
            s3.delete_object(Bucket=images, Key=keys[number])

    started = time.perf_counter()
    with (
        _watch_processes("S3LabelsFunction", kills, len(pictures)) as (processes, ahead),
        ThreadPoolExecutor(CLIENTS) as pool,
    ):
        for _ in track(
            pool.map(drop, range(len(pictures))), "dropping", len(pictures), transient=True
        ):
            pass
        with Progress(transient=True) as progress:
            task = progress.add_task("labelling", total=len(keys))
            waiting = set(keys)
            deadline = time.monotonic() + 600 + len(keys)
            while waiting and time.monotonic() < deadline:
                checked = pool.map(lambda key: (key, _state(s3, images, labels, key)), waiting)
                waiting = {key for key, right in checked if not right}
                ahead(len(keys) - len(waiting))
                progress.update(task, completed=len(keys) - len(waiting))
                time.sleep(1)
        seconds = time.perf_counter() - started
    dead = cloud.client("sqs").get_queue_attributes(
        QueueUrl=cloud.outputs()["DeadLetterQueueUrl"],
        AttributeNames=["ApproximateNumberOfMessages"],
    )["Attributes"]["ApproximateNumberOfMessages"]
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=labels)
    extra = sum(page["KeyCount"] for page in pages) - len(keys)
    return {
        "objects": len(keys),
        "with exactly the right label": len(keys) - len(waiting),
        "lost or wrong": len(waiting),
        "written besides": max(extra, 0),
        "dead letters": int(dead),
        "processes killed": processes.kills,
        "images a second": round(len(keys) / seconds),
        "memory of the function": processes.growth(),
    }


def _state(s3: S3Client, images: str, labels: str, key: str) -> bool:
    """Whether the label of `key` is that of the object's current version, or its tombstone."""
    try:
        label = json.loads(s3.get_object(Bucket=labels, Key=label_key(key))["Body"].read())
    except s3.exceptions.NoSuchKey:
        return False
    try:
        etag = s3.head_object(Bucket=images, Key=key)["ETag"].strip('"')
    except s3.exceptions.ClientError:
        return bool(label.get("deleted"))
    return bool(label["source"].get("etag") == etag)


def _by_http(
    deployment: Deployment, pictures: list[tuple[bytes, int]], kills: int
) -> dict[str, Any]:
    pool = urllib3.PoolManager(maxsize=CLIENTS, retries=False)
    headers = {"x-api-key": deployment.api_key, "Content-Type": "application/octet-stream"}
    statuses: Counter[int] = Counter()
    wrong = 0

    def post(number: int) -> tuple[int, float, bool]:
        broken = number % ONE_IN == 0
        body = b"no image" if broken else pictures[number][0]
        started = time.perf_counter()
        answer = pool.request("POST", f"{deployment.api_url}/classify", body=body, headers=headers)
        milliseconds = (time.perf_counter() - started) * 1000
        if answer.status != 200:
            return answer.status, milliseconds, broken and answer.status == 415
        result = answer.json()
        honest = result["needs_review"] or result["text"] == str(pictures[number][1])
        return answer.status, milliseconds, honest

    started = time.perf_counter()
    times = []
    with (
        _watch_processes("HttpApiFunction", kills, len(pictures)) as (processes, ahead),
        ThreadPoolExecutor(CLIENTS) as threads,
    ):
        answers = threads.map(post, range(len(pictures)))
        for done, (status, milliseconds, honest) in enumerate(
            track(answers, "calling", len(pictures), transient=True)
        ):
            statuses[status] += 1
            times.append(milliseconds)
            wrong += status == 200 and not honest
            ahead(done)
    seconds = time.perf_counter() - started
    failed = sum(number for status, number in statuses.items() if status >= 500)
    return {
        "calls": len(pictures),
        **{f"status {status}": number for status, number in sorted(statuses.items())},
        "wrong digits, not marked": wrong,
        "processes killed": processes.kills,
        # A kill fails the calls that the process was answering.
        "5xx not injected": max(failed - processes.kills * CLIENTS, 0),
        "calls a second": round(len(pictures) / seconds),
        "milliseconds, median": round(float(np.median(times)), 1),
        "milliseconds, p99": round(float(np.percentile(times, 99)), 1),
        "memory of the function": processes.growth(),
    }


@contextmanager
def _watch_processes(
    function: str, kills: int, total: int
) -> Iterator[tuple[ProcessLog, Callable[[int], None]]]:
    """Sample the memory of a function's processes, and kill one at regular points of progress.

    Yields the samples, and a function to report the number of completed items with.
    """
    processes, over = ProcessLog(), threading.Event()
    name = f"AWS_LAMBDA_FUNCTION_NAME={STACK}-{function}-".encode()
    moments = [total * (it + 1) // (kills + 1) for it in range(kills)]
    reached = 0

    def watch() -> None:
        while not over.wait(0.5):
            running = machine.resident_megabytes("environ", name)
            for pid, megabytes in running.items():
                processes.megabytes.setdefault(pid, []).append(megabytes)
            if moments and reached >= moments[0] and running:
                moments.pop(0)
                with suppress(ProcessLookupError):
                    os.kill(random.choice(list(running)), signal.SIGKILL)  # noqa: S311
                    processes.kills += 1

    def ahead(done: int) -> None:
        nonlocal reached
        reached = done

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield processes, ahead
    finally:
        over.set()
        thread.join()


def _pictures(count: int) -> list[tuple[bytes, int]]:
    """Return `count` PNG files of MNIST's test images, repeated if needed, and their digits."""
    images, truths = mnist.test_images()
    files = [mnist.png(image) for image in images[:count]]
    return [(files[it % len(files)], int(truths[it % len(files)])) for it in range(count)]


def _lift_limits(cloud: LocalCloud) -> None:
    """Raise the usage plan's limits; the local cloud ignores the parameters for them."""
    gateway = cloud.client("apigateway")
    operations = {
        "/throttle/rateLimit": UNTHROTTLED["ThrottleRate"],
        "/throttle/burstLimit": UNTHROTTLED["ThrottleBurst"],
        "/quota/limit": UNTHROTTLED["DailyQuota"],
    }
    for plan in gateway.get_usage_plans()["items"]:
        gateway.update_usage_plan(
            usagePlanId=plan["id"],
            patchOperations=[
                {"op": "replace", "path": path, "value": value}
                for path, value in operations.items()
            ],
        )


def _shorten_visibility(cloud: LocalCloud) -> None:
    cloud.client("sqs").set_queue_attributes(
        QueueUrl=cloud.outputs()["LabelsQueueUrl"],
        Attributes={"VisibilityTimeout": str(VISIBILITY_SECONDS)},
    )


if __name__ == "__main__":
    typer.run(main)
