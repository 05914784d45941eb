"""The queues of `template.yaml` in moto, with the pollers of Lambda that moto lacks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3

from tests.bundles import Killed
from tests.templates import load, of_type, properties

TEMPLATE = Path(__file__).parents[2] / "template.yaml"
ACCOUNT = "123456789012"


class Queues:
    """The queues with their redrive policies and a visibility timeout of 0 s.

    Parameters
    ----------
    handler
        The function that the template's event source mappings feed.
    """

    def __init__(self, handler: Callable[[dict[str, Any], Any], Any]) -> None:
        self._handler = handler
        self._sqs = boto3.client("sqs")
        resources = load(TEMPLATE)["Resources"]
        queues = of_type(resources, "AWS::SQS::Queue")
        self.urls = {
            name: self._sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "0"})[
                "QueueUrl"
            ]
            for name in queues
        }
        for name, queue in queues.items():
            if policy := queue.get("RedrivePolicy"):
                target = policy["deadLetterTargetArn"]["Fn::GetAtt"][0]
                attributes = {
                    "RedrivePolicy": json.dumps(
                        {
                            "deadLetterTargetArn": f"arn:aws:sqs:us-east-1:{ACCOUNT}:{target}",
                            "maxReceiveCount": policy["maxReceiveCount"],
                        }
                    )
                }
                self._sqs.set_queue_attributes(QueueUrl=self.urls[name], Attributes=attributes)
        self._mappings = [
            (it["Properties"]["Queue"]["Fn::GetAtt"][0], it["Properties"]["BatchSize"])
            for it in properties(resources, "S3LabelsFunction")["Events"].values()
        ]

    def send(self, *bodies: Any) -> None:
        """Send messages to the labels queue, as S3 does."""
        for body in bodies:
            text = body if isinstance(body, str) else json.dumps(body)
            self._sqs.send_message(QueueUrl=self.urls["LabelsQueue"], MessageBody=text)

    def deliver(self, context: Any) -> list[list[str]]:
        """Poll until the queues are empty; return the bodies of each batch, in order."""
        batches: list[list[str]] = []
        while batch := self._next():
            name, messages = batch
            batches.append([message["Body"] for message in messages])
            try:
                answer = self._handler({"Records": [_record(it, name) for it in messages]}, context)
            except Killed:
                continue  # the whole batch is delivered again
            failed = {item["itemIdentifier"] for item in answer["batchItemFailures"]}
            for message in messages:
                if message["MessageId"] not in failed:
                    handle = message["ReceiptHandle"]
                    self._sqs.delete_message(QueueUrl=self.urls[name], ReceiptHandle=handle)
        return batches

    def dead(self) -> list[str]:
        """Return the bodies of the dead letters."""
        found = []
        url = self.urls["DeadLetterQueue"]
        while messages := self._receive(url, 10, visibility=600):
            found += [message["Body"] for message in messages]
        return found

    def _next(self) -> tuple[str, list[Any]] | None:
        for name, size in self._mappings:
            # A first receive may only move exhausted messages to the next queue.
            if messages := self._receive(self.urls[name], size) or self._receive(
                self.urls[name], size
            ):
                return name, messages
        return None

    def _receive(self, url: str, most: int, visibility: int = 0) -> list[Any]:
        answer = self._sqs.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=most,
            VisibilityTimeout=visibility,
            AttributeNames=["All"],
        )
        return answer.get("Messages", [])


def _record(message: Any, queue: str) -> dict[str, Any]:
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message["Attributes"],
        "messageAttributes": {},
        "md5OfBody": message["MD5OfBody"],
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:us-east-1:{ACCOUNT}:{queue}",
        "awsRegion": "us-east-1",
    }
