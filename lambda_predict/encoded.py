"""Decode base64 as clients write it: in lines, without padding, URL-safe, or in a ``data:`` URL."""

from __future__ import annotations

import re
from base64 import b64decode as small_b64decode
from urllib.parse import unquote_to_bytes

from digits.errors import BadRequest

# Length of base64 above which importing a faster decoder takes less time than Python's own takes.
_LARGE = 512 * 1024
_DATA_URL = re.compile(r"\s*data:([^,]{0,1000}),", re.IGNORECASE)
_SPACE = re.compile(r"[ \t\r\n\f\v]+")
_STRANGE = re.compile(r"[^A-Za-z0-9+/]")
_STANDARD = str.maketrans("-_", "+/")  # RFC 4648, section 5


def decoded(text: str, field: str) -> bytes:
    """Decode base64 (RFC 4648, RFC 2045), or the base64 of a data URL.

    Parameters
    ----------
    text
        What the client sent.
    field
        Name of the field in the request, for the error message.

    Raises
    ------
    BadRequest
        If it is neither. The message gives the offset of the error.
    """
    start = 0
    if url := _DATA_URL.match(text):
        start = url.end()
        if not url[1].lower().rstrip().endswith(";base64"):
            return unquote_to_bytes(text[start:])
    # Copy only if there is something to replace: the text may be megabytes long.
    body = text[start:] if start else text
    if url and "%" in body:
        body = unquote_to_bytes(body).decode("latin-1")
        start = -1
    packed = _SPACE.sub("", body).translate(_STANDARD).rstrip("=")
    if _STRANGE.search(packed) or len(packed) % 4 == 1:
        raise BadRequest(_broken(body, start, field))
    return from_base64(packed + "=" * (-len(packed) % 4))


def from_base64(text: str) -> bytes:
    """Decode standard base64. Raises `ValueError` if it is not base64."""
    if len(text) < _LARGE:
        return small_b64decode(text, validate=True)
    from pybase64 import b64decode  # noqa: PLC0415 - not needed by a cold start

    data: bytes = b64decode(text, validate=True)
    return data


def _broken(body: str, start: int, field: str) -> str:
    """Describe the first error in base64: a wrong character, early padding or a wrong length."""
    end = len(body.rstrip(" \t\r\n\f\v="))
    strange = re.search(r"[^A-Za-z0-9+/_\-\s]", body[:end], re.ASCII)
    what = (
        "there is a character that is not in the base64 alphabet"
        if strange
        else "it ends in the middle of a byte"
    )
    where = strange.start() if strange else len(body)
    offset = (
        f"offset {where + start:,}" if start >= 0 else f"offset {where:,} of its data, unquoted"
    )
    return f"{field} is not valid base64: at {offset} {what}."
