"""The reconciliation sweep: sends images without a current label to the labels queue.

Events may be lost, and images may be older than the queue. On a schedule, the sweep lists the
images bucket in the order of its keys and sends to the labels queue each image without a label of
its current version, and each deleted image whose label is not a tombstone. It writes no labels
itself, so it can run at any time beside the other functions.

A run processes pages of the listing until its time is over, and stores its position in the labels
bucket; the next run continues there, and starts over at the end. A run that is killed repeats one
page. Memory holds one page, however large the bucket is.

The sweep does not find an image whose versions were all deleted for good and whose event was lost:
the images bucket has no trace of it.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from functools import cache
from typing import TYPE_CHECKING, Any

import boto3
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.config import Config
from pydantic import BaseModel

from digits.labels.label import Source
from digits.labels.store import LabelStore
from lambda_predict import started
from lambda_predict.config import buckets_and_queue, settings
from lambda_predict.labels_queue import send
from lambda_predict.observability import logger, metrics

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ListObjectVersionsOutputTypeDef
    from mypy_boto3_sqs import SQSClient

POSITION = "sweep/position.json"
# Labels read at once; a read mostly waits for S3.
_READERS = 16
# A page is 1,000 labels to read, and messages to send.
_ENOUGH_MILLISECONDS = 60_000
_CONFIG = Config(
    connect_timeout=2,
    read_timeout=10,
    retries={"mode": "standard", "max_attempts": 5},
    max_pool_connections=_READERS,
)


class _Position(BaseModel):
    """The position of the sweep: the last key of the last finished page; None at the end."""

    after: str | None


class Sweep:
    """Compares one images bucket with its labels.

    Parameters
    ----------
    s3, sqs
        The clients. The first must be safe to use from several threads, as boto3's are.
    images, labels
        The buckets.
    queue
        URL of the labels queue.
    grace
        Images that changed within this time are skipped: their own event is still due.
    """

    def __init__(
        self, s3: S3Client, sqs: SQSClient, images: str, labels: str, queue: str, grace: timedelta
    ) -> None:
        self._s3 = s3
        self._sqs = sqs
        self._images = images
        self._labels_bucket = labels
        self._labels = LabelStore(s3, labels)
        self._queue = queue
        self._grace = grace

    def position(self) -> str | None:
        """Return the key to continue after; None to start at the first."""
        try:
            answer = self._s3.get_object(Bucket=self._labels_bucket, Key=POSITION)
        except self._s3.exceptions.NoSuchKey:
            return None
        return _Position.model_validate_json(answer["Body"].read()).after

    def keep_position(self, after: str | None) -> None:
        """Store the key after which the next run continues; None lets it start over."""
        body = _Position(after=after).model_dump_json().encode()
        self._s3.put_object(Bucket=self._labels_bucket, Key=POSITION, Body=body)

    def page(self, after: str | None) -> tuple[int, int, str | None]:
        """Process the page after a key.

        Returns
        -------
        looked, sent, after
            How many images were checked (without folders), how many were sent to the queue, and the
            key to continue after; None at the end.

        Raises
        ------
        NotSent, ClientError, BotoCoreError
            If the page could not be processed; a retry is safe.
        """
        start = {"KeyMarker": after} if after is not None else {}
        listing = self._s3.list_object_versions(Bucket=self._images, **start)  # type: ignore[arg-type]
        found = self._settled(listing)
        with ThreadPoolExecutor(_READERS) as readers:
            right = readers.map(self._has_its_label, found)
            wrong = [
                source.key for source, is_right in zip(found, right, strict=True) if not is_right
            ]
        send(self._sqs, self._queue, self._images, wrong)
        looked = sum(not source.is_folder for source in found)
        return looked, len(wrong), listing.get("NextKeyMarker")

    def _settled(self, listing: ListObjectVersionsOutputTypeDef) -> list[Source]:
        """Yield the current versions in a listing; one without an ETag is a deletion.

        The current version of a key is listed before its older ones, so continuing after the last
        key of a page, not after its last version, skips old versions only.
        """
        before = datetime.now(timezone.utc) - self._grace
        versions = [
            Source(
                bucket=self._images,
                key=item["Key"],
                version_id=item["VersionId"],
                etag=item["ETag"].strip('"'),
                size=item["Size"],
            )
            for item in listing.get("Versions", ())
            if item["IsLatest"] and item["LastModified"] <= before
        ]
        deletions = [
            Source(bucket=self._images, key=item["Key"])
            for item in listing.get("DeleteMarkers", ())
            if item["IsLatest"] and item["LastModified"] <= before
        ]
        return versions + deletions

    def _has_its_label(self, image: Source) -> bool:
        label = self._labels.label(image.key)
        return label.is_of(image) if label else image.etag is None or image.is_folder


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(_: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Continue the sweep until the time is over; return the counts."""
    after = sweep().position()
    looked = sent = 0
    while True:
        page_looked, page_sent, after = sweep().page(after)
        sweep().keep_position(after)
        looked, sent = looked + page_looked, sent + page_sent
        if after is None or context.get_remaining_time_in_millis() < _ENOUGH_MILLISECONDS:
            break
    metrics.add_metric("Swept", MetricUnit.Count, looked)
    metrics.add_metric("SentToBeLabelled", MetricUnit.Count, sent)
    done = {"looked_at": looked, "sent": sent, "finished": after is None}
    logger.info("Swept", extra=done)
    return done


@cache
def sweep() -> Sweep:
    """Create the sweep of this process from the environment."""
    images, labels, queue = buckets_and_queue()
    return Sweep(
        boto3.client("s3", config=_CONFIG),
        boto3.client("sqs", config=_CONFIG),
        images,
        labels,
        queue,
        timedelta(seconds=settings().sweep_grace_seconds),
    )


started()
