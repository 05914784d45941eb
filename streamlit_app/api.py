"""The HTTP API as an engine: one picture a request, the same `Result` back.

A picture that is too large for a request is put to an address that the API gives, and its label is
waited for.

Standard library only: it is one kind of request, and Community Cloud installs nothing for it.
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

MOST_POSTED = 4 * 1024 * 1024  # bytes; the gateway refuses more before the function sees it
_SECONDS = 35  # the gateway itself gives up after 29
_LABEL_SECONDS = 90  # the labels function starts cold, and tries again what failed once
_PAUSE_SECONDS = 1.0  # between two looks for a label
_MOST_BYTES = 6 * 1024 * 1024  # a function can answer no more
_PICTURES_FAULT: dict[int, type[ImageError]] = {
    413: TooLarge,
    415: UnsupportedFormat,
    422: UnreadableImage,
}

_UNREACHABLE = (OSError, http.client.HTTPException, ValueError)


class Away(Exception):
    """The API gives no answer that could be used; ``str(error)`` says why, to a person."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """An API does not redirect, and the key must not travel to where it would."""

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
        What goes into ``x-api-key``.
    """

    url: str
    key: str

    @property
    def host(self) -> str:
        """Where pictures go, for a person to read."""
        return self.url.partition("://")[2].partition("/")[0]

    def classify(self, data: bytes, *, explain: Explain | None) -> Result:
        """Read all the digits of one picture; one of more than `MOST_POSTED` is not explained.

        Raises
        ------
        ImageError
            If the picture is at fault, in the API's words.
        Away
            If the API is.
        """
        if len(data) > MOST_POSTED:
            return _result_of_label(self._label(self._upload(data)))
        how = {None: "false", "frame": "true", "full": "full"}[explain]
        query = urlencode({"multiple": "true", "explain": how})
        return _result(self._post(f"/classify?{query}", data, "application/octet-stream"))

    def correct(self, picture: bytes, truth: str, answer: str, model: str) -> str:
        """Send a picture that was read wrongly, and what it shows; returns the receipt's number.

        Parameters
        ----------
        picture
            An image file.
        truth, answer
            What it shows, and what was read.
        model
            The version of the model that read it.

        Raises
        ------
        ImageError
            If the picture is refused.
        Away
            If the API is not to be reached, or takes no corrections.
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
        """Put a picture to an address of its own; returns its key."""
        wanted = {"name": "picture", "size": len(data), "mode": "multiple"}
        offer = self._post("/uploads", json.dumps(wanted).encode(), "application/json")
        address, headers = _field(offer, "url"), _field(offer, "headers")
        for is_last in (False, True):
            try:
                _send("PUT", address, headers, data)
                break
            except urllib.error.HTTPError as error:
                if error.code == 412:  # the first was done, and its answer got lost
                    break
                raise Away(f"Its storage answers with error {error.code}.") from error
            except _UNREACHABLE as error:
                if is_last:
                    raise Away("Its storage cannot be reached.") from error
        return str(_field(offer, "key"))

    def _label(self, key: str) -> bytes:
        """The label of an upload, once it is there."""
        deadline = time.monotonic() + _LABEL_SECONDS
        while time.monotonic() < deadline:
            status, label = self._ask("GET", f"/labels/{key}", {}, None)
            if status == 200:
                return label
            time.sleep(_PAUSE_SECONDS)
        raise Away("It has not read the picture in time.")

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
    """The API that secrets or the environment name; None where neither does."""
    st.secrets.load_if_toml_exists()  # which puts them into the environment
    url = os.environ.get(ADDRESS, "").strip()
    return Api(url, os.environ.get(KEY, "").strip()) if url else None


def _send(
    method: str, address: str, headers: dict[str, str], body: bytes | None
) -> tuple[int, bytes]:
    """The status and the body of an answer. Raises `HTTPError`, `Away` and `_UNREACHABLE`."""
    if not address.startswith(("http://", "https://")):
        raise Away(f"{ADDRESS} is no web address.")
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
    """The result in a label, or the error that it has in its place."""
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
    """A field of the JSON of an answer."""
    try:
        return json.loads(answer)[name]
    except (ValueError, KeyError, TypeError) as error:
        raise _unknown() from error


def _unknown() -> Away:
    return Away("It answers in a way that this app does not know.")


def _refusal(error: urllib.error.HTTPError) -> ImageError | Away:
    """An answer that is an error, as one of ours."""
    if error.code in _PICTURES_FAULT:
        return _PICTURES_FAULT[error.code](_detail(error) or "The API refuses this picture.")
    if error.code in {401, 403}:
        return Away("It refuses this app’s key.")
    if error.code == 429:
        return Away("It has too much to do just now, or the day’s quota is used up.")
    return Away(f"It answers with error {error.code}.")


def _detail(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.loads(error.read(65_536))["detail"])
    except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException):
        return ""
