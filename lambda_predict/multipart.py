"""Parts of a ``multipart/form-data`` body (RFC 7578) that are files, under their clients' names.

python-multipart finds the parts. Their headers are read here, because its own reading of them
refuses a part without a name and passes over ``filename*`` (RFC 5987), which clients send.
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
# What browsers write for the characters that would end a name,
# https://html.spec.whatwg.org/multipage/form-control-infrastructure.html#multipart-form-data
_BROWSERS_ESCAPES = {"%22": '"', "%0D": "\r", "%0A": "\n"}


_MOST_HEADERS = 32  # of a part; python-multipart's own 8 are fewer than some clients send


@dataclass
class Part:
    """One part of a form: its headers, and its bytes as they were sent."""

    headers: Message = field(default_factory=Message)
    sent: bytearray = field(default_factory=bytearray)

    @property
    def name(self) -> str:
        """What the client called the file; the field's name where it did not."""
        return self._parameter("filename") or self._parameter("name") or ""

    @property
    def is_file(self) -> bool:
        """Whether it is a file, by its name, its type or its first bytes.

        A file field of a browser's form without a chosen file is left out.
        """
        filename = self._parameter("filename")
        if filename is not None:
            return bool(filename or self.sent)
        declared = self.headers.get_content_type() if "content-type" in self.headers else "text/"
        return (
            not declared.startswith(_TEXT_TYPES) or formats.format_of(bytes(self.sent)) is not None
        )

    def data(self) -> bytes:
        """Its bytes, decoded where a header says that they are encoded (RFC 2045).

        Raises
        ------
        BadRequest
            If they are said to be base64 and are not.
        """
        sent = bytes(self.sent)
        encoding = (self.headers.get("content-transfer-encoding") or "").strip().lower()
        if encoding == "base64":
            return decoded(sent.decode("latin-1"), f"The part {self.name[:80]!r}")
        return quopri.decodestring(sent) if encoding == "quoted-printable" else sent

    def _parameter(self, name: str) -> str | None:
        """A parameter of Content-Disposition, its extended form (``name*``) before the plain."""
        found = self.headers.get_params([], header="content-disposition")
        values = [value for key, value in found if key.lower() == name]
        extended = next((value for value in values if isinstance(value, tuple)), None)
        if extended is not None:
            return collapse_rfc2231_value(extended)
        if not values:
            return None
        plain = str(values[0])
        if plain.startswith("=?"):  # mail's way (RFC 2047), which some clients share
            try:
                return str(make_header(decode_header(plain)))
            except (HeaderParseError, LookupError, UnicodeDecodeError):
                return plain
        return re.sub("%22|%0D|%0A", lambda it: _BROWSERS_ESCAPES[it[0]], plain)


def read(body: bytes, content_type: str, take: Callable[[Part], None]) -> None:
    """Find the parts of a form and hand each to `take`, whatever that raises ends it.

    Raises
    ------
    BadRequest
        If the content type names no boundary, or the body is not made of parts up to its end.
    """
    header = Message()
    header["Content-Type"] = content_type
    boundary = header.get_boundary()
    if not boundary:
        raise BadRequest("The Content-Type names no boundary; let your HTTP client write it.")
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
        raise BadRequest("The body is not valid multipart/form-data.") from error
    if not ended:
        raise BadRequest(
            "The body is not valid multipart/form-data: it does not end with the boundary that its"
            " Content-Type names."
        )


def _without_preamble(body: bytes, boundary: str) -> bytes:
    """From the first boundary on, which begins the body or a line of it (RFC 2046, 5.1.1)."""
    delimiter = b"--" + boundary.encode("latin-1", "replace")
    if body.startswith(delimiter):
        return body
    at = body.find(b"\r\n" + delimiter)
    return body[at + 2 :] if at >= 0 else body


def _text(value: bytes) -> str:
    """A header's value in UTF-8, as browsers send it, or else in Latin-1, as HTTP had it before."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")
