"""The labels queue, for whoever finds an image that has not its label.

An image is handed to the queue in what S3 would have sent: from there it is tried, tried again by
itself, and in the end a dead letter, like any other.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

_SENT_AT_ONCE = 10  # the most that SQS takes


class NotSent(Exception):
    """The queue did not take a message; whoever sent it must come back to it."""


def send(sqs: SQSClient, queue: str, bucket: str, keys: Sequence[str]) -> None:
    """Have images labelled by the queue.

    Raises
    ------
    NotSent, ClientError, BotoCoreError
        If not all could be sent; sending them again is safe.
    """
    for start in range(0, len(keys), _SENT_AT_ONCE):
        answer = sqs.send_message_batch(
            QueueUrl=queue,
            Entries=[
                {"Id": str(number), "MessageBody": json.dumps(_event(bucket, key))}
                for number, key in enumerate(keys[start : start + _SENT_AT_ONCE])
            ],
        )
        if failed := answer.get("Failed"):
            raise NotSent(f"The queue refused {len(failed)} messages: {failed[0].get('Message')}")


def _event(bucket: str, key: str) -> dict[str, Any]:
    """An S3 event's parts that the labels function reads, the key encoded as S3 does it."""
    s3 = {"bucket": {"name": bucket}, "object": {"key": quote_plus(key, safe="/")}}
    return {"Records": [{"eventSource": "digits", "eventName": "Found", "s3": s3}]}
