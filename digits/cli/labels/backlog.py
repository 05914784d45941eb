"""Count the labelling states of a bucket's images."""

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

_READERS = 32  # labels read at once; a read mostly waits for S3


@dataclass(frozen=True)
class Places:
    """A prefix of a stack's images bucket, and the stack's resources for it.

    Attributes
    ----------
    images, prefix
        The bucket and the prefix of the keys.
    labels
        The labels bucket.
    machine
        ARN of the backfill's state machine.
    queues
        URLs of the queues of waiting images, and of the dead-letter queues.
    """

    images: str
    prefix: str
    labels: str
    machine: str
    queues: tuple[str, str, str]


def places(address: str, stack: str) -> Places:
    """Return the `Backlog` of ``s3://<images bucket>/prefix``.

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
            f"The stack {stack} labels s3://{found['ImagesBucket']}, not {bucket}: name that, or"
            " another stack with --stack."
        )
    if "BackfillArn" not in found:
        raise NotFound(
            f"The stack {stack} is older than this command line: deploy this version first."
        )
    queues = (found["LabelsQueueUrl"], found["RetryQueueUrl"], found["DeadLetterQueueUrl"])
    return Places(bucket, prefix, found["LabelsBucket"], found["BackfillArn"], queues)


def states(where: Places) -> Iterator[Counter[State]]:
    """Yield a count of images by state for each page of the listing; memory use is constant.

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
    """Count the images that have a correction."""
    s3 = client("s3")
    pages = s3.get_paginator("list_objects_v2").paginate(
        Bucket=where.labels, Prefix=CORRECTIONS + where.prefix
    )
    with answering():
        return sum(page["KeyCount"] for page in pages)


def queued(where: Places) -> tuple[int, int]:
    """Return SQS's approximate numbers of waiting messages and of dead letters."""
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
