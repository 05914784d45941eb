"""A client of the HTTP API: sends one picture a request, returns a `Result`.

A picture that is too large for a request is uploaded to an address that the API returns; the client
then waits for its label.

Standard library only, so that Community Cloud needs no further package.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import streamlit as st
from pydantic import ValidationError

from digits.errors import ImageError, TooLarge, UnreadableImage, UnsupportedFormat
from digits.results import ErrorInfo, Explain, Result, read

ADDRESS, KEY = "DIGITS_API_URL", "DIGITS_API_KEY"

MOST_POSTED = 4 * 1024 * 1024  # bytes; the gateway refuses larger requests
_SECONDS = 35  # the gateway's own limit is 29
_LABEL_SECONDS = 90  # enough for a cold start of the labels function, and a retry
_PAUSE_SECONDS = 1.0  # between two requests for a label
_MOST_BYTES = 6 * 1024 * 1024  # Lambda's limit on an answer
_PICTURES_FAULT: dict[int, type[ImageError]] = {
    413: TooLarge,
    415: UnsupportedFormat,
    422: UnreadableImage,
}

_UNREACHABLE = (OSError, http.client.HTTPException, ValueError)


class Away(Exception):
    """The API gives no usable answer; ``str(error)`` is the reason, fit to show to a person."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Refuse redirects: the API sends none, and the key must not go to another host."""

    def redirect_request(self, *_: Any) -> None:
        return None


@dataclass(frozen=True)
class Api:
    """A client of the API.

    Attributes
    ----------
    url
        The address with its stage, as the stack's output `ApiUrl` has it.
    key
        The value of ``x-api-key``.
    """

    url: str
    key: str

    @property
    def host(self) -> str:
        """The host that pictures are sent to, for people."""
        return self.url.partition("://")[2].partition("/")[0]

    def classify(self, data: bytes, *, explain: Explain | None) -> Result:
        """Read all digits of one picture; above `MOST_POSTED` bytes without explanations.

        Raises
        ------
        ImageError
            If the API refuses the picture, with the API's message.
        Away
            If the API gives no usable answer.
        """
        if len(data) > MOST_POSTED:
            return _result_of_label(self._label(self._upload(data)))
        how = {None: "false", "frame": "true", "full": "full"}[explain]
        query = urlencode({"multiple": "true", "explain": how})
        return _result(self._post(f"/classify?{query}", data, "application/octet-stream"))

    def correct(self, picture: bytes, truth: str, answer: str, model: str) -> str:
        """Send a correction of a picture; return the id of the feedback.

        Parameters
        ----------
        picture
            An image file.
        truth, answer
            The correction, and the `text` of the result.
        model
            The version of the model of the result.

        Raises
        ------
        ImageError
            If the picture is refused.
        Away
            If the API cannot be reached, or accepts no corrections.
        """
        body = {
            "truth": truth,
            "image": base64.b64encode(picture).decode("ascii"),
            "model": model,
            "answer": answer,
        }
        receipt = self._post("/feedback", json.dumps(body).encode(), "application/json")
        return str(_field(receipt, "id"))

    def _upload(self, data: bytes) -> str:
        """Upload a picture to the address that the API returns for it; return its key."""
        wanted = {"name": "picture", "size": len(data), "mode": "multiple"}
        offer = self._post("/uploads", json.dumps(wanted).encode(), "application/json")
        address, headers = _field(offer, "url"), _field(offer, "headers")
        for is_last in (False, True):
            try:
                _send("PUT", address, headers, data)
                break
            except urllib.error.HTTPError as error:
                if error.code == 412:  # the first PUT succeeded, and its answer was lost
                    break
                raise Away(f"Its storage answers with error {error.code}.") from error
            except _UNREACHABLE as error:
                if is_last:
                    raise Away("Its storage cannot be reached.") from error
        return str(_field(offer, "key"))

    def _label(self, key: str) -> bytes:
        """Wait for the label of an upload."""
        deadline = time.monotonic() + _LABEL_SECONDS
        while time.monotonic() < deadline:
            status, label = self._ask("GET", f"/labels/{key}", {}, None)
            if status == 200:
                return label
            time.sleep(_PAUSE_SECONDS)
        raise Away("It did not read the picture in time. Try again later.")

    def _post(self, path: str, body: bytes, content_type: str) -> bytes:
        return self._ask("POST", path, {"Content-Type": content_type}, body)[1]

    def _ask(
        self, method: str, path: str, headers: dict[str, str], body: bytes | None
    ) -> tuple[int, bytes]:
        address = self.url.rstrip("/") + path
        try:
            return _send(method, address, {"x-api-key": self.key, **headers}, body)
        except urllib.error.HTTPError as error:
            raise _refusal(error) from error
        except _UNREACHABLE as error:
            raise Away("It cannot be reached.") from error


def configured() -> Api | None:
    """Return the API that secrets or the environment name; None if neither does."""
    st.secrets.load_if_toml_exists()  # which puts them into the environment
    url = os.environ.get(ADDRESS, "").strip()
    return Api(url, os.environ.get(KEY, "").strip()) if url else None


def _send(
    method: str, address: str, headers: dict[str, str], body: bytes | None
) -> tuple[int, bytes]:
    """Return status and body of an answer. Raises `HTTPError`, `Away` and `_UNREACHABLE`."""
    if not address.startswith(("http://", "https://")):
        raise Away(f"{ADDRESS} is not a web address: it must start with https://.")
    request = urllib.request.Request(address, body, headers, method=method)  # noqa: S310 - http
    opener = urllib.request.build_opener(_NoRedirects)
    with opener.open(request, timeout=_SECONDS) as answer:
        received: bytes = answer.read(_MOST_BYTES + 1)
    if len(received) > _MOST_BYTES:
        raise Away("Its answer is too long.")
    return answer.status, received


def _result(answer: bytes) -> Result:
    try:
        return read(Result, answer)
    except ValidationError as error:
        raise _unknown() from error


def _result_of_label(label: bytes) -> Result:
    """Return the result in a label, or raise the error that it holds."""
    try:
        error = read(ErrorInfo, json.dumps(json.loads(label)["error"]).encode())
    except KeyError:
        return _result(label)
    except (ValueError, TypeError) as wrong:
        raise _unknown() from wrong
    raise {kind.code: kind for kind in _PICTURES_FAULT.values()}.get(error.code, UnreadableImage)(
        error.message
    )


def _field(answer: bytes, name: str) -> Any:
    """Return a field of an answer's JSON."""
    try:
        return json.loads(answer)[name]
    except (ValueError, KeyError, TypeError) as error:
        raise _unknown() from error


def _unknown() -> Away:
    return Away("Its answer has a format that this app does not know.")


def _refusal(error: urllib.error.HTTPError) -> ImageError | Away:
    """Convert an error answer to an exception of this package."""
    if error.code in _PICTURES_FAULT:
        return _PICTURES_FAULT[error.code](_detail(error) or "The API refuses this picture.")
    if error.code in {401, 403}:
        return Away("It refuses this app’s key.")
    if error.code == 429:
        return Away("It is overloaded, or the day’s quota is used up. Try again later.")
    return Away(f"It answers with error {error.code}.")


def _detail(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.loads(error.read(65_536))["detail"])
    except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException):
        return ""
