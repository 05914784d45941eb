"""How far a bucket is labelled, and having its backlog labelled by the stack's state machine."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Literal

from digits.cli.stack import answering, client, outputs, place
from digits.errors import BadRequest, Conflict, NotFound
from digits.labels import CORRECTIONS, Source, Written, label_key

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_stepfunctions import SFNClient

State = Literal["labelled", "for review", "refused", "waiting"]
STATES: tuple[State, ...] = ("labelled", "for review", "refused", "waiting")

_READERS = 32  # labels read at once: a read is waiting, mostly
_POLL_SECONDS = 2.0


@dataclass(frozen=True)
class Places:
    """A prefix of a stack's images bucket, and what belongs to it.

    Attributes
    ----------
    images, prefix
        The bucket, and with what the keys begin.
    labels
        The labels bucket.
    machine
        ARN of the state machine that labels a backlog.
    queues
        URLs of the queues of images that wait, and of the dead letters.
    """

    images: str
    prefix: str
    labels: str
    machine: str
    queues: tuple[str, str, str]


def places(address: str, stack: str) -> Places:
    """What belongs to ``s3://<images bucket>/prefix``.

    Raises
    ------
    BadRequest
        If the bucket is not the one that the stack labels.
    NotFound, StorageUnavailable
        As `stack.outputs`.
    """
    bucket, prefix = place(address)
    found = outputs(stack)
    if bucket != found["ImagesBucket"]:
        raise BadRequest(
            f"The stack {stack} labels s3://{found['ImagesBucket']}, not {bucket}; name that, or"
            " another stack with --stack."
        )
    if "BackfillArn" not in found:
        raise NotFound(f"The stack {stack} is older than this; deploy this version of it first.")
    queues = (found["LabelsQueueUrl"], found["RetryQueueUrl"], found["DeadLetterQueueUrl"])
    return Places(bucket, prefix, found["LabelsBucket"], found["BackfillArn"], queues)


def states(where: Places) -> Iterator[Counter[State]]:
    """What state each image is in, a count for each page of the listing; in constant memory.

    Raises
    ------
    StorageUnavailable
        If AWS does not answer, or refuses.
    """
    s3 = client("s3", max_pool_connections=_READERS)
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=where.images, Prefix=where.prefix)
    with answering(), ThreadPoolExecutor(_READERS) as readers:
        for page in pages:
            images = [
                Source(
                    bucket=where.images,
                    key=item["Key"],
                    etag=item["ETag"].strip('"'),
                    size=item["Size"],
                )
                for item in page.get("Contents", [])
            ]
            yield Counter(readers.map(lambda image: _state(s3, where.labels, image), images))


def corrected(where: Places) -> int:
    """How many images a person has said the truth of."""
    s3 = client("s3")
    pages = s3.get_paginator("list_objects_v2").paginate(
        Bucket=where.labels, Prefix=CORRECTIONS + where.prefix
    )
    with answering():
        return sum(page["KeyCount"] for page in pages)


def queued(where: Places) -> tuple[int, int]:
    """About how many messages wait to be labelled, and how many are dead letters."""
    sqs = client("sqs")
    with answering():
        counts = [
            int(
                sqs.get_queue_attributes(
                    QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"]
                )["Attributes"]["ApproximateNumberOfMessages"]
            )
            for url in where.queues
        ]
    return counts[0] + counts[1], counts[2]


def _state(s3: S3Client, labels: str, image: Source) -> State:
    try:
        answer = s3.get_object(Bucket=labels, Key=label_key(image.key))
    except s3.exceptions.NoSuchKey:
        return "waiting"
    label = Written.read(answer["Body"].read())
    if not label.is_of(image):
        return "waiting"
    if label.error is not None:
        return "refused"
    return "for review" if label.needs_review else "labelled"


@dataclass(frozen=True)
class Progress:
    """How far a backfill is; `total` is None while the listing is still read."""

    done: int
    total: int | None


class Backfill:
    """One execution of the state machine that labels a backlog."""

    def __init__(self, machine: SFNClient, arn: str) -> None:
        self._machine = machine
        self.arn = arn

    @classmethod
    def start(cls, where: Places, *, relabel: bool, inventory: str | None) -> tuple[Backfill, bool]:
        """Start labelling, or find the one that is at the same work already; whether it is that.

        Raises
        ------
        BadRequest
            If the inventory is not where the state machine may read it.
        Conflict
            If it is at other work just now.
        StorageUnavailable
            If AWS does not answer, or refuses.
        """
        wanted: dict[str, Any] = {"prefix": where.prefix}
        if inventory:
            bucket, key = place(inventory)
            if bucket != where.labels or not key.startswith("inventory/"):
                raise BadRequest(
                    f"The manifest must be in s3://{where.labels}/inventory/, where the stack may"
                    " read it; have the inventory delivered there."
                )
            wanted["inventory"] = {"bucket": bucket, "key": key}
        machine: SFNClient = client("stepfunctions")
        with answering():
            for arn, given in _running(machine, where.machine):
                since = given.pop("since", None)
                if given == wanted and bool(since) == relabel:
                    return cls(machine, arn), True
                raise Conflict(f"Another backfill runs: {arn}; wait for its end, or stop it.")
            now = datetime.now(timezone.utc).isoformat().replace("+00:00", "Z")
            wanted["since"] = now if relabel else None
            started = machine.start_execution(
                stateMachineArn=where.machine, input=json.dumps(wanted)
            )
        return cls(machine, started["executionArn"]), False

    def watch(self) -> Iterator[Progress]:
        """How far it is, every other second, until it ends.

        Raises
        ------
        Conflict
            If it ends otherwise than well.
        StorageUnavailable
            If AWS does not answer, or refuses.
        """
        while True:
            with answering():
                found = self._machine.describe_execution(executionArn=self.arn)
            yield self._progress()
            if found["status"] == "SUCCEEDED":
                return
            if found["status"] != "RUNNING":
                raise Conflict(
                    f"The backfill ended as {found['status']}"
                    f" ({found.get('cause') or found.get('error') or 'no cause given'}); mend that"
                    " and start the same again: it goes on where it stopped."
                )
            time.sleep(_POLL_SECONDS)

    def _progress(self) -> Progress:
        """By the map's own count; nothing where the cloud keeps none."""
        from botocore.exceptions import ClientError  # noqa: PLC0415

        try:
            runs = self._machine.list_map_runs(executionArn=self.arn).get("mapRuns")
            if not runs:
                return Progress(0, None)
            counts = self._machine.describe_map_run(mapRunArn=runs[0]["mapRunArn"])["itemCounts"]
        except ClientError:
            return Progress(0, None)
        return Progress(counts["succeeded"] + counts["failed"], counts["total"] or None)


def _running(machine: SFNClient, arn: str) -> Sequence[tuple[str, dict[str, Any]]]:
    """The executions that run just now, and what each was told."""
    found = machine.list_executions(stateMachineArn=arn, statusFilter="RUNNING")["executions"]
    arns = [it["executionArn"] for it in found]
    return [(it, json.loads(machine.describe_execution(executionArn=it)["input"])) for it in arns]
