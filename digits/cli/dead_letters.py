"""Dead letters: what each was about, why it died, and sending it back.

SQS can move a whole queue by itself (`StartMessageMoveTask`), but then also what would die again at
once, and it says nothing of any of them.

Nobody else is given a message while this looks at it: SQS hides it for `HIDDEN`. It is sent before
it is deleted, so a command that is killed in between leaves it twice, which labels one image twice
and harms nobody.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

from digits.cli.stack import answering, client, outputs
from digits.errors import Conflict, NotFound, StorageUnavailable
from digits.labels import Source, Written, label_key

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

HIDDEN = 600  # seconds for a person to decide
_MOST = 10_000  # messages that are looked at in one go
_AT_ONCE = 10  # the most that SQS gives or takes
_LOGS_OF = 14 * 86_400  # seconds back: a message lives no longer
_PAGES = 20  # of the log that are searched for one message

NO_EVENT = "It is no S3 event; it can never be labelled."
GONE = "Its image is gone; the label will say so."
LABELLED = "Its image was labelled meanwhile."
UNKNOWN = "It failed each time; the function's log says why."


@dataclass(frozen=True)
class Letter:
    """One message of the dead-letter queue.

    Attributes
    ----------
    images
        Bucket and key of each image that it names; none where it is no S3 event.
    sent
        When it was first sent.
    why
        Why it died, or what became of its image since.
    """

    body: str
    handle: str
    images: tuple[tuple[str, str], ...]
    sent: datetime
    why: str

    @property
    def hopeless(self) -> bool:
        """Whether it would only die again."""
        return not self.images


class DeadLetters:
    """Looks at the dead letters of one stack, and sends them back.

    Parameters
    ----------
    sqs, s3, logs
        The clients.
    dead, retry
        URLs of the dead-letter queue, and of the one that hands out messages one by one.
    labels
        The labels bucket.
    log_group
        What the labels function writes to; None to not look there.
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
        self._dead, self._retry, self._labels, self._log_group = dead, retry, labels, log_group
        self._taken_at = time.monotonic()

    def take(self) -> list[Letter]:
        """All the dead letters, at most ten thousand, hidden from anyone else for ten minutes.

        Raises
        ------
        StorageUnavailable
            If AWS does not answer, or refuses.
        """
        self._taken_at = time.monotonic()
        with answering():
            return list(islice(self._received(), _MOST))

    def send_back(self, letters: Sequence[Letter]) -> Iterator[int]:
        """Send letters to be labelled again, each by itself; how many were, as it goes.

        Raises
        ------
        Conflict
            If they were taken so long ago that somebody else may have them.
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
        """Delete letters for good; how many were, as it goes. Raises as `send_back`."""
        for batch in self._batches(letters):
            self._delete(batch)
            yield len(batch)

    def put_back(self, letters: Sequence[Letter]) -> None:
        """Leave letters where they are, for others to see at once."""
        for start in range(0, len(letters), _AT_ONCE):
            entries = [
                {"Id": str(n), "ReceiptHandle": it.handle, "VisibilityTimeout": 0}
                for n, it in enumerate(letters[start : start + _AT_ONCE])
            ]
            with answering():
                self._sqs.change_message_visibility_batch(QueueUrl=self._dead, Entries=entries)  # type: ignore[arg-type]

    def _batches(self, letters: Sequence[Letter]) -> Iterator[Sequence[Letter]]:
        for start in range(0, len(letters), _AT_ONCE):
            if time.monotonic() - self._taken_at > HIDDEN - 60:
                raise Conflict(
                    "They were looked at too long ago: somebody else may see them now; run the"
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

    def _received(self) -> Iterator[Letter]:
        while True:
            answer = self._sqs.receive_message(
                QueueUrl=self._dead,
                MaxNumberOfMessages=_AT_ONCE,
                VisibilityTimeout=HIDDEN,
                WaitTimeSeconds=1,  # or SQS asks a part of its machines only
                AttributeNames=["SentTimestamp"],
            )
            messages = answer.get("Messages", [])
            if not messages:
                return
            yield from map(self._letter, messages)

    def _letter(self, message: Any) -> Letter:
        images = tuple(_images(message["Body"]))
        sent = int(message["Attributes"]["SentTimestamp"]) / 1000
        return Letter(
            body=message["Body"],
            handle=message["ReceiptHandle"],
            images=images,
            sent=datetime.fromtimestamp(sent, timezone.utc),
            why=self._why(*images[0]) if images else NO_EVENT,
        )

    def _why(self, bucket: str, key: str) -> str:
        """What an image's state and the function's log say."""
        image = self._state(bucket, key)
        if isinstance(image, str):
            return image
        try:
            answer = self._s3.get_object(Bucket=self._labels, Key=label_key(key))
            if Written.read(answer["Body"].read()).is_of(image):
                return LABELLED
        except self._s3.exceptions.NoSuchKey:
            if image.etag is None:
                return GONE
        return self._logged(key) or UNKNOWN

    def _state(self, bucket: str, key: str) -> Source | str:
        """The image as it is now, or why that cannot be said."""
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

    def _logged(self, key: str) -> str | None:
        """The error that the function logged for an image last, if it is found soon."""
        if self._log_group is None:
            return None
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        pages = self._logs.get_paginator("filter_log_events").paginate(
            logGroupName=self._log_group,
            startTime=int((time.time() - _LOGS_OF) * 1000),
            filterPattern=json.dumps(
                key, ensure_ascii=False
            ),  # quoted: a term to be found as it is
        )
        last = None
        try:
            for page in islice(pages, _PAGES):
                for event in page["events"]:
                    last = _error_in(event["message"], key) or last
        except (ClientError, BotoCoreError):
            return None  # a log that may not be read is no reason to stop
        return last


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
        client("s3"),
        client("logs"),
        dead=found["DeadLetterQueueUrl"],
        retry=found["RetryQueueUrl"],
        labels=found["LabelsBucket"],
        log_group=found["S3LabelsLogGroup"],
    )


def summary(letters: Sequence[Letter]) -> list[tuple[str, int]]:
    """How many there are for each reason, the most frequent first."""
    return Counter(letter.why for letter in letters).most_common()


def _images(body: str) -> Iterator[tuple[str, str]]:
    """Bucket and key of each image that a message names."""
    try:
        for record in json.loads(body)["Records"]:
            s3 = record["s3"]
            yield s3["bucket"]["name"], unquote_plus(s3["object"]["key"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return


def _error_in(line: str, key: str) -> str | None:
    """The exception in a line of the function's log, if it is about this image."""
    try:
        told = json.loads(line)
    except ValueError:
        return None
    if not isinstance(told, dict) or told.get("key") != key or "exception" not in told:
        return None
    return str(told["exception"]).strip().splitlines()[-1]


def _must_be_empty(answer: Any) -> None:
    if failed := answer.get("Failed"):
        raise StorageUnavailable(
            f"SQS refused {len(failed)} messages ({failed[0].get('Message')}); run the command"
            " again."
        )
