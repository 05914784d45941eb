"""Parse the files of a ``multipart/form-data`` body (RFC 7578) with their clients' names.

python-multipart splits the body into parts. Their headers are parsed here, because its own parser
refuses a part without a name and ignores ``filename*`` (RFC 5987), which clients send.
"""

from __future__ import annotations

import quopri
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.message import Message
from email.utils import collapse_rfc2231_value

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError

from digits import formats
from digits.errors import BadRequest
from lambda_predict.encoded import decoded

_TEXT_TYPES = ("text/", "application/json", "application/x-www-form-urlencoded")
# Browsers' escapes for the characters that would end a name,
# https://html.spec.whatwg.org/multipage/form-control-infrastructure.html#multipart-form-data
_BROWSERS_ESCAPES = {"%22": '"', "%0D": "\r", "%0A": "\n"}


_MOST_HEADERS = 32  # headers of a part; some clients send more than python-multipart's default of 8


@dataclass
class Part:
    """One part of a form: its headers, and its bytes as the client sent them."""

    headers: Message = field(default_factory=Message)
    sent: bytearray = field(default_factory=bytearray)

    @property
    def name(self) -> str:
        """The client's name for the file, else the field's name."""
        return self._parameter("filename") or self._parameter("name") or ""

    @property
    def is_file(self) -> bool:
        """Whether the part is a file, by its name, its type or its first bytes.

        A browser's file field without a chosen file is not one.
        """
        filename = self._parameter("filename")
        if filename is not None:
            return bool(filename or self.sent)
        declared = self.headers.get_content_type() if "content-type" in self.headers else "text/"
        return (
            not declared.startswith(_TEXT_TYPES) or formats.format_of(bytes(self.sent)) is not None
        )

    def data(self) -> bytes:
        """Return the bytes, decoded according to Content-Transfer-Encoding (RFC 2045).

        Raises
        ------
        BadRequest
            If the header names base64 and the bytes are not base64.
        """
        sent = bytes(self.sent)
        encoding = (self.headers.get("content-transfer-encoding") or "").strip().lower()
        if encoding == "base64":
            return decoded(sent.decode("latin-1"), f"The part {self.name[:80]!r}")
        return quopri.decodestring(sent) if encoding == "quoted-printable" else sent

    def _parameter(self, name: str) -> str | None:
        """Return a parameter of Content-Disposition; the extended form (``name*``) has priority."""
        found = self.headers.get_params([], header="content-disposition")
        values = [value for key, value in found if key.lower() == name]
        extended = next((value for value in values if isinstance(value, tuple)), None)
        if extended is not None:
            return collapse_rfc2231_value(extended)
        if not values:
            return None
        plain = str(values[0])
        if plain.startswith("=?"):  # RFC 2047 as in mail, which some clients use
            try:
                return str(make_header(decode_header(plain)))
            except (HeaderParseError, LookupError, UnicodeDecodeError):
                return plain
        return re.sub("%22|%0D|%0A", lambda it: _BROWSERS_ESCAPES[it[0]], plain)


def read(body: bytes, content_type: str, take: Callable[[Part], None]) -> None:
    """Parse the parts of a form and pass each to `take`; an exception of `take` ends the parsing.

    Raises
    ------
    BadRequest
        If the content type names no boundary, or the body is not a complete form.
    """
    header = Message()
    header["Content-Type"] = content_type
    boundary = header.get_boundary()
    if not boundary:
        raise BadRequest("The Content-Type names no boundary: let the HTTP client set this header.")
    part, ended = Part(), False
    name, value = bytearray(), bytearray()

    def begin() -> None:
        nonlocal part
        part = Part()

    def end_header() -> None:
        part.headers[name.decode("latin-1")] = _text(bytes(value)).strip()
        name.clear()
        value.clear()

    def end() -> None:
        nonlocal ended
        ended = True

    try:
        parser = MultipartParser(
            boundary.encode("latin-1", "replace"),
            {
                "on_part_begin": begin,
                "on_header_field": lambda data, start, end: name.extend(data[start:end]),
                "on_header_value": lambda data, start, end: value.extend(data[start:end]),
                "on_header_end": end_header,
                "on_part_data": lambda data, start, end: part.sent.extend(data[start:end]),
                "on_part_end": lambda: take(part),
                "on_end": end,
            },
            max_header_count=_MOST_HEADERS,
        )
        parser.write(_without_preamble(body, boundary))
        parser.finalize()
    except (FormParserError, ValueError) as error:
        raise BadRequest(
            "The body is not valid multipart/form-data: let the HTTP client encode the form."
        ) from error
    if not ended:
        raise BadRequest(
            "The body is not valid multipart/form-data: it does not end with the boundary that its"
            " Content-Type names."
        )


def _without_preamble(body: bytes, boundary: str) -> bytes:
    """Return the body from its first boundary, which starts a line (RFC 2046, section 5.1.1)."""
    delimiter = b"--" + boundary.encode("latin-1", "replace")
    if body.startswith(delimiter):
        return body
    at = body.find(b"\r\n" + delimiter)
    return body[at + 2 :] if at >= 0 else body


def _text(value: bytes) -> str:
    """Decode a header's value as UTF-8, as browsers send it, or else as Latin-1, as older HTTP."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")
