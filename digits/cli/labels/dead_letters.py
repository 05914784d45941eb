"""Dead letters: what each was about, why it died, and sending it back.

SQS can move a whole queue by itself (`StartMessageMoveTask`), but then also what would die again at
once, and it says nothing of any of them.

Nobody else is given a message while this looks at it: SQS hides it for `HIDDEN`. It is sent before
it is deleted, so a command that is killed in between leaves it twice, which labels one image twice
and harms nobody. All are received first and looked into then, many at once, so that a person has
most of that time to decide, however many died.
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

HIDDEN = 600  # seconds for a person to decide
MOST = 10_000  # messages that are looked at in one go, and a few for a full last batch
_AT_ONCE = 10  # the most that SQS gives or takes
_READERS = 32  # images looked into at once: a look is waiting, mostly
_SEARCHED = 60  # seconds that the log is searched; it is long where a whole night failed

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
        self._dead, self._retry, self._log_group = dead, retry, log_group
        self._labels = LabelStore(s3, labels)
        self._taken_at = time.monotonic()

    def take(self) -> list[Letter]:
        """All the dead letters, at most ten thousand, hidden from anyone else for ten minutes.

        Raises
        ------
        StorageUnavailable
            If AWS does not answer, or refuses; then they are as they were.
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
        """About how many somebody else looks at just now. Raises as `take`."""
        name: Any = "ApproximateNumberOfMessagesNotVisible"
        with answering():
            found = self._sqs.get_queue_attributes(QueueUrl=self._dead, AttributeNames=[name])
        return int(found["Attributes"][name])

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
        """Leave letters where they are, for others to see at once. Raises as `take`."""
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

    def _receive(self) -> Sequence[MessageTypeDef]:
        answer = self._sqs.receive_message(
            QueueUrl=self._dead,
            MaxNumberOfMessages=_AT_ONCE,
            VisibilityTimeout=HIDDEN,
            WaitTimeSeconds=1,  # or SQS asks a part of its machines only
            AttributeNames=["SentTimestamp"],
        )
        return answer.get("Messages", [])

    def _letters(self, messages: Sequence[MessageTypeDef]) -> list[Letter]:
        """What the messages say, and why each died."""
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
        """Why a message died: what is still to be said of its first image that has no label."""
        reasons = (self._why(bucket, key, errors) for bucket, key in images)
        return next((why for why in reasons if why != LABELLED), LABELLED) if images else NO_EVENT

    def _why(self, bucket: str, key: str, errors: Mapping[str, str]) -> str:
        """What an image's state and the function's log say."""
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

    def _logged(self, keys: set[str], since: float) -> dict[str, str]:
        """The error that the function logged last for each image, as far as they are soon found.

        One search for all of them: CloudWatch answers five a second, to a whole account.
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
            return found  # a log that may not be read is no reason to stop
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


def _error_in(line: str) -> tuple[str, str] | None:
    """The image's key and the exception in a line of the function's log, if it has both."""
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
