"""Is anything lost under load? Images by S3 and calls by HTTP in the local cloud, with faults.

    python -m benchmarks.load                20,000 images and 20,000 calls
    python -m benchmarks.load --count 500

The real template in the local cloud, on MNIST's test images as PNG files. By S3: of a hundred, one
is no image, one is overwritten and one deleted at once, and the function's process is killed now
and then, in the middle of what it does. In the end every object must have the label of its current
version. By HTTP: 16 clients; one call in a hundred is no image; again the process is killed. Speed
is the local cloud's more than the functions'; what counts is what is lost, and memory.
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

CLIENTS = 16
ONE_IN = 100  # of each kind of fault
VISIBILITY_SECONDS = 20  # not the template's 360, or each kill would cost the run six minutes
UNTHROTTLED = {"ThrottleRate": "10000", "ThrottleBurst": "5000", "DailyQuota": "1000000"}
console = Console(soft_wrap=True, highlight=False)


@dataclass
class Watched:
    """What was seen of the functions' processes: resident megabytes by process, and the kills."""

    megabytes: dict[int, list[float]] = field(default_factory=dict)
    kills: int = 0

    def growth(self) -> str:
        """Of the process that lived longest: after a quarter of its life, and at its end."""
        lives = max(self.megabytes.values(), key=len, default=[])
        if len(lives) < 4:
            return "too short to tell"
        return f"{lives[len(lives) // 4]:.0f} → {lives[-1]:.0f} MB"


def main(
    count: Annotated[int, typer.Option(help="Images, and calls.")] = 20_000,
    kills: Annotated[int, typer.Option(help="Of the function's process, in each part.")] = 5,
    port: Annotated[int, typer.Option(help="Of the local cloud.")] = 4577,
    record: side_by_side.Record = False,
    recorded: Annotated[bool, typer.Option("--recorded", help="Print the last record.")] = False,
) -> None:
    """Print what became of every image and every call."""
    if recorded:
        raise typer.Exit(_tell_recorded())
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
    told = {"machine": machine.described(), "figures": figures}
    _tell(told)
    if record:
        side_by_side.keep("load", told)
    raise typer.Exit(1 if figures["S3: lost or wrong"] or figures["HTTP: 5xx not injected"] else 0)


def _tell_recorded() -> int:
    """Print the last record; the exit status."""
    told = side_by_side.latest("load")
    if told is None:
        console.print("Nothing is recorded yet: python -m benchmarks.load --record")
        return 1
    _tell(told)
    return 0


def _tell(told: dict[str, Any]) -> None:
    table = Table("under load", box=box.MARKDOWN)
    table.add_column("figure", justify="right")
    for name, value in told["figures"].items():
        table.add_row(name, f"{value:,}" if isinstance(value, int) else str(value))
    console.print(table)
    console.print(f"\n{machine.in_words(told['machine'])}\n")


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
        _watching("S3LabelsFunction", kills, len(pictures)) as (watched, ahead),
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
        "processes killed": watched.kills,
        "images a second": round(len(keys) / seconds),
        "memory of the function": watched.growth(),
    }


def _state(s3: S3Client, images: str, labels: str, key: str) -> bool:
    """Whether the label of `key` speaks of the object's current state."""
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
        _watching("HttpApiFunction", kills, len(pictures)) as (watched, ahead),
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
        "processes killed": watched.kills,
        # A killed process takes with it the calls that it was answering.
        "5xx not injected": max(failed - watched.kills * CLIENTS, 0),
        "calls a second": round(len(pictures) / seconds),
        "milliseconds, median": round(float(np.median(times)), 1),
        "milliseconds, p99": round(float(np.percentile(times, 99)), 1),
        "memory of the function": watched.growth(),
    }


@contextmanager
def _watching(
    function: str, kills: int, total: int
) -> Iterator[tuple[Watched, Callable[[int], None]]]:
    """Sample the memory of a function's processes, and kill one as the work gets ahead."""
    watched, over = Watched(), threading.Event()
    name = f"AWS_LAMBDA_FUNCTION_NAME={STACK}-{function}-".encode()
    moments = [total * (it + 1) // (kills + 1) for it in range(kills)]
    reached = 0

    def watch() -> None:
        while not over.wait(0.5):
            running = machine.resident_megabytes("environ", name)
            for pid, megabytes in running.items():
                watched.megabytes.setdefault(pid, []).append(megabytes)
            if moments and reached >= moments[0] and running:
                moments.pop(0)
                with suppress(ProcessLookupError):
                    os.kill(random.choice(list(running)), signal.SIGKILL)  # noqa: S311
                    watched.kills += 1

    def ahead(done: int) -> None:
        nonlocal reached
        reached = done

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield watched, ahead
    finally:
        over.set()
        thread.join()


def _pictures(count: int) -> list[tuple[bytes, int]]:
    """PNG files of MNIST's test images, over and over, and their digits."""
    images, truths = mnist.test_images()
    files = [mnist.png(image) for image in images[:count]]
    return [(files[it % len(files)], int(truths[it % len(files)])) for it in range(count)]


def _lift_limits(cloud: LocalCloud) -> None:
    """The usage plan's, which the local cloud takes from the parameters' defaults."""
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
