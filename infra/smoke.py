"""Smoke-test a deployment: call its API as a client does, and check the answers.

    python -m infra.smoke --url https://….amazonaws.com/v1 --key …

It needs only the API's address and a key. One image and its label remain in the buckets.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
import urllib3
from rich.console import Console

from infra import stacks
from infra.stacks import CannotBeDone

SEVEN = Path(__file__).parents[1] / "tests/golden/seven.png"
console = Console(soft_wrap=True, highlight=False)
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class Api:
    """A client of an API."""

    def __init__(self, url: str, key: str) -> None:
        self._url, self._key = url.rstrip("/"), key
        # Throttled or starting: retry, as a client does.
        retry = urllib3.Retry(
            4, backoff_factor=1, status_forcelist=(429, 502, 503), allowed_methods=None,
            raise_on_status=False,
        )  # fmt: skip
        self._http = urllib3.PoolManager(timeout=30, retries=retry)

    def call(
        self, method: str, path: str, body: bytes = b"", *, kind: str = "", key: str | None = None
    ) -> urllib3.BaseHTTPResponse:
        """Send one request, with the client's key unless another is given."""
        headers = {"x-api-key": self._key if key is None else key, "Accept-Encoding": "gzip"}
        if kind:
            headers["Content-Type"] = kind
        return self._http.request(method, self._url + path, body=body or None, headers=headers)

    def put(self, url: str, body: bytes, headers: dict[str, str]) -> int:
        """Return the status of a PUT to an address that the API returned."""
        return self._http.request("PUT", url, body=body, headers=headers).status


@app.command()
def smoke(
    url: Annotated[str, typer.Option(help="The API's address: the stack's output ApiUrl.")],
    key: Annotated[
        str, typer.Option(envvar="KEY", help="An API key. Default: the environment variable KEY.")
    ] = "",
    within: Annotated[
        float, typer.Option(help="Longest time to wait for a label, in seconds.")
    ] = 60,
) -> None:
    """Check health, classification, upload and label, errors, and the documentation page."""
    api = Api(url, key)
    checks: dict[str, Callable[[Api], str]] = {
        "health": health,
        "classify": classify,
        "upload and label": lambda api: upload(api, within),
        "error": error,
        "key": other_key,
        "docs": docs,
    }
    for name, check in checks.items():
        started = time.perf_counter()
        try:
            seen = check(api)
        except urllib3.exceptions.HTTPError as failure:
            raise CannotBeDone(f"{name}: {url} cannot be reached ({failure})") from failure
        console.print(f"[green]✓[/] {name}: {seen} ({time.perf_counter() - started:.1f} s)")


def health(api: Api) -> str:
    """Check that /health names a model, without a key."""
    answer = api.call("GET", "/health", key="")
    _expect(answer.status == 200, "GET /health", answer)
    return f"model {answer.json()['model']}"


def classify(api: Api) -> str:
    """Check that an image of a 7 is read as 7."""
    answer = api.call("POST", "/classify", SEVEN.read_bytes(), kind="image/png")
    _expect(answer.status == 200 and answer.json()["text"] == "7", "POST /classify", answer)
    return f"a 7 with {answer.json()['digits'][0]['confidence']:.1%}"


def upload(api: Api, within: float) -> str:
    """Check that the same image, uploaded, gets its label."""
    data = SEVEN.read_bytes()
    wanted = {"name": SEVEN.name, "content_type": "image/png", "size": len(data)}
    answer = api.call("POST", "/uploads", json.dumps(wanted).encode(), kind="application/json")
    _expect(answer.status == 201, "POST /uploads", answer)
    offer = answer.json()
    status = api.put(offer["url"], data, offer["headers"])
    if status not in (200, 412):  # 412: an earlier PUT succeeded, and its answer was lost
        raise CannotBeDone(f"S3 answered {status} to the PUT of an upload.")
    deadline = time.monotonic() + within
    while True:
        answer = api.call("GET", f"/labels/{offer['key']}")
        if answer.status == 200:
            _expect(answer.json()["text"] == "7", "the label", answer)
            return str(offer["key"])
        _expect(answer.status in (202, 404) and time.monotonic() < deadline, "the label", answer)
        time.sleep(1)


def error(api: Api) -> str:
    """Check that a file without an image is refused with a code and the request's id."""
    answer = api.call("POST", "/classify", b"no image", kind="image/png")
    _expect(answer.status == 415, "POST /classify of no image", answer)
    problem = answer.json()
    _expect(problem["code"] == "unsupported_format", "POST /classify of no image", answer)
    return f"{problem['code']}, request {problem['request_id']}"


def other_key(api: Api) -> str:
    """Check that a request with another key is refused."""
    answer = api.call("GET", "/model", key="not-the-key")
    _expect(answer.status == 403, "GET /model with another key", answer)
    return "another is refused"


def docs(api: Api) -> str:
    """Check that the documentation is served without a key, and may be cached."""
    answer = api.call("GET", "/docs", key="")
    page = answer.headers.get("Content-Type", "").startswith("text/html")
    _expect(answer.status == 200 and page, "GET /docs", answer)
    _expect("max-age=" in answer.headers.get("Cache-Control", ""), "GET /docs", answer)
    return f"{answer.headers.get('Content-Encoding', 'not compressed')}, {len(answer.data):,} bytes"


def _expect(holds: bool, what: str, answer: urllib3.BaseHTTPResponse) -> None:
    if not holds:
        told = answer.data[:300].decode("utf-8", "replace")
        raise CannotBeDone(f"{what} answered {answer.status}: {told}")


if __name__ == "__main__":
    stacks.run(app)
