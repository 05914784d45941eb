"""Build the events that AWS passes to the functions, for calls of a handler without AWS."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote_plus

STAGE = "v1"
_LABELS = "/labels/{key+}"  # the one path of `template.yaml` with a parameter


def of_gateway(
    method: str,
    path: str,
    *,
    resource: str | None = None,
    headers: Mapping[str, str] | None = None,
    query: Mapping[str, str | list[str]] | None = None,
    body: bytes | None = None,
    as_base64: bool = True,
    base_path: str = "",
) -> dict[str, Any]:
    """Build the event of one request of the REST API, by Lambda proxy integration.

    Parameters
    ----------
    base_path
        Path of a custom domain's mapping, such as ``/digits``; it stays in the event's path.
    """
    resource = resource or (_LABELS if path.startswith("/labels/") else path)
    greedy = re.search(r"\{(\w+)\+\}$", resource)
    sent = dict(headers or {})
    many = {name: [it] if isinstance(it, str) else it for name, it in (query or {}).items()}
    text = None if body is None else body.decode("utf-8", "replace")
    return {
        "resource": resource,
        "path": base_path + path,
        "httpMethod": method,
        "headers": sent,
        "multiValueHeaders": {name: [value] for name, value in sent.items()},
        "queryStringParameters": {name: it[-1] for name, it in many.items()} or None,
        "multiValueQueryStringParameters": many or None,
        "pathParameters": {greedy[1]: path[greedy.start() :]} if greedy else None,
        "stageVariables": None,
        "requestContext": {
            "resourcePath": resource,
            "httpMethod": method,
            "path": f"{base_path or '/' + STAGE}{path}",
            "stage": STAGE,
            "requestId": "gateway-request-1",
            "identity": {"sourceIp": "127.0.0.1"},
        },
        "body": base64.b64encode(body).decode() if body is not None and as_base64 else text,
        "isBase64Encoded": body is not None and as_base64,
    }


def of_queue(bucket: str, keys: Sequence[str]) -> dict[str, Any]:
    """Build the labels function's event of S3's messages, one for each key."""
    return {
        "Records": [
            {
                "messageId": f"message-{number}",
                "receiptHandle": "handle",
                "body": json.dumps(_put(bucket, key)),
                "attributes": {"ApproximateReceiveCount": "1"},
                "messageAttributes": {},
                "md5OfBody": "",
                "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:labels",
                "awsRegion": "us-east-1",
            }
            for number, key in enumerate(keys)
        ]
    }


def _put(bucket: str, key: str) -> dict[str, Any]:
    s3 = {
        "s3SchemaVersion": "1.0",
        "bucket": {"name": bucket, "arn": f"arn:aws:s3:::{bucket}"},
        "object": {"key": quote_plus(key, safe="/"), "sequencer": "0055AED6DCD90281E5"},
    }
    return {
        "Records": [
            {
                "eventVersion": "2.1",
                "eventSource": "aws:s3",
                "awsRegion": "us-east-1",
                "eventTime": "2026-11-24T12:00:00.000Z",
                "eventName": "ObjectCreated:Put",
                "s3": s3,
            }
        ]
    }
