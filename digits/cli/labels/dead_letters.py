"""Dead letters of a deployed stack: find out why each message failed, and redrive or delete it.

SQS can redrive a whole queue by itself (`StartMessageMoveTask`), but that includes messages that
can only fail again, and gives no reason for any of them.

SQS hides each received message from other consumers for `HIDDEN` seconds. A message is sent before
it is deleted: a command that is killed in between leaves it in both queues, and its image is
labelled twice, with the same outcome. All messages are received first and then examined, many at
once, so that most of that time is left for a person's decision.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

from digits.cli.stack import answering, client, outputs
from digits.errors import Conflict, NotFound, StorageUnavailable
from digits.labels.label import Source
from digits.labels.store import LabelStore

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

HIDDEN = 600  # visibility timeout in seconds: the time for a person's decision
MOST = 10_000  # messages received in one run, at most, plus the rest of the last batch
_AT_ONCE = 10  # SQS's limit on the messages of one call
_READERS = 32  # images examined at once; each mostly waits for AWS
_SEARCHED = 60  # seconds, at most, for the search of the log, which is long if many calls failed

NO_EVENT = "It is not an S3 event; it can never be labelled."
GONE = "Its image is gone; the label will become a tombstone."
LABELLED = "Its image was labelled meanwhile."
UNKNOWN = "It failed each time; the function's log says why."


@dataclass(frozen=True)
class Letter:
    """One message of the dead-letter queue.

    Attributes
    ----------
    images
        Bucket and key of each image that it names; empty if it is not an S3 event.
    sent
        When it was first sent.
    why
        Why it failed, or what happened to its image since.
    """

    body: str
    handle: str
    images: tuple[tuple[str, str], ...]
    sent: datetime
    why: str

    @property
    def hopeless(self) -> bool:
        """Whether it can never be labelled."""
        return not self.images


class DeadLetters:
    """Examines the dead letters of one stack, and redrives or deletes them.

    Parameters
    ----------
    sqs, s3, logs
        The clients.
    dead, retry
        URLs of the dead-letter queue, and of the queue whose messages are processed one by one.
    labels
        The labels bucket.
    log_group
        The labels function's log group; None to skip the log.
    """

    def __init__(
        self,
        sqs: SQSClient,
        s3: S3Client,
        logs: Any,
        *,
        dead: str,
        retry: str,
        labels: str,
        log_group: str | None,
    ) -> None:
        self._sqs, self._s3, self._logs = sqs, s3, logs
        self._dead, self._retry, self._log_group = dead, retry, log_group
        self._labels = LabelStore(s3, labels)
        self._taken_at = time.monotonic()

    def take(self) -> list[Letter]:
        """Receive all dead letters, at most ten thousand, and hide them for ten minutes.

        Raises
        ------
        StorageUnavailable
            If AWS does not answer, or refuses; then no message has changed.
        """
        self._taken_at = time.monotonic()
        messages: list[MessageTypeDef] = []
        try:
            with answering():
                while len(messages) < MOST and (batch := self._receive()):
                    messages += batch
                return self._letters(messages)
        except BaseException:
            self._show([message["ReceiptHandle"] for message in messages])
            raise

    def held(self) -> int:
        """Return SQS's approximate number of messages held by others. Raises as `take`."""
        name: Any = "ApproximateNumberOfMessagesNotVisible"
        with answering():
            found = self._sqs.get_queue_attributes(QueueUrl=self._dead, AttributeNames=[name])
        return int(found["Attributes"][name])

    def send_back(self, letters: Sequence[Letter]) -> Iterator[int]:
        """Redrive letters, each as one message; yield how many were sent.

        Raises
        ------
        Conflict
            If they were received so long ago that others may have received them since.
        StorageUnavailable
            If AWS does not answer, or refuses; what was not sent stays a dead letter.
        """
        for batch in self._batches(letters):
            entries = [{"Id": str(n), "MessageBody": it.body} for n, it in enumerate(batch)]
            with answering():
                answer = self._sqs.send_message_batch(QueueUrl=self._retry, Entries=entries)  # type: ignore[arg-type]
            sent = [batch[int(it["Id"])] for it in answer["Successful"]]
            self._delete(sent)
            yield len(sent)
            _must_be_empty(answer)

    def discard(self, letters: Sequence[Letter]) -> Iterator[int]:
        """Delete letters for good; yield how many were deleted. Raises as `send_back`."""
        for batch in self._batches(letters):
            self._delete(batch)
            yield len(batch)

    def put_back(self, letters: Sequence[Letter]) -> None:
        """Return letters to the queue, visible to others at once. Raises as `take`."""
        self._show([letter.handle for letter in letters])

    def _show(self, handles: Sequence[str]) -> None:
        for start in range(0, len(handles), _AT_ONCE):
            entries = [
                {"Id": str(n), "ReceiptHandle": handle, "VisibilityTimeout": 0}
                for n, handle in enumerate(handles[start : start + _AT_ONCE])
            ]
            with answering():
                self._sqs.change_message_visibility_batch(QueueUrl=self._dead, Entries=entries)  # type: ignore[arg-type]

    def _batches(self, letters: Sequence[Letter]) -> Iterator[Sequence[Letter]]:
        for start in range(0, len(letters), _AT_ONCE):
            if time.monotonic() - self._taken_at > HIDDEN - 60:
                raise Conflict(
                    "The dead letters were received too long ago, others may have them now: run the"
                    " command again."
                )
            yield letters[start : start + _AT_ONCE]

    def _delete(self, letters: Sequence[Letter]) -> None:
        if not letters:
            return
        entries = [{"Id": str(n), "ReceiptHandle": it.handle} for n, it in enumerate(letters)]
        with answering():
            answer = self._sqs.delete_message_batch(QueueUrl=self._dead, Entries=entries)  # type: ignore[arg-type]
        _must_be_empty(answer)

    def _receive(self) -> Sequence[MessageTypeDef]:
        answer = self._sqs.receive_message(
            QueueUrl=self._dead,
            MaxNumberOfMessages=_AT_ONCE,
            VisibilityTimeout=HIDDEN,
            WaitTimeSeconds=1,  # long polling: without it SQS samples only some of its servers
            AttributeNames=["SentTimestamp"],
        )
        return answer.get("Messages", [])

    def _letters(self, messages: Sequence[MessageTypeDef]) -> list[Letter]:
        """Parse the messages, and find out why each failed."""
        if not messages:
            return []
        images = [tuple(_images(message["Body"])) for message in messages]
        sent = [int(message["Attributes"]["SentTimestamp"]) / 1000 for message in messages]
        errors = self._logged({key for them in images for _, key in them}, min(sent))
        with ThreadPoolExecutor(_READERS) as readers:
            why = readers.map(lambda them: self._why_all(them, errors), images)
            return [
                Letter(
                    body=message["Body"],
                    handle=message["ReceiptHandle"],
                    images=them,
                    sent=datetime.fromtimestamp(at, timezone.utc),
                    why=reason,
                )
                for message, them, at, reason in zip(messages, images, sent, why, strict=True)
            ]

    def _why_all(self, images: Sequence[tuple[str, str]], errors: Mapping[str, str]) -> str:
        """Return why a message failed: the reason of its first image without a label."""
        reasons = (self._why(bucket, key, errors) for bucket, key in images)
        return next((why for why in reasons if why != LABELLED), LABELLED) if images else NO_EVENT

    def _why(self, bucket: str, key: str, errors: Mapping[str, str]) -> str:
        """Return the reason from an image's state, else from the function's log."""
        image = self._state(bucket, key)
        if isinstance(image, str):
            return image
        label = self._labels.label(key)
        if label is not None and label.is_of(image):
            return LABELLED
        if image.etag is None:
            return GONE
        return errors.get(key, UNKNOWN)

    def _state(self, bucket: str, key: str) -> Source | str:
        """Return the current version of the image, or why it cannot be determined."""
        from botocore.exceptions import ClientError  # noqa: PLC0415

        try:
            found = self._s3.head_object(Bucket=bucket, Key=key)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code == "404":
                return Source(bucket=bucket, key=key)
            return f"S3 does not let its image be read ({code})."
        return Source(
            bucket=bucket,
            key=key,
            version_id=found.get("VersionId", "null"),
            etag=found["ETag"].strip('"'),
            size=found["ContentLength"],
        )

    def _logged(self, keys: set[str], since: float) -> dict[str, str]:
        """Return the last error that the function logged for each image, as far as the search gets.

        One search serves all images: CloudWatch allows an account five searches a second.
        """
        if self._log_group is None or not keys:
            return {}
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        pages = self._logs.get_paginator("filter_log_events").paginate(
            logGroupName=self._log_group,
            startTime=int(since * 1000),
            filterPattern='{ $.exception_name = "*" }',
        )
        found: dict[str, str] = {}
        until = time.monotonic() + _SEARCHED
        try:
            for page in pages:
                told = (_error_in(event["message"]) for event in page["events"])
                found |= {key: error for key, error in filter(None, told) if key in keys}
                if time.monotonic() > until:
                    break
        except (ClientError, BotoCoreError):
            return found  # without permission to read the log, the general reason remains
        return found


def of_stack(stack: str) -> DeadLetters:
    """The dead letters of a deployed stack. Raises as `stack.outputs`."""
    found = outputs(stack)
    missing = {"RetryQueueUrl", "S3LabelsLogGroup"} - set(found)
    if missing:
        raise NotFound(
            f"The stack {stack} has no output {min(missing)}; deploy this version of it first."
        )
    return DeadLetters(
        client("sqs"),
        client("s3", max_pool_connections=_READERS),
        client("logs"),
        dead=found["DeadLetterQueueUrl"],
        retry=found["RetryQueueUrl"],
        labels=found["LabelsBucket"],
        log_group=found["S3LabelsLogGroup"],
    )


def summary(letters: Sequence[Letter]) -> list[tuple[str, int]]:
    """Count the letters by reason, the most frequent first."""
    return Counter(letter.why for letter in letters).most_common()


def _images(body: str) -> Iterator[tuple[str, str]]:
    """Return bucket and key of each image that a message names."""
    try:
        for record in json.loads(body)["Records"]:
            s3 = record["s3"]
            yield s3["bucket"]["name"], unquote_plus(s3["object"]["key"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return


def _error_in(line: str) -> tuple[str, str] | None:
    """Return the image's key and the exception of a log line, if it has both."""
    try:
        told = json.loads(line)
        return told["key"], str(told["exception"]).strip().splitlines()[-1]
    except (ValueError, KeyError, TypeError, IndexError):
        return None


def _must_be_empty(answer: Any) -> None:
    if failed := answer.get("Failed"):
        raise StorageUnavailable(
            f"SQS refused {len(failed)} messages ({failed[0].get('Message')}); run the command"
            " again."
        )
