"""Events that call the HTTP function, in the one shape that it answers: the REST API's.

API Gateway's HTTP API and function URLs send payload 2.0, which differs in where things stand.
Pings that keep a function warm are no requests, and neither is what a person tries in the console.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs

from lambda_predict.schemas import Problem

# Paths of the template that have a parameter, and what precedes it.
_LABELS, _LABEL = "/labels/", "/labels/{key+}"
_PINGS = ("aws.events", "aws.scheduler")
_REQUEST_ID = "-"  # where whoever calls gives none


def of_rest_api(event: Any) -> dict[str, Any] | None:
    """The event of a request as the REST API would send it; None for what is no request."""
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
    """The answer in the shape that goes with the event's."""
    if "resource" in event:
        return answer
    headers = {name: ", ".join(values) for name, values in answer["multiValueHeaders"].items()}
    return {**answer, "headers": headers}


def no_request(event: Any) -> dict[str, Any]:
    """The answer to an event that is no request: none to a ping, else what would be one."""
    if isinstance(event, dict) and event.get("source") in _PINGS:
        return {"statusCode": 204, "multiValueHeaders": {}, "body": "", "isBase64Encoded": False}
    problem = Problem.of(
        400,
        "bad_request",
        "This event is no HTTP request; call the function through API Gateway, or send it an event"
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
    """An event of payload 2.0.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
    """
    called = event["requestContext"]["http"]
    # A route of its own says the path without stage and base path; the catch-all does not.
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
    """The event with what only the REST API says: parameters of the path, and the request's id."""
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
