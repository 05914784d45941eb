"""The HTTP API as an engine: one picture a request, the same `Result` back.

Standard library only: it is one kind of request, and Community Cloud installs nothing for it.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import streamlit as st
from pydantic import ValidationError

from digits.errors import ImageError, TooLarge, UnreadableImage, UnsupportedFormat
from digits.results import Explain, Result, read

ADDRESS, KEY = "DIGITS_API_URL", "DIGITS_API_KEY"

_SECONDS = 35  # the gateway itself gives up after 29
_MOST_BYTES = 6 * 1024 * 1024  # a function can answer no more
_PICTURES_FAULT: dict[int, type[ImageError]] = {
    413: TooLarge,
    415: UnsupportedFormat,
    422: UnreadableImage,
}


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
        """Read all the digits of one picture.

        Raises
        ------
        ImageError
            If the picture is at fault, in the API's words.
        Away
            If the API is.
        """
        how = {None: "false", "frame": "true", "full": "full"}[explain]
        query = urlencode({"multiple": "true", "explain": how})
        answer = self._post(f"/classify?{query}", data, "application/octet-stream")
        try:
            return read(Result, answer)
        except ValidationError as error:
            raise Away("It answers in a way that this app does not know.") from error

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
        try:
            return str(json.loads(receipt)["id"])
        except (ValueError, KeyError, TypeError) as error:
            raise Away("It answers in a way that this app does not know.") from error

    def _post(self, path: str, body: bytes, content_type: str) -> bytes:
        if not self.url.startswith(("http://", "https://")):
            raise Away(f"{ADDRESS} is no web address.")
        headers = {"x-api-key": self.key, "Content-Type": content_type}
        opener = urllib.request.build_opener(_NoRedirects)
        try:
            address = self.url.rstrip("/") + path
            request = urllib.request.Request(address, body, headers)  # noqa: S310 - http, see above
            with opener.open(request, timeout=_SECONDS) as answer:
                received: bytes = answer.read(_MOST_BYTES + 1)
        except urllib.error.HTTPError as error:
            raise _refusal(error) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Away("It cannot be reached.") from error
        if len(received) > _MOST_BYTES:
            raise Away("Its answer is too long.")
        return received


def configured() -> Api | None:
    """The API that secrets or the environment name; None where neither does."""
    st.secrets.load_if_toml_exists()  # which puts them into the environment
    url = os.environ.get(ADDRESS, "").strip()
    return Api(url, os.environ.get(KEY, "").strip()) if url else None


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
