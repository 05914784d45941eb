"""Convert events that call the HTTP function to the REST API's format, which it answers.

API Gateway's HTTP API and function URLs send payload 2.0, which has other field names. Pings that
keep a function warm are not requests, and neither are test events of the console.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs

from lambda_predict.schemas import Problem

# Path parameters of the template, and the path before each.
_LABELS, _LABEL = "/labels/", "/labels/{key+}"
_PINGS = ("aws.events", "aws.scheduler")
_REQUEST_ID = "-"  # used if the caller gives none


def of_rest_api(event: Any) -> dict[str, Any] | None:
    """Return a request's event in the REST API's format; None if it is not a request."""
    match event:
        case {"httpMethod": str(), "resource": str(path), "requestContext": {"requestId": _}}:
            # A custom domain's base path stands in `path`; `resource` is the template's own.
            return {**event, "path": path}
        case {"version": "2.0", "requestContext": {"http": {"method": str(), "path": str()}}}:
            return _of_payload_2(event)
        case {"httpMethod": str(), "path": str(path)}:  # a load balancer
            return _completed(event, path)
    return None


def answer_to(event: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    """Return the answer in the format that goes with the event."""
    if "resource" in event:
        return answer
    headers = {name: ", ".join(values) for name, values in answer["multiValueHeaders"].items()}
    return {**answer, "headers": headers}


def no_request(event: Any) -> dict[str, Any]:
    """Answer an event that is not a request: None to a ping, else an explanation."""
    if isinstance(event, dict) and event.get("source") in _PINGS:
        return {"statusCode": 204, "multiValueHeaders": {}, "body": "", "isBase64Encoded": False}
    problem = Problem.of(
        400,
        "bad_request",
        "This event is not an HTTP request: call the function through API Gateway, or send an event"
        " of a REST API, of an HTTP API or of a function URL.",
        _REQUEST_ID,
    )
    return {
        "statusCode": 400,
        "multiValueHeaders": {"Content-Type": ["application/problem+json"]},
        "body": problem.model_dump_json(),
        "isBase64Encoded": False,
    }


def _of_payload_2(event: dict[str, Any]) -> dict[str, Any]:
    """Convert an event of payload 2.0.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
    """
    called = event["requestContext"]["http"]
    # A specific route's key holds the path without stage and base path; the catch-all's does not.
    _, _, route = str(event.get("routeKey") or "").partition(" ")
    stage = str(event["requestContext"].get("stage") or "$default")
    path = str(event.get("rawPath") or called["path"])
    if route and "{" not in route:
        path = route
    elif stage != "$default":
        path = re.sub(f"^/{re.escape(stage)}(?=/)", "", path)
    query = parse_qs(str(event.get("rawQueryString") or ""), keep_blank_values=True)
    headers = {str(name): str(it) for name, it in (event.get("headers") or {}).items()}
    changed = {
        "httpMethod": called["method"],
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "queryStringParameters": {name: values[-1] for name, values in query.items()},
        "multiValueQueryStringParameters": query,
    }
    return _completed({**event, **changed}, path)


def _completed(event: dict[str, Any], path: str) -> dict[str, Any]:
    """Add the fields that only the REST API sends: path parameters, and the request's id."""
    at = path.find(_LABELS)
    key = path[at + len(_LABELS) :] if at >= 0 else ""
    context = event.get("requestContext") or {}
    return {
        **event,
        "path": _LABEL if key else path,
        "pathParameters": {"key": key} if key else None,
        "multiValueHeaders": event.get("multiValueHeaders") or {},
        "requestContext": {"requestId": _REQUEST_ID, **context},
    }
