"""Send images without a current label to the labels queue.

A message has the format of an S3 event: the queue delivers it, retries it by itself, and in the end
makes it a dead letter, like any other.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

_SENT_AT_ONCE = 10  # SQS's limit on the messages of one call


class NotSent(Exception):
    """The queue rejected a message: the sender must send it again."""


def send(sqs: SQSClient, queue: str, bucket: str, keys: Sequence[str]) -> None:
    """Send images to the labels queue.

    Raises
    ------
    NotSent, ClientError, BotoCoreError
        If not all could be sent; a retry is safe.
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
    """Build the fields of an S3 event that the labels function reads, the key encoded as S3's."""
    s3 = {"bucket": {"name": bucket}, "object": {"key": quote_plus(key, safe="/")}}
    return {"Records": [{"eventSource": "digits", "eventName": "Found", "s3": s3}]}
