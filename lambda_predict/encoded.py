"""Base64 as clients write it: in lines, without padding, URL-safe, or in a ``data:`` URL."""

from __future__ import annotations

import re
from base64 import b64decode as small_b64decode
from urllib.parse import unquote_to_bytes

from digits.errors import BadRequest

# Characters of base64 from which Python's own decoder takes longer than importing a faster one.
_LARGE = 512 * 1024
_DATA_URL = re.compile(r"\s*data:([^,]{0,1000}),", re.IGNORECASE)
_SPACE = re.compile(r"[ \t\r\n\f\v]+")
_STRANGE = re.compile(r"[^A-Za-z0-9+/]")
_STANDARD = str.maketrans("-_", "+/")  # RFC 4648, section 5


def decoded(text: str, field: str) -> bytes:
    """The bytes that `text` is the base64 of (RFC 4648, RFC 2045), or that its data URL holds.

    Parameters
    ----------
    text
        What the client sent.
    field
        Where in the request it stood, for the message.

    Raises
    ------
    BadRequest
        If it is neither. The message says where it breaks.
    """
    start = 0
    if url := _DATA_URL.match(text):
        start = url.end()
        if not url[1].lower().rstrip().endswith(";base64"):
            return unquote_to_bytes(text[start:])
    # Copies only where there is something to change: these may be megabytes.
    body = text[start:] if start else text
    if url and "%" in body:
        body = unquote_to_bytes(body).decode("latin-1")
        start = -1
    packed = _SPACE.sub("", body).translate(_STANDARD).rstrip("=")
    if _STRANGE.search(packed) or len(packed) % 4 == 1:
        raise BadRequest(_broken(body, start, field))
    return from_base64(packed + "=" * (-len(packed) % 4))


def from_base64(text: str) -> bytes:
    """The bytes of standard base64. Raises `ValueError` if it is not base64."""
    if len(text) < _LARGE:
        return small_b64decode(text, validate=True)
    from pybase64 import b64decode  # noqa: PLC0415 - a start does without it

    data: bytes = b64decode(text, validate=True)
    return data


def _broken(body: str, start: int, field: str) -> str:
    """Say where base64 breaks: at a strange character, at padding before the end, or at its end."""
    end = len(body.rstrip(" \t\r\n\f\v="))
    strange = re.search(r"[^A-Za-z0-9+/_\-\s]", body[:end], re.ASCII)
    what = "there is a character that base64 does not have" if strange else "it ends within a byte"
    where = strange.start() if strange else len(body)
    offset = (
        f"offset {where + start:,}" if start >= 0 else f"offset {where:,} of its data, unquoted"
    )
    return f"{field} is not valid base64: at {offset} {what}."
