"""How far a bucket is labelled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from digits.cli.stack import answering, client, outputs, place
from digits.errors import BadRequest, NotFound
from digits.labels.label import CORRECTIONS, Source
from digits.labels.store import LabelStore

State = Literal["labelled", "for review", "refused", "waiting"]
STATES: tuple[State, ...] = ("labelled", "for review", "refused", "waiting")

_READERS = 32  # labels read at once: a read is waiting, mostly


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
    store = LabelStore(s3, where.labels)
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
            images = [image for image in images if not image.is_folder]
            yield Counter(readers.map(lambda image: _state(store, image), images))


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


def _state(store: LabelStore, image: Source) -> State:
    label = store.label(image.key)
    if label is None or not label.is_of(image):
        return "waiting"
    if label.error is not None:
        return "refused"
    return "for review" if label.needs_review else "labelled"
