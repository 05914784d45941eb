"""A local stand-in for API Gateway: its events, routes and API keys.

Routes, public calls and binary types come from `template.yaml`, so a call that is not in the
template is answered with 404.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from infra.local.events import STAGE
from infra.local.events import of_gateway as event
from tests.templates import load, properties

KEY = "the-key"


@cache
def _template() -> dict[str, Any]:
    resources: dict[str, Any] = load(Path(__file__).parents[1] / "template.yaml")["Resources"]
    return resources


@cache
def routes() -> dict[str, dict[str, bool]]:
    """Return the methods of each path of the template, and whether they need the key."""
    found: dict[str, dict[str, bool]] = {}
    for it in properties(_template(), "HttpApiFunction")["Events"].values():
        call = it["Properties"]
        needs_key = call.get("Auth", {}).get("ApiKeyRequired", True)
        found.setdefault(call["Path"], {})[call["Method"]] = needs_key
    return found


def is_binary(content_type: str) -> bool:
    """Return whether the gateway passes such a body as base64, not as text.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-payload-encodings.html
    """
    media_type = content_type.partition(";")[0].strip().lower()
    types = properties(_template(), "Api")["BinaryMediaTypes"]
    return any(fnmatchcase(media_type, pattern) for pattern in types)


def _resource_of(path: str) -> str | None:
    for resource in routes():
        if re.fullmatch(re.sub(r"\\\{\w+\\\+\\\}", ".+", re.escape(resource)), path):
            return resource
    return None


def _problem(status: int, code: str) -> tuple[int, dict[str, list[str]], bytes]:
    body = {
        "type": "about:blank",
        "title": code,
        "status": status,
        "code": code,
        "detail": "The gateway's own.",
        "request_id": "gateway-request-1",
    }
    return status, {"Content-Type": ["application/problem+json"]}, json.dumps(body).encode()


@contextmanager
def serve(handler: Callable[[dict[str, Any], Any], dict[str, Any]], context: Any) -> Iterator[str]:
    """Serve `handler` and yield its address; one request at a time, as in one environment."""
    one_at_a_time = threading.Lock()

    def answer(
        method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, dict[str, list[str]], bytes]:
        parts = urlsplit(target)
        stage, slash, path = parts.path[1:].partition("/")
        path = slash + path
        resource = _resource_of(path) if stage == STAGE else None
        methods = routes().get(resource or "", {})
        needs_key = methods.get(method, methods.get("ANY"))
        if resource is None or needs_key is None:
            return _problem(404, "not_found")
        if needs_key and headers.get("x-api-key") != KEY:
            return _problem(403, "forbidden")
        request = event(
            method,
            path,
            resource=resource,
            headers=headers,
            query=parse_qs(parts.query, keep_blank_values=True),
            body=body or None,
            as_base64=is_binary(headers.get("Content-Type", "")),
        )
        with one_at_a_time:
            given = handler(request, context)
        return given["statusCode"], given["multiValueHeaders"], (given["body"] or "").encode()

    class Requests(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            """Do not log."""

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.title(): value for name, value in self.headers.items()}
            headers = {**headers, "x-api-key": self.headers.get("x-api-key", "")}
            status, answered, content = answer(self.command, self.path, headers, body)
            self.send_response(status)
            for name, values in answered.items():
                for value in values:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def __getattr__(self, name: str) -> Any:
            if name.startswith("do_"):
                return self.handle_any
            raise AttributeError(name)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Requests)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/{STAGE}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
