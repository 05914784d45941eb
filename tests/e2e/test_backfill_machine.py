"""The real definition of the backfill's state machine in the local cloud: its error handling.

Its function fails on purpose; `test_chain.py` runs the real one. The local cloud passes one image
a call, where AWS makes batches.
"""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from infra.local.cloud import ROOT, LocalCloud
from infra.local.processes import Processes
from tests.conftest import require
from tests.served import free_port
from tests.templates import steps

ROLE = "arn:aws:iam::000000000000:role/backfill"
IMAGES = "backlog-images"
# "stubborn" fails when it is labelled; "lost" also when it is sent to the queue.
FUNCTION = """
def handler(event, _):
    batch = event.get("HandOver", event)
    key = batch["Item"]["Key"]
    if "lost" in key or ("stubborn" in key and batch is event):
        raise RuntimeError(key)
    return {"labelled" if batch is event else "handed_over": 1}
"""


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    require(str(ROOT / ".venvs/local-cloud/bin/ministack"))
    folder = tmp_path_factory.mktemp("machine")
    made = LocalCloud(free_port())
    with Processes(folder / "logs") as processes:
        made.start(processes, folder)
        made.s3().create_bucket(Bucket=IMAGES)
        yield made


@pytest.fixture(scope="module")
def machine(cloud: LocalCloud) -> str:
    """Create the state machine with short retry intervals; return its ARN."""
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("worker.py", FUNCTION)
    cloud.client("lambda").create_function(
        FunctionName="worker",
        Runtime="python3.13",
        Role=ROLE,
        Handler="worker.handler",
        Code={"ZipFile": zipped.getvalue()},
    )
    definition = steps(
        ROOT / "infra/backfill.asl.json",
        Partition="aws", ImagesBucket=IMAGES, Concurrency=4, Worker="worker",
    )  # fmt: skip
    without_delays = json.loads(
        json.dumps(definition),
        object_hook=lambda it: (
            it | {"MaxAttempts": 1, "IntervalSeconds": 1} if "MaxAttempts" in it else it
        ),
    )
    answer = cloud.client("stepfunctions").create_state_machine(
        name="backfill", roleArn=ROLE, definition=json.dumps(without_delays)
    )
    return str(answer["stateMachineArn"])


@pytest.fixture
def run(cloud: LocalCloud, machine: str) -> Callable[..., tuple[Any, dict[str, int]]]:
    """Return a function that runs a backfill over images, and returns its end and item counts."""

    def go(prefix: str, *names: str) -> tuple[Any, dict[str, int]]:
        for name in names:
            cloud.s3().put_object(Bucket=IMAGES, Key=f"{prefix}/{name}", Body=b"x")
        steps = cloud.client("stepfunctions")
        arn = steps.start_execution(
            stateMachineArn=machine, input=json.dumps({"prefix": f"{prefix}/", "since": None})
        )["executionArn"]
        deadline = time.monotonic() + 120
        while (ended := steps.describe_execution(executionArn=arn))["status"] == "RUNNING":
            assert time.monotonic() < deadline
            time.sleep(0.1)
        (found,) = steps.list_map_runs(executionArn=arn)["mapRuns"]
        counts = steps.describe_map_run(mapRunArn=found["mapRunArn"])["itemCounts"]
        return ended, counts

    return go


def test_an_image_that_fails_to_label_is_queued_and_the_run_succeeds(run):
    ended, counts = run("well", *map(str, range(5)), "stubborn")
    assert ended["status"] == "SUCCEEDED", ended
    assert (counts["succeeded"], counts["failed"]) == (6, 0)


def test_an_image_that_also_fails_to_queue_fails_the_run_after_all_others(run):
    ended, counts = run("some", *map(str, range(39)), "lost")
    assert (ended["status"], ended["error"]) == ("FAILED", "SomeNotLabelled")
    assert (counts["succeeded"], counts["failed"]) == (39, 1)


def test_a_run_over_an_empty_prefix_succeeds(run):
    ended, counts = run("empty")
    assert ended["status"] == "SUCCEEDED", ended
    assert counts["total"] == 0
