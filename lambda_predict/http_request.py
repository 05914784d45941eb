"""Parse the body of an API Gateway event: images (raw, JSON or multipart) or one JSON object.

Powertools' own `decoded_body` decodes to text, which breaks images, so the body is decoded here.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from aws_lambda_powertools.utilities.data_classes import APIGatewayProxyEvent
from pydantic import BaseModel, ValidationError

from digits.errors import BadRequest, TooLarge, UnsupportedFormat
from lambda_predict.encoded import decoded, from_base64
from lambda_predict.schemas import MAX_IMAGES, ClassifyRequest

if TYPE_CHECKING:
    from lambda_predict.multipart import Part

# Lambda accepts 6 MiB a call, and base64 is a third longer than the image.
MAX_RAW_BYTES = 4 * 1024 * 1024
MAX_JSON_BYTES = 3_500 * 1024
_REPLACED = "\N{REPLACEMENT CHARACTER}".encode()
_RAW_TYPES = (
    "",
    "application/octet-stream",
    "binary/octet-stream",  # S3's type of an object without one
    "application/x-www-form-urlencoded",  # curl's type for --data-binary
)

_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # starts like UTF-16's
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}

Value = TypeVar("Value")
Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class NamedImage:
    """One image of several; `data` is the error if its base64 is broken."""

    id: str
    data: bytes | BadRequest


def read_images(event: APIGatewayProxyEvent) -> bytes | list[NamedImage]:
    """Return the raw image of the request, or its named images.

    Raises
    ------
    BadRequest
        If the body is empty, or does not match its content type.
    TooLarge
        If the body as a whole is over the limit of the HTTP API.
    UnsupportedFormat
        If the content type is not supported, or is missing, so that the gateway has decoded the
        bytes of an image as text.
    """
    content_type, media_type = _content_type(event)
    if media_type == "application/json":
        request = read_json(event, ClassifyRequest)
        return [
            NamedImage(item.id, _or_error(partial(decoded, item.data, f"images.{place}.data")))
            for place, item in enumerate(request.images)
        ]
    if media_type == "multipart/form-data":
        return _from_multipart(_body(event, MAX_RAW_BYTES), content_type)
    if media_type in _RAW_TYPES or media_type.startswith("image/"):
        return _raw_image(event)
    raise UnsupportedFormat(
        f"Content type {media_type[:80]!r} is not supported: send image/*, application/json or"
        " multipart/form-data."
    )


def read_json(event: APIGatewayProxyEvent, expected: type[Model]) -> Model:
    """Parse the JSON object of the request.

    Raises
    ------
    BadRequest
        If the body is empty, or does not match `expected`.
    TooLarge
        If the body as a whole is over the limit of the HTTP API.
    UnsupportedFormat
        If the content type is not JSON in UTF-8.
    """
    content_type, media_type = _content_type(event)
    _, _, charset = content_type.lower().partition("charset=")
    if media_type != "application/json" or charset.strip(' "') not in ("", "utf-8", "us-ascii"):
        raise UnsupportedFormat(
            "The content type is not supported: send application/json in UTF-8."
        )
    body = _without_mark(_body(event, MAX_JSON_BYTES))
    try:
        return expected.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])[:200]
        problem = first["msg"].removeprefix("Value error, ")
        where = f"{field}: {problem}" if field else problem
        raise BadRequest(
            f"The JSON does not match the schema ({where}): GET /docs shows it."
        ) from error


def flag(event: APIGatewayProxyEvent, name: str) -> bool:
    """Return the query's boolean `name`, false if absent.

    Raises
    ------
    BadRequest
        If it is neither ``true`` nor ``false``.
    """
    return choice(event, name, {"true": True, "false": False})


def choice(event: APIGatewayProxyEvent, name: str, values: Mapping[str, Value]) -> Value:
    """Return the entry of `values` that the query's `name` selects; ``false`` is the default.

    Raises
    ------
    BadRequest
        If it is another value.
    """
    given = event.multi_value_query_string_parameters.get(name) or ["false"]
    if len(given) > 1:
        raise BadRequest(f"The query has {name!r} more than once: give it once.")
    value = given[0].lower()
    if value not in values:
        *others, last = values
        raise BadRequest(f"The query's {name!r} must be {', '.join(others)} or {last}.")
    return values[value]


def _content_type(event: APIGatewayProxyEvent) -> tuple[str, str]:
    """Return the Content-Type header, and its media type alone."""
    given = (event.headers.get("Content-Type") or "").strip()
    return given, given.partition(";")[0].strip().lower()


def _raw_image(event: APIGatewayProxyEvent) -> bytes:
    """Return the bytes of the body as the client sent them.

    A body whose type is not among the template's `BinaryMediaTypes` arrives as text, in which the
    gateway has replaced each byte that is not UTF-8.
    """
    body = _body(event, MAX_RAW_BYTES)
    if not event.is_base64_encoded and _REPLACED in body:
        raise UnsupportedFormat(
            "The gateway decoded the image as text, because the request has no Content-Type:"
            " send one, such as image/jpeg."
        )
    return body


def _body(event: APIGatewayProxyEvent, limit: int) -> bytes:
    """Return the body's bytes, at least one and at most `limit`."""
    text = event.body or ""
    if event.is_base64_encoded:
        _check_size(len(text) // 4 * 3 - text.count("=", -2), limit)  # before it is decoded
        try:
            body = from_base64(text)
        except ValueError as error:
            raise BadRequest(
                "The body is not valid base64: encode it, or set isBase64Encoded to false."
            ) from error
    else:
        body = text.encode("utf-8", "surrogatepass")
        _check_size(len(body), limit)
    if not body:
        raise BadRequest("The body is empty: send the bytes of an image, or JSON.")
    return body


def _without_mark(body: bytes) -> bytes:
    """Convert JSON with a byte-order mark to UTF-8 without one.

    Windows writes a byte-order mark in UTF-8, and always in UTF-16.
    """
    encoding = next((name for mark, name in _MARKS.items() if body.startswith(mark)), None)
    if encoding is None:
        return body
    try:
        return body.decode(encoding).encode()
    except UnicodeError as error:
        raise BadRequest(
            "The JSON is not in the encoding of its byte-order mark: send UTF-8."
        ) from error


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise TooLarge(
            f"The request has {size:,} bytes, but HTTP requests may have at most {limit:,}: send a"
            " smaller image, or upload it to the address that POST /uploads returns."
        )


def _or_error(read: Callable[[], bytes]) -> bytes | BadRequest:
    """Decode one image of several, or return its error, which does not affect the others."""
    try:
        return read()
    except BadRequest as error:
        return error


def _from_multipart(body: bytes, content_type: str) -> list[NamedImage]:
    from lambda_predict import multipart  # noqa: PLC0415 - not needed by a cold start

    images: list[NamedImage] = []
    others = 0

    def take(part: Part) -> None:
        nonlocal others
        if not part.is_file:
            others += 1
            if others > MAX_IMAGES:
                raise BadRequest(
                    f"The form has more than {MAX_IMAGES} fields that are not files: send files."
                )
        elif len(images) == MAX_IMAGES:
            raise BadRequest(
                f"The form has more than {MAX_IMAGES} files: send at most {MAX_IMAGES}."
            )
        else:
            images.append(NamedImage(part.name, _or_error(part.data)))

    multipart.read(body, content_type, take)
    if not images:
        raise BadRequest(f"The form has no file: send 1 to {MAX_IMAGES} files.")
    return images
